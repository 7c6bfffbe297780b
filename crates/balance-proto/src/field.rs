//! Field names and values: the class of a name, found once while parsing, and the validated forms
//! that alone may be written into a message (robustness SM-26: nothing else can reach an encoder).

use crate::grammar::{is_token, is_value, trim_ows};
use crate::head::{Field, RequestView};

/// What a field means to a proxy. Found by the length of the name first, then by a comparison of words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FieldClass {
    /// Nothing that Balance looks at by itself.
    #[default]
    Other,
    /// `Host`
    Host,
    /// `Content-Length`
    ContentLength,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Connection`
    Connection,
    /// `Keep-Alive`
    KeepAlive,
    /// `Proxy-Connection`
    ProxyConnection,
    /// `TE`
    Te,
    /// `Trailer`
    Trailer,
    /// `Upgrade`
    Upgrade,
    /// `Expect`
    Expect,
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `X-Forwarded-Proto`
    XForwardedProto,
    /// `X-Forwarded-Host`
    XForwardedHost,
    /// Every other name that begins with `X-Forwarded-`.
    XForwardedOther,
    /// `Forwarded` (RFC 7239)
    Forwarded,
    /// `X-Real-IP`
    XRealIp,
    /// `X-Request-ID`
    XRequestId,
    /// `Via`
    Via,
    /// `Traceparent` (W3C Trace Context)
    Traceparent,
    /// `Authorization`
    Authorization,
    /// `Cookie`
    Cookie,
    /// `Set-Cookie`
    SetCookie,
    /// `User-Agent`
    UserAgent,
    /// `Referer`
    Referer,
    /// `Accept-Encoding`
    AcceptEncoding,
    /// `Content-Type`
    ContentType,
    /// `Location`
    Location,
    /// `Date`
    Date,
    /// `Server`
    Server,
}

impl FieldClass {
    /// The class of a field name (a token), in any case.
    pub const fn of(name: &[u8]) -> Self {
        let words = Words::of(name);
        match name.len() {
            2 if words.are(b"te") => Self::Te,
            3 if words.are(b"via") => Self::Via,
            4 if words.are(b"host") => Self::Host,
            4 if words.are(b"date") => Self::Date,
            6 if words.are(b"cookie") => Self::Cookie,
            6 if words.are(b"expect") => Self::Expect,
            6 if words.are(b"server") => Self::Server,
            7 if words.are(b"upgrade") => Self::Upgrade,
            7 if words.are(b"referer") => Self::Referer,
            7 if words.are(b"trailer") => Self::Trailer,
            8 if words.are(b"location") => Self::Location,
            9 if words.are(b"x-real-ip") => Self::XRealIp,
            9 if words.are(b"forwarded") => Self::Forwarded,
            10 if words.are(b"user-agent") => Self::UserAgent,
            10 if words.are(b"connection") => Self::Connection,
            10 if words.are(b"keep-alive") => Self::KeepAlive,
            10 if words.are(b"set-cookie") => Self::SetCookie,
            11 if words.are(b"traceparent") => Self::Traceparent,
            12 if words.are(b"content-type") => Self::ContentType,
            12 if words.are(b"x-request-id") => Self::XRequestId,
            13 if words.are(b"authorization") => Self::Authorization,
            14 if words.are(b"content-length") => Self::ContentLength,
            15 if words.are(b"accept-encoding") => Self::AcceptEncoding,
            15 if words.are(b"x-forwarded-for") => Self::XForwardedFor,
            16 if words.are(b"x-forwarded-host") => Self::XForwardedHost,
            16 if words.are(b"proxy-connection") => Self::ProxyConnection,
            17 if words.are(b"x-forwarded-proto") => Self::XForwardedProto,
            17 if words.are(b"transfer-encoding") => Self::TransferEncoding,
            13.. if has_forwarded_prefix(name) => Self::XForwardedOther,
            _ => Self::Other,
        }
    }

    /// The bit of this class in a mask of the classes that a head has.
    pub const fn bit(self) -> u64 {
        // At most 63 classes, so the shift never wraps.
        1_u64.wrapping_shl(self as u32)
    }

    /// Whether only the encoder may write this field: it belongs to one connection or frames the
    /// body, and two of them would be a message with two meanings.
    pub const fn is_encoder_owned(self) -> bool {
        self.bit() & ENCODER_OWNED != 0
    }

    /// Whether it tells a backend who the client is (`X-Forwarded-*`, `Forwarded`, `X-Real-IP`,
    /// `X-Request-ID`).
    pub const fn is_identity(self) -> bool {
        self.bit() & Self::IDENTITY != 0
    }

    /// The mask of the classes for which [`FieldClass::is_identity`] holds.
    pub(crate) const IDENTITY: u64 = Self::XForwardedFor.bit()
        | Self::XForwardedProto.bit()
        | Self::XForwardedHost.bit()
        | Self::XForwardedOther.bit()
        | Self::Forwarded.bit()
        | Self::XRealIp.bit()
        | Self::XRequestId.bit();
}

/// A field name that may be written: a token, and not one of the encoder's own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldName<'a> {
    bytes: &'a [u8],
    class: FieldClass,
}

/// Why a name cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldNameError {
    /// Empty, or a byte that RFC 9110 §5.6.2 does not allow.
    #[error("a field name is letters, digits and !#$%&'*+-.^_`|~ only")]
    NotToken,
    /// `Host`, `Content-Length`, `Transfer-Encoding`, `Connection` or `Upgrade`.
    #[error("this field is written by the proxy itself and cannot be set")]
    Reserved,
}

