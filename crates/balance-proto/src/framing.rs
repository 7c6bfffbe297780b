//! The one place that decides where a body ends, for requests and responses of every HTTP version
//! (architecture invariant 3), and what the encoder must write about it.
//!
//! It reads field values and decides; it moves no body bytes.

use crate::grammar::{elements, is_token};
use crate::head::Version;
use balance_core::Method;

/// How long a request body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// This many bytes; 0 is no body.
    Exact(u64),
    /// Up to the last chunk, or to the end of the stream in HTTP/2.
    Chunked,
}

/// How long a response body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    /// There is none, whatever the fields say.
    None,
    /// This many bytes.
    Exact(u64),
    /// Up to the last chunk, or to the end of the stream in HTTP/2.
    Chunked,
    /// Up to the end of the connection, which cannot be reused.
    UntilClose,
}

/// What a head says about the length of its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FramingFields {
    length: Option<u64>,
    is_chunked: bool,
}

/// Why the end of a body cannot be known for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// RFC 9110 §8.6.
    #[error("Content-Length is not a decimal number below 2^63")]
    LengthInvalid,
    /// RFC 9112 §6.3 item 5.
    #[error("Content-Length is given more than once")]
    LengthDuplicate,
    /// RFC 9112 §6.1.
    #[error("both Content-Length and Transfer-Encoding are given")]
    AmbiguousLength,
    /// RFC 9112 §6.1.
    #[error("Transfer-Encoding is not exactly `chunked`")]
    EncodingInvalid,
    /// RFC 9112 §6.1: a coding before `chunked` that we do not decode.
    #[error("only the transfer coding `chunked` is supported")]
    EncodingUnsupported,
    /// RFC 9112 §6.1.
    #[error("Transfer-Encoding is given more than once")]
    EncodingDuplicate,
    /// RFC 9112 §6.1.
    #[error("Transfer-Encoding does not exist in HTTP/1.0")]
    EncodingInHttp10,
    /// RFC 9113 §8.1.1: the stream ends with its head, which promises content.
    #[error("the stream ends before the content that Content-Length promises")]
    StreamEnded,
}

impl FramingError {
    /// The status of the answer, when a request is at fault.
    pub const fn status(self) -> u16 {
        match self {
            Self::EncodingUnsupported => 501,
            _ => 400,
        }
    }
}

impl FramingFields {
    /// Takes the value of a Content-Length field.
    ///
    /// # Errors
    /// Not a number (RFC 9110 §8.6), or the second one: RFC 9112 §6.3 item 5 would let equal ones
    /// pass, but a backend may take the first, the last or their list.
    pub fn on_content_length(&mut self, value: &[u8]) -> Result<(), FramingError> {
        let length = parse_length(value).ok_or(FramingError::LengthInvalid)?;
        match self.length.replace(length) {
            Some(_) => Err(FramingError::LengthDuplicate),
            None => Ok(()),
        }
    }

    /// Takes the value of a Transfer-Encoding field.
    ///
    /// # Errors
    /// Anything but one single `chunked` (RFC 9112 §6.1, robustness SM-03).
    pub fn on_transfer_encoding(&mut self, value: &[u8]) -> Result<(), FramingError> {
        if self.is_chunked {
            return Err(FramingError::EncodingDuplicate);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(refuse_encoding(value));
        }
        self.is_chunked = true;
        Ok(())
    }

    /// The declared length, for logs and for HEAD.
    pub const fn content_length(self) -> Option<u64> {
        self.length
    }
}

/// Decides about a request (RFC 9112 §6.3).
///
/// # Errors
/// Fields that two parsers could read differently.
pub const fn request_body(
    version: Version,
    fields: FramingFields,
) -> Result<BodyLength, FramingError> {
    match check_encoding(version, fields) {
        Err(error) => Err(error),
        Ok(()) => match (fields.is_chunked, fields.length) {
            (true, _) => Ok(BodyLength::Chunked),
            (false, Some(bytes)) => Ok(BodyLength::Exact(bytes)),
            // RFC 9112 §6.3 item 7. The method does not matter: GET may have a body (robustness
            // SM-04).
            (false, None) => Ok(BodyLength::Exact(0)),
        },
    }
}

