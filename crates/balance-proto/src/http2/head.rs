//! Field blocks become heads: the same [`RequestHead`](crate::http1::RequestHead) and
//! [`ResponseHead`](crate::http1::ResponseHead) that HTTP/1 fills, so that framing, hygiene and routing decide once for
//! all versions (architecture invariant 3).
//!
//! Here is what RFC 9113 §8.2 and §8.3 add: pseudo-header fields, names in lower case, no field of a connection. All
//! else is judged by the heads themselves.

mod request;
mod response;
mod trailers;

pub(super) use request::{RequestAssembly, RequestFault};
pub(super) use response::ResponseAssembly;
pub use trailers::Trailers;
pub(super) use trailers::TrailersAssembly;

use super::error::Malformed;
use super::hpack::{DecodedField, FieldSink};
use crate::field::FieldClass;

/// Memory that serves one head after the other.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The pseudo-header fields, until the first line can be written.
    pseudo: Vec<u8>,
    cookie: Vec<u8>,
}

impl Scratch {
    fn clear(&mut self) {
        self.pseudo.clear();
        self.cookie.clear();
    }
}

/// For blocks that nobody wants: the table has to follow them all the same (RFC 9113 §4.3).
pub(super) struct Ignored;

impl FieldSink for Ignored {
    fn on_field(&mut self, _: DecodedField<'_>) {}
}

/// What a regular field must fulfil in every kind of message.
fn check_regular(field: &DecodedField<'_>, class: FieldClass) -> Result<(), Malformed> {
    if !field.is_value_valid {
        return Err(Malformed::ValueInvalid);
    }
    match class {
        // RFC 9113 §8.2.2
        FieldClass::Connection
        | FieldClass::KeepAlive
        | FieldClass::ProxyConnection
        | FieldClass::TransferEncoding
        | FieldClass::Upgrade => Err(Malformed::ConnectionSpecific),
        FieldClass::Te if !field.value.eq_ignore_ascii_case(b"trailers") => {
            Err(Malformed::ConnectionSpecific)
        }
        _ => Ok(()),
    }
}
