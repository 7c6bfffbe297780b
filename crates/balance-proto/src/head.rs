//! What phases, routing, filters and logging see of a message head, the same for every HTTP
//! version.
//!
//! Views are read only; changes go into [`crate::HeadEdits`] and are applied while encoding.

use crate::authority::host_of;
use balance_core::Method;

pub use crate::field::FieldClass;

/// The version of HTTP that a message was received in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2
    Http2,
}

impl Version {
    /// As the access log writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }

    /// The received-protocol of a Via entry (RFC 9110 §7.6.3).
    pub const fn via_name(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2.0",
        }
    }
}

/// How the client reached the listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Cleartext.
    #[default]
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// In lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// One field line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field<'a> {
    /// As received (HTTP/1) or in lower case (HTTP/2).
    pub name: &'a [u8],
    /// Without the white space around it.
    pub value: &'a [u8],
    /// Found once, while parsing.
    pub class: FieldClass,
}

/// The fields of a head, in the order received.
pub trait HeadView {
    /// How many there are: at most [`balance_core::Limits::FIELDS_CEILING`].
    fn field_count(&self) -> usize;

    /// The field at `index`; an empty one beyond the end.
    fn field(&self, index: usize) -> Field<'_>;

    /// The first field of a class.
    fn find(&self, class: FieldClass) -> Option<usize> {
        (0..self.field_count()).find(|index| self.field(*index).class == class)
    }

    /// A mask of the classes that its fields have ([`FieldClass::bit`]), so that who looks for rare
    /// ones need not walk over the fields. One that is not there may be in it, not the reverse.
    fn classes(&self) -> u64 {
        (0..self.field_count()).fold(0, |mask, index| mask | self.field(index).class.bit())
    }

    /// The value of the first field with this name.
    fn get(&self, name_lower: &[u8]) -> Option<&[u8]> {
        (0..self.field_count())
            .map(|index| self.field(index))
            .find(|field| field.name.eq_ignore_ascii_case(name_lower))
            .map(|field| field.value)
    }

    /// HTTP/1 only: the field lines from `first` up to `last_exclusive`, with their CRLFs, as one
    /// piece of memory in the form `Name: value\r\n`. It saves the encoder from writing them one by
    /// one.
    fn run(&self, first: usize, last_exclusive: usize) -> Option<&[u8]> {
        let _ = (first, last_exclusive);
        None
    }

    /// A mask of the fields that only the encoder writes ([`FieldClass::is_encoder_owned`]).
    fn encoder_owned(&self) -> u128 {
        (0..self.field_count())
            .filter(|index| self.field(*index).class.is_encoder_owned())
            .fold(0, |mask, index| mask | field_bit(index))
    }
}

/// A request head.
pub trait RequestView: HeadView {
    /// The method's bytes.
    fn method(&self) -> &[u8];
    /// The method as tables and labels know it.
    fn method_kind(&self) -> Method;
    /// As received.
    fn version(&self) -> Version;
    /// How the client reached us.
    fn scheme(&self) -> Scheme;
    /// Host and port as the client named them; empty for HTTP/1.0 without Host. A parser checked
    /// them ([`crate::authority`]): they are written as they are.
    fn authority(&self) -> &[u8];
    /// The host of the authority, without the port and without a trailing dot.
    fn host(&self) -> &[u8] {
        host_of(self.authority())
    }

    /// In origin form, beginning with `/`; `*` for `OPTIONS *`.
    fn path_and_query(&self) -> &[u8];

    /// [`RequestView::path_and_query`] up to the first `?`.
    fn path(&self) -> &[u8] {
        let target = self.path_and_query();
        let end = target.iter().position(|byte| *byte == b'?');
        target
            .get(..end.unwrap_or(target.len()))
            .unwrap_or_default()
    }

    /// [`RequestView::path_and_query`] after the first `?`; empty where there is none.
    fn query(&self) -> &[u8] {
        let rest = self.path_and_query().get(self.path().len()..);
        rest.and_then(|rest| rest.strip_prefix(b"?"))
            .unwrap_or_default()
    }
}

/// A response head.
pub trait ResponseView: HeadView {
    /// 100 to 999.
    fn status(&self) -> u16;
    /// As received.
    fn version(&self) -> Version;
    /// The origin's reason phrase; empty where the version has none.
    fn reason(&self) -> &[u8] {
        b""
    }
}

/// The bit of a field in a 128-bit mask; no bit beyond its end.
pub(crate) const fn field_bit(index: usize) -> u128 {
    if index < 128 {
        1_u128.wrapping_shl(index as u32)
    } else {
        0
    }
}
