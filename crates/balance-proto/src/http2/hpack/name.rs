//! What a field name of HTTP/2 is, found once for each entry of a table.

use crate::field::FieldClass;
use crate::grammar::is_token;

/// What a decoded name is. Kept with the entry of the table, so that a name that is indexed again is neither
/// checked nor classified again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// It begins with a colon (RFC 9113 §8.3).
    Pseudo(Pseudo),
    /// A token in lower case.
    Regular(FieldClass),
    /// Empty, with an upper-case letter, or with a byte that is in no token (RFC 9113 §8.2.1).
    Invalid,
}

/// The pseudo-header fields of RFC 9113 §8.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pseudo {
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `:status`
    Status,
    /// Any other, `:protocol` of RFC 8441 among them: we do not offer extended CONNECT.
    Unknown,
}

impl NameKind {
    /// What `name` is.
    pub const fn of(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Pseudo(Pseudo::Method),
            b":scheme" => Self::Pseudo(Pseudo::Scheme),
            b":authority" => Self::Pseudo(Pseudo::Authority),
            b":path" => Self::Pseudo(Pseudo::Path),
            b":status" => Self::Pseudo(Pseudo::Status),
            [b':', ..] => Self::Pseudo(Pseudo::Unknown),
            _ if is_token(name) && !has_upper_case(name) => Self::Regular(FieldClass::of(name)),
            _ => Self::Invalid,
        }
    }
}

const fn has_upper_case(mut name: &[u8]) -> bool {
    while let [byte, rest @ ..] = name {
        if byte.is_ascii_uppercase() {
            return true;
        }
        name = rest;
    }
    false
}
