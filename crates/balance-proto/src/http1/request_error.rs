//! Why a request head is refused: one variant per rule, and the search for the rule when httparse
//! only says no.

use super::facts::FieldError;
use crate::framing::FramingError;
use crate::path::PathError;
use balance_core::Cause;

/// Why a request head is refused. The connection is closed after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// RFC 9112 §2.2: one may be skipped.
    #[error("more than one empty line before the request")]
    EmptyLines,
    /// RFC 9112 §2.2 would let it pass; stricter (robustness SM-11).
    #[error("a line ends without CR")]
    BareLineFeed,
    /// RFC 9112 §2.2.
    #[error("a CR without LF")]
    BareCarriageReturn,
    /// RFC 9110 §9.1.
    #[error("the method is not a token")]
    MethodInvalid,
    /// No method is that long.
    #[error("the method is too long")]
    MethodTooLong,
    /// Balance is no forward proxy.
    #[error("CONNECT is not supported")]
    ConnectUnsupported,
    /// RFC 9112 §3: single spaces only.
    #[error("the request line is not METHOD SP target SP version")]
    RequestLineInvalid,
    /// RFC 9112 §3.2.
    #[error("the target is neither a path, an http URI nor *")]
    TargetInvalid,
    /// Above `target_bytes_max`.
    #[error("the target is too long")]
    TargetTooLong,
    /// RFC 9110 §7.4.
    #[error("the scheme of the target is not the one of the connection")]
    SchemeMismatch,
    /// RFC 9112 §2.3.
    #[error("the version is not HTTP/digit.digit")]
    VersionInvalid,
    /// Neither 1.0 nor 1.1.
    #[error("this version of HTTP is not supported here")]
    VersionUnsupported,
    /// RFC 9112 §5.1: a token directly before the colon.
    #[error("a field name is not a token directly followed by a colon")]
    FieldNameInvalid,
    /// RFC 9110 §5.5.
    #[error("a field value contains a control character")]
    FieldValueInvalid,
    /// RFC 9112 §5.2.
    #[error("a field continues on the next line")]
    ObsoleteFolding,
    /// Under `underscores_in_headers: reject`, or a framing field in disguise.
    #[error("a field name contains an underscore")]
    Underscore,
    /// A tab beside the value of Content-Length or Transfer-Encoding.
    #[error("a framing field contains a tab")]
    FramingTab,
    /// Above `head_bytes_max`.
    #[error("the head is too large")]
    HeadTooLarge,
    /// Above `fields_max`.
    #[error("the head has too many fields")]
    TooManyFields,
    /// RFC 9112 §3.2.
    #[error("Host is missing")]
    HostMissing,
    /// RFC 9112 §3.2.
    #[error("Host is given more than once")]
    HostDuplicate,
    /// RFC 9112 §3.2.
    #[error("Host is not a host name or address with an optional port")]
    HostInvalid,
    /// RFC 9112 §3.2.2 would let the target win; stricter (robustness SM-19).
    #[error("the target names another host than Host")]
    AuthorityMismatch,
    /// RFC 9110 §7.6.1.
    #[error("Connection is not a list of tokens")]
    ConnectionInvalid,
    /// RFC 9110 §10.1.1.
    #[error("the expectation is not 100-continue")]
    ExpectationUnknown,
    /// The end of the body is not certain.
    #[error("{0}")]
    Framing(#[from] FramingError),
    /// Refused by the path policy.
    #[error("{0}")]
    Path(#[from] PathError),
}

impl RequestError {
    /// The status of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::ExpectationUnknown => 417,
            Self::HeadTooLarge | Self::TooManyFields => 431,
            Self::MethodTooLong | Self::ConnectUnsupported => 501,
            Self::VersionUnsupported => 505,
            Self::Framing(error) => error.status(),
            _ => 400,
        }
    }

    /// How the exchange ends.
    pub const fn cause(self) -> Cause {
        match self {
            Self::TargetTooLong | Self::HeadTooLarge | Self::TooManyFields => {
                Cause::RequestTooLarge
            }
            _ => Cause::HttpRequestError,
        }
    }
}

impl From<FieldError> for RequestError {
    fn from(error: FieldError) -> Self {
        match error {
            FieldError::BareLineFeed => Self::BareLineFeed,
            FieldError::FramingTab => Self::FramingTab,
            FieldError::Underscore => Self::Underscore,
            FieldError::HostDuplicate => Self::HostDuplicate,
            FieldError::Framing(error) => Self::Framing(error),
        }
    }
}

/// Finds the rule behind an error of httparse. Cold, so it may walk the input again.
#[cold]
pub(super) fn explain(message: &[u8], error: httparse::Error) -> RequestError {
    match error {
        httparse::Error::TooManyHeaders => RequestError::TooManyFields,
        httparse::Error::Version => explain_version(message),
        httparse::Error::Token => explain_first_line(message),
        httparse::Error::NewLine => RequestError::BareCarriageReturn,
        httparse::Error::HeaderName => explain_name(message),
        httparse::Error::HeaderValue if has_bare_cr(message) => RequestError::BareCarriageReturn,
        httparse::Error::HeaderValue => RequestError::FieldValueInvalid,
        // A request has none.
        httparse::Error::Status => RequestError::RequestLineInvalid,
    }
}

fn explain_first_line(message: &[u8]) -> RequestError {
    let method_end = message
        .iter()
        .position(|byte| !crate::grammar::is_tchar(*byte));
    let after = method_end
        .and_then(|end| message.get(end..))
        .unwrap_or_default();
    match (method_end, after) {
        (Some(0), _) => RequestError::MethodInvalid,
        (_, [b' ', b' ' | b'\t' | b'\r' | b'\n', ..] | [b'\r' | b'\n' | b'\t', ..]) => {
            RequestError::RequestLineInvalid
        }
        (_, [b' ', rest @ ..]) => {
            let stop = rest.iter().find(|byte| !byte.is_ascii_graphic());
            match stop {
                Some(b'\r' | b'\n' | b'\t') => RequestError::RequestLineInvalid,
                _ => RequestError::Path(PathError::InvalidByte),
            }
        }
        _ => RequestError::MethodInvalid,
    }
}

/// A version that is cut off by the end of the input counts as what it can still become.
fn explain_version(message: &[u8]) -> RequestError {
    let rest = message.splitn(3, |byte| *byte == b' ').nth(2);
    let rest = rest.unwrap_or_default();
    let version = rest.split(|byte| matches!(byte, b'\r' | b'\n')).next();
    let version = version.unwrap_or_default();
    let fits = version
        .iter()
        .zip(b"HTTP/d.d")
        .all(|(seen, pattern)| match pattern {
            b'd' => seen.is_ascii_digit(),
            _ => seen == pattern,
        });
    // Something else between target and version means white space inside the target (RFC 9112 §3).
    match version.len() {
        8 if fits => RequestError::VersionUnsupported,
        0..8 if fits && version.len() == rest.len() => RequestError::VersionUnsupported,
        _ => RequestError::VersionInvalid,
    }
}

fn explain_name(message: &[u8]) -> RequestError {
    let fields = message.split(|byte| *byte == b'\n').skip(1);
    for line in fields {
        match line {
            [b' ' | b'\t', ..] => return RequestError::ObsoleteFolding,
            [b'\r', _, ..] => return RequestError::BareCarriageReturn,
            _ => {}
        }
    }
    RequestError::FieldNameInvalid
}

fn has_bare_cr(message: &[u8]) -> bool {
    message
        .windows(2)
        .any(|pair| matches!(pair, [b'\r', next] if *next != b'\n'))
}