impl<'a> FieldName<'a> {
    /// Checks a name that comes from outside.
    ///
    /// # Errors
    /// Not a token, or a field that only the encoder writes (the authority has
    /// [`crate::HeadEdits::replace_authority`]).
    pub const fn new(bytes: &'a [u8]) -> Result<Self, FieldNameError> {
        if !is_token(bytes) {
            return Err(FieldNameError::NotToken);
        }
        let class = FieldClass::of(bytes);
        if class.is_encoder_owned() {
            return Err(FieldNameError::Reserved);
        }
        Ok(Self { bytes, class })
    }

    /// A name known at compile time.
    ///
    /// # Panics
    /// When it is not valid: in a `const` that is a compile error.
    #[expect(
        clippy::panic,
        reason = "meant for constants, where a panic is a compile error"
    )]
    pub const fn from_static(text: &'static str) -> FieldName<'static> {
        match FieldName::new(text.as_bytes()) {
            Ok(name) => name,
            Err(_) => panic!("not a field name that may be written"),
        }
    }

    /// The bytes, as they were given.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The class of this name.
    pub const fn class(self) -> FieldClass {
        self.class
    }
}

/// A field value that may be written: no CR, LF, NUL, other control or DEL, no white space at its
/// ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldValue<'a>(&'a [u8]);

/// Why a value cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a field value cannot contain line breaks or other control characters")]
pub struct FieldValueError;

impl<'a> FieldValue<'a> {
    /// The empty value.
    pub const EMPTY: FieldValue<'static> = FieldValue(b"");

    /// Checks a value that comes from outside; white space around it is trimmed.
    ///
    /// # Errors
    /// A byte that RFC 9110 §5.5 does not allow.
    pub const fn new(bytes: &'a [u8]) -> Result<Self, FieldValueError> {
        if is_value(bytes) {
            Ok(Self(trim_ows(bytes)))
        } else {
            Err(FieldValueError)
        }
    }

