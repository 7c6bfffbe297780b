//! What the fields of a head say about the message and its connection, gathered in the parser's one
//! pass.
//!
//! It keeps facts; requests and responses draw their own conclusions.

use crate::field::FieldClass;
use crate::framing::{FramingError, FramingFields};
use crate::grammar::{elements, is_token};

/// Facts of one head.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeadFacts {
    pub(crate) framing: FramingFields,
    pub(crate) connection: ConnectionOptions,
    pub(crate) host: Option<usize>,
    pub(crate) upgrade: Upgrade,
    pub(crate) expect: Expect,
}

/// The options of all Connection fields together (RFC 9110 §7.6.1).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ConnectionOptions {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    /// An element is not a token.
    pub(crate) invalid: bool,
}

/// The Upgrade fields (RFC 9110 §7.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Upgrade {
    #[default]
    Absent,
    /// One field, at this index.
    Field(usize),
    /// Several fields, or one that offers a protocol which would hide requests from us
    /// ([`hides_requests`]).
    Refused,
}

/// The Expect fields (RFC 9110 §10.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Expect {
    #[default]
    Absent,
    Continue,
    Unknown,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldError {
    BareLineFeed,
    FramingTab,
    Underscore,
    HostDuplicate,
    Framing(FramingError),
}

impl From<FramingError> for FieldError {
    fn from(error: FramingError) -> Self {
        Self::Framing(error)
    }
}

impl HeadFacts {
    /// Whether [`HeadFacts::on_field`] wants to see fields of this class.
    pub(crate) const fn is_about(class: FieldClass) -> bool {
        class.bit() & Self::CLASSES != 0
    }

    /// Not inlined: its many comparisons take the registers of the parser's loop, and most fields
    /// do not come here.
    #[inline(never)]
    pub(crate) fn on_field(
        &mut self,
        class: FieldClass,
        index: usize,
        value: &[u8],
    ) -> Result<(), FieldError> {
        match class {
            FieldClass::ContentLength => self.framing.on_content_length(value)?,
            FieldClass::TransferEncoding => self.framing.on_transfer_encoding(value)?,
            FieldClass::Connection => self.connection.on_value(value),
            FieldClass::Host if self.host.is_some() => return Err(FieldError::HostDuplicate),
            FieldClass::Host => self.host = Some(index),
            FieldClass::Upgrade => self.upgrade.on_value(index, value),
            FieldClass::Expect => self.expect.on_value(value),
            _ => {}
        }
        Ok(())
    }

    const CLASSES: u64 = FieldClass::ContentLength.bit()
        | FieldClass::TransferEncoding.bit()
        | FieldClass::Connection.bit()
        | FieldClass::Host.bit()
        | FieldClass::Upgrade.bit()
        | FieldClass::Expect.bit();
}

impl ConnectionOptions {
    fn on_value(&mut self, value: &[u8]) {
        // The two values that nearly every head has.
        if value.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
            return;
        }
        if value.eq_ignore_ascii_case(b"close") {
            self.close = true;
            return;
        }
        for option in elements(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
            self.invalid |= !is_token(option);
        }
    }
}

impl Upgrade {
    fn on_value(&mut self, index: usize, value: &[u8]) {
        let is_refused = value.is_empty() || elements(value).any(hides_requests);
        *self = match self {
            Self::Absent if !is_refused => Self::Field(index),
            _ => Self::Refused,
        };
    }
}

/// Whether requests could follow in this protocol, where no rule of ours would see them (robustness
/// SM-21): HTTP in any version, `h2c` with its drafts (`h2c-14`), and TLS (RFC 2817 §3), in which
/// anything may come.
fn hides_requests(protocol: &[u8]) -> bool {
    [&b"h2"[..], b"http/", b"tls/"].iter().any(|start| {
        protocol
            .get(..start.len())
            .is_some_and(|own| own.eq_ignore_ascii_case(start))
    })
}

impl Expect {
    fn on_value(&mut self, value: &[u8]) {
        *self = if value.eq_ignore_ascii_case(b"100-continue") && *self == Self::Absent {
            Self::Continue
        } else {
            Self::Unknown
        };
    }
}