/// Decides about a response (RFC 9112 §6.3).
///
/// # Errors
/// Fields that two parsers could read differently, also where the status says that there is no
/// body.
pub const fn response_body(
    version: Version,
    request_method: Method,
    status: u16,
    fields: FramingFields,
) -> Result<ResponseBody, FramingError> {
    if let Err(error) = check_encoding(version, fields) {
        return Err(error);
    }
    // RFC 9112 §6.3 item 1. The fields are legal there: they describe what GET would have got.
    if matches!(request_method, Method::Head) || matches!(status, 100..=199 | 204 | 304) {
        return Ok(ResponseBody::None);
    }
    match (fields.is_chunked, fields.length) {
        (true, _) => Ok(ResponseBody::Chunked),
        (false, Some(bytes)) => Ok(ResponseBody::Exact(bytes)),
        // RFC 9112 §6.3 item 8.
        (false, None) => Ok(ResponseBody::UntilClose),
    }
}

/// Decides about a request on a stream of its own, whose end frames the body (RFC 9113 §8.1). `ends` says that nothing
/// follows the head.
///
/// # Errors
/// A length that is not kept (RFC 9113 §8.1.1).
pub const fn stream_request_body(
    fields: FramingFields,
    ends: bool,
) -> Result<BodyLength, FramingError> {
    match (fields.length, ends) {
        (None | Some(0), true) => Ok(BodyLength::Exact(0)),
        (Some(_), true) => Err(FramingError::StreamEnded),
        (Some(bytes), false) => Ok(BodyLength::Exact(bytes)),
        (None, false) => Ok(BodyLength::Chunked),
    }
}

/// Decides about a response on a stream of its own (RFC 9113 §8.1).
///
/// # Errors
/// A length that is not kept (RFC 9113 §8.1.1); answers to HEAD, 204 and 304 describe a body that is not sent.
pub const fn stream_response_body(
    request_method: Method,
    status: u16,
    fields: FramingFields,
    ends: bool,
) -> Result<ResponseBody, FramingError> {
    if matches!(request_method, Method::Head) || matches!(status, 100..=199 | 204 | 304) {
        return Ok(ResponseBody::None);
    }
    match stream_request_body(fields, ends) {
        Ok(BodyLength::Exact(bytes)) => Ok(ResponseBody::Exact(bytes)),
        Ok(BodyLength::Chunked) => Ok(ResponseBody::Chunked),
        Err(error) => Err(error),
    }
}

/// What the encoder writes about the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingLine {
    /// The Content-Length field as it came, if there was one: answers to HEAD and 304, which
    /// describe a body that is not sent. Transfer-Encoding is never kept.
    Keep,
    /// Nothing: no body, or one that ends with the connection.
    None,
    /// `Content-Length: n`
    Length(u64),
    /// `Transfer-Encoding: chunked`
    Chunked,
}

impl FramingLine {
    /// For forwarding a request over HTTP/1.1.
    pub const fn for_request(method: Method, body: BodyLength) -> Self {
        match (body, method) {
            (BodyLength::Chunked, _) => Self::Chunked,
            // RFC 9110 §8.6: methods that expect content say so even when there is none; servers
            // answer 411 otherwise.
            (BodyLength::Exact(0), Method::Post | Method::Put | Method::Patch) => Self::Length(0),
            (BodyLength::Exact(0), _) => Self::None,
            (BodyLength::Exact(bytes), _) => Self::Length(bytes),
        }
    }