    /// A value known at compile time.
    ///
    /// # Panics
    /// When it is not valid: in a `const` that is a compile error.
    #[expect(
        clippy::panic,
        reason = "meant for constants, where a panic is a compile error"
    )]
    pub const fn from_static(text: &'static str) -> FieldValue<'static> {
        match FieldValue::new(text.as_bytes()) {
            Ok(value) => value,
            Err(_) => panic!("not a field value"),
        }
    }

    /// The value of a field that a parser of this crate accepted, which checked it. Not public: it
    /// would be the way round [`FieldValue::new`].
    pub(crate) fn of_parsed(field: Field<'a>) -> Self {
        debug_assert!(is_value(field.value), "a parser checked it");
        Self(field.value)
    }

    /// The authority of a request, whose grammar ([`crate::authority`], checked while parsing) is
    /// narrower than that of a value. Not public, for the same reason.
    pub(crate) fn of_authority<V: RequestView>(view: &'a V) -> Self {
        debug_assert!(is_value(view.authority()), "a parser checked it");
        Self(view.authority())
    }

    /// The bytes.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// The beginning of a line of ours, known at compile time: `Name: `, or with a first part of the
/// value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineStart {
    bytes: &'static [u8],
    name_len: usize,
}

impl LineStart {
    /// # Panics
    /// When it is not the beginning of a line that may be written: in a `const` that is a compile
    /// error.
    #[expect(
        clippy::panic,
        clippy::arithmetic_side_effects,
        reason = "meant for constants, where a panic is a compile error"
    )]
    pub(crate) const fn from_static(text: &'static str) -> Self {
        let mut name_len = 0;
        let mut rest = text.as_bytes();
        while let [byte, tail @ ..] = rest
            && *byte != b':'
        {
            name_len += 1;
            rest = tail;
        }
        let (name, _) = text.as_bytes().split_at(name_len);
        match (FieldName::new(name), rest) {
            (Ok(_), [b':', b' ', value @ ..]) if is_value(value) => Self {
                bytes: text.as_bytes(),
                name_len,
            },
            _ => panic!("not the beginning of a line that may be written"),
        }
    }

    pub(crate) const fn as_bytes(self) -> &'static [u8] {
        self.bytes
    }

    pub(crate) const fn name_len(self) -> usize {
        self.name_len
    }
}

/// A token in lower case as three words that overlap, so that a comparison with a constant is one of
/// a few numbers. Tokens of one length, up to 24 bytes, are the same when their words are.
///
/// Lowering is setting one bit. That is right for tokens (and cheaper than asking for each byte
/// whether it is a letter): of all other bytes only CR would become one that our names contain, and
/// CR is in no token.
#[derive(Clone, Copy)]
struct Words {
    first: u64,
    middle: u64,
    last: u64,
}

impl Words {
    #[inline]
    const fn of(token: &[u8]) -> Self {
        let (first, last) = match token.len() {
            8.. => (first_word(token), last_word(token)),
            4..=7 => match (token.first_chunk(), token.last_chunk()) {
                (Some(first), Some(last)) => (
                    u32::from_ne_bytes(*first) as u64,
                    u32::from_ne_bytes(*last) as u64,
                ),
                _ => (0, 0),
            },
            _ => match (token.first_chunk(), token.last_chunk()) {
                (Some(first), Some(last)) => (
                    u16::from_ne_bytes(*first) as u64,
                    u16::from_ne_bytes(*last) as u64,
                ),
                _ => (0, 0),
            },
        };
        let middle = match token.split_first_chunk::<8>() {
            Some((_, rest)) if token.len() > 16 => first_word(rest),
            _ => 0,
        };
        Self {
            first: first | LOWER,
            middle: middle | LOWER,
            last: last | LOWER,
        }
    }

    /// Whether it is this token, in lower case and of the same length.
    #[inline]
    const fn are(self, lower: &'static [u8]) -> bool {
        let other = Self::of(lower);
        self.first == other.first && self.middle == other.middle && self.last == other.last
    }
}

#[inline]
const fn first_word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(word) => u64::from_ne_bytes(*word),
        None => 0,
    }
}

#[inline]
const fn last_word(bytes: &[u8]) -> u64 {
    match bytes.last_chunk() {
        Some(word) => u64::from_ne_bytes(*word),
        None => 0,
    }
}