    /// For forwarding a response to a client. A body of unknown length is chunked for HTTP/1.1 and
    /// ends with the connection for HTTP/1.0, which knows no Transfer-Encoding (RFC 9112 §6.1,
    /// robustness SM-27).
    pub const fn for_response(
        request_method: Method,
        status: u16,
        body: ResponseBody,
        to: Version,
    ) -> Self {
        match (body, to) {
            (ResponseBody::Exact(bytes), _) => Self::Length(bytes),
            (ResponseBody::Chunked | ResponseBody::UntilClose, Version::Http11) => Self::Chunked,
            (ResponseBody::Chunked | ResponseBody::UntilClose, _) => Self::None,
            // RFC 9110 §8.6: never in 1xx and 204.
            (ResponseBody::None, _) if matches!(status, 100..=199 | 204) => Self::None,
            (ResponseBody::None, _) if matches!(request_method, Method::Head) => Self::Keep,
            (ResponseBody::None, _) if status == 304 => Self::Keep,
            (ResponseBody::None, _) => Self::None,
        }
    }
}

const fn check_encoding(version: Version, fields: FramingFields) -> Result<(), FramingError> {
    match (fields.is_chunked, fields.length, version) {
        (false, _, _) => Ok(()),
        // A sender must not produce this (RFC 9112 §6.2). §6.1 would let us drop Content-Length and
        // go on; we refuse, because an upstream that believes Content-Length would read a second
        // request out of this body.
        (true, Some(_), _) => Err(FramingError::AmbiguousLength),
        // RFC 9112 §6.1: such a message must be treated as faulty; a 1.0 hop in between did not
        // understand it.
        (true, None, Version::Http10) => Err(FramingError::EncodingInHttp10),
        (true, None, _) => Ok(()),
    }
}

/// Digits only: no sign, prefix, list or white space (robustness SM-07).
pub(crate) fn parse_length(value: &[u8]) -> Option<u64> {
    // 19 digits hold every number below 2^63 and cannot overflow a u64.
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    let mut length = 0_u64;
    for byte in value {
        if !byte.is_ascii_digit() {
            return None;
        }
        length = length
            .checked_mul(10)?
            .checked_add(u64::from(byte.wrapping_sub(b'0')))?;
    }
    (length <= LENGTH_MAX).then_some(length)
}

/// 501 is the truth for a well-formed list that ends in `chunked` (RFC 9112 §6.1); everything else
/// is an attempt to be read two ways.
fn refuse_encoding(value: &[u8]) -> FramingError {
    let mut codings = 0_usize;
    let mut chunked = 0_usize;
    let mut last_is_chunked = false;
    for coding in elements(value) {
        if !is_token(coding) {
            return FramingError::EncodingInvalid;
        }
        last_is_chunked = coding.eq_ignore_ascii_case(b"chunked");
        codings = codings.saturating_add(1);
        chunked = chunked.saturating_add(usize::from(last_is_chunked));
    }
    if codings > 1 && chunked == 1 && last_is_chunked {
        FramingError::EncodingUnsupported
    } else {
        FramingError::EncodingInvalid
    }
}

/// Sums of lengths stay far from overflow, and no signed 64-bit reader sees a negative one
/// (robustness SM-07).
const LENGTH_MAX: u64 = i64::MAX as u64;

#[cfg(test)]
mod tests {
    use super::{
        BodyLength, FramingError, FramingFields, FramingLine, ResponseBody, request_body,
        response_body,
    };
    use crate::head::Version;
    use balance_core::Method;

    fn fields(lengths: &[&str], encodings: &[&str]) -> Result<FramingFields, FramingError> {
        let mut fields = FramingFields::default();
        for value in lengths {
            fields.on_content_length(value.as_bytes())?;
        }
        for value in encodings {
            fields.on_transfer_encoding(value.as_bytes())?;
        }
        Ok(fields)
    }

    fn check(
        version: Version,
        lengths: &[&str],
        encodings: &[&str],
        expected: Result<BodyLength, FramingError>,
    ) {
        let seen = fields(lengths, encodings).and_then(|fields| request_body(version, fields));
        assert_eq!(seen, expected, "{lengths:?} {encodings:?}");
    }

    #[test]
    fn requests() {
        let v11 = Version::Http11;
        check(v11, &[], &[], Ok(BodyLength::Exact(0)));
        check(v11, &["0"], &[], Ok(BodyLength::Exact(0)));
        check(v11, &["007"], &[], Ok(BodyLength::Exact(7)));
        check(
            v11,
            &["9223372036854775807"],
            &[],
            Ok(BodyLength::Exact(i64::MAX as u64)),
        );
        check(v11, &[], &["chunked"], Ok(BodyLength::Chunked));
        check(v11, &[], &["CHUNKED"], Ok(BodyLength::Chunked));
        for bad in [
            "",
            "+5",
            "-5",
            "0x5",
            "5_0",
            "5.0",
            "5, 5",
            "5 5",
            "a",
            "9223372036854775808",
            "99999999999999999999",
        ] {
            check(v11, &[bad], &[], Err(FramingError::LengthInvalid));
        }
        check(v11, &["5", "5"], &[], Err(FramingError::LengthDuplicate));
        check(
            v11,
            &["5"],
            &["chunked"],
            Err(FramingError::AmbiguousLength),
        );
        check(
            v11,
            &[],
            &["chunked", "chunked"],
            Err(FramingError::EncodingDuplicate),
        );
        check(
            v11,
            &[],
            &["gzip, chunked"],
            Err(FramingError::EncodingUnsupported),
        );
        for bad in [
            "",
            "gzip",
            "identity",
            "chunked, chunked",
            "chunked, gzip",
            "chunked;a=b",
            "xchunked",
            "chunked,",
            "\"chunked\"",
        ] {
            check(v11, &[], &[bad], Err(FramingError::EncodingInvalid));
        }
        check(
            Version::Http10,
            &[],
            &["chunked"],
            Err(FramingError::EncodingInHttp10),
        );
    }

    #[test]
    fn responses() {
        let length = fields(&["5"], &[]).unwrap();
        let chunked = fields(&[], &["chunked"]).unwrap();
        let nothing = FramingFields::default();
        for (method, status, fields, body) in [
            (Method::Get, 200, length, ResponseBody::Exact(5)),
            (Method::Get, 200, chunked, ResponseBody::Chunked),
            (Method::Get, 200, nothing, ResponseBody::UntilClose),
            (Method::Head, 200, length, ResponseBody::None),
            (Method::Get, 204, chunked, ResponseBody::None),
            (Method::Get, 304, length, ResponseBody::None),
            (Method::Get, 101, nothing, ResponseBody::None),
        ] {
            assert_eq!(
                response_body(Version::Http11, method, status, fields),
                Ok(body)
            );
        }
        assert_eq!(
            response_body(Version::Http10, Method::Get, 200, chunked),
            Err(FramingError::EncodingInHttp10)
        );
    }

    #[test]
    fn lines_to_write() {
        assert_eq!(
            FramingLine::for_request(Method::Post, BodyLength::Exact(0)),
            FramingLine::Length(0)
        );
        assert_eq!(
            FramingLine::for_request(Method::Get, BodyLength::Exact(0)),
            FramingLine::None
        );
        let to = |status, body, to| FramingLine::for_response(Method::Get, status, body, to);
        assert_eq!(
            to(200, ResponseBody::UntilClose, Version::Http11),
            FramingLine::Chunked
        );
        assert_eq!(
            to(200, ResponseBody::Chunked, Version::Http10),
            FramingLine::None
        );
        assert_eq!(
            to(204, ResponseBody::None, Version::Http11),
            FramingLine::None
        );
        assert_eq!(
            to(304, ResponseBody::None, Version::Http11),
            FramingLine::Keep
        );
    }
}