const fn has_forwarded_prefix(name: &[u8]) -> bool {
    match name.first_chunk::<12>() {
        Some(start) => Words::of(start).are(b"x-forwarded-"),
        None => false,
    }
}

const LOWER: u64 = u64::from_ne_bytes([0x20; 8]);

const ENCODER_OWNED: u64 = FieldClass::Host.bit()
    | FieldClass::ContentLength.bit()
    | FieldClass::TransferEncoding.bit()
    | FieldClass::Connection.bit()
    | FieldClass::Upgrade.bit();

#[cfg(test)]
mod tests {
    use super::{FieldClass, FieldName, FieldNameError, FieldValue};

    #[test]
    fn classes_are_found_in_any_case() {
        for (name, class) in [
            ("Host", FieldClass::Host),
            ("CONTENT-LENGTH", FieldClass::ContentLength),
            ("transfer-Encoding", FieldClass::TransferEncoding),
            ("Connection", FieldClass::Connection),
            ("Keep-Alive", FieldClass::KeepAlive),
            ("Proxy-Connection", FieldClass::ProxyConnection),
            ("TE", FieldClass::Te),
            ("Trailer", FieldClass::Trailer),
            ("upgrade", FieldClass::Upgrade),
            ("Expect", FieldClass::Expect),
            ("X-Forwarded-For", FieldClass::XForwardedFor),
            ("X-Forwarded-Proto", FieldClass::XForwardedProto),
            ("X-Forwarded-Host", FieldClass::XForwardedHost),
            ("X-Forwarded-Port", FieldClass::XForwardedOther),
            ("X-Forwarded-Client-Cert", FieldClass::XForwardedOther),
            ("x-forwarded-x", FieldClass::XForwardedOther),
            ("Forwarded", FieldClass::Forwarded),
            ("X-Real-IP", FieldClass::XRealIp),
            ("X-Request-Id", FieldClass::XRequestId),
            ("Via", FieldClass::Via),
            ("traceparent", FieldClass::Traceparent),
            ("Set-Cookie", FieldClass::SetCookie),
            ("User-Agent", FieldClass::UserAgent),
            ("Accept-Encoding", FieldClass::AcceptEncoding),
            ("Content-Length2", FieldClass::Other),
            ("Content_Length", FieldClass::Other),
            ("Accept", FieldClass::Other),
            ("", FieldClass::Other),
        ] {
            assert_eq!(FieldClass::of(name.as_bytes()), class, "{name}");
        }
    }

    #[test]
    fn a_name_with_one_other_byte_has_another_class() {
        let names: [&[u8]; 6] = [
            b"te",
            b"via",
            b"server",
            b"connection",
            b"proxy-connection",
            b"transfer-encoding",
        ];
        for name in names {
            let class = FieldClass::of(name);
            assert_ne!(class, FieldClass::Other);
            for at in 0..name.len() {
                let mut other = name.to_vec();
                other[at] = b'q';
                assert_eq!(FieldClass::of(&other), FieldClass::Other, "{at}");
                other[at] = name[at].to_ascii_uppercase();
                assert_eq!(FieldClass::of(&other), class, "{at}");
            }
        }
    }

    #[test]
    fn only_valid_names_and_values_exist() {
        for bad in ["", "a b", "a:", "a\r", "ä", "a\0"] {
            assert_eq!(
                FieldName::new(bad.as_bytes()),
                Err(FieldNameError::NotToken),
                "{bad:?}"
            );
        }
        for reserved in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "Connection",
            "Upgrade",
        ] {
            assert_eq!(
                FieldName::new(reserved.as_bytes()),
                Err(FieldNameError::Reserved)
            );
        }
        for bad in ["a\r\nb", "a\nb", "a\rb", "\0", "\x7f", "\x1b"] {
            assert!(FieldValue::new(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert_eq!(
            FieldValue::new(b" a\tb ").map(FieldValue::as_bytes),
            Ok(&b"a\tb"[..])
        );
    }
}
