//! HTTP/1 codec, HTTP/2 engine, body framing and header hygiene, free of I/O.
//!
//! Bytes in, verdicts and bytes out: no sockets, no clock, no randomness. Whatever could be read
//! two ways is refused here (robustness rule 0), so everything above this crate works on messages
//! with one meaning. [`head`] is what the rest of Balance sees of a message, the same for every
//! HTTP version; [`http1`] reads and writes the HTTP/1 form,
//! [`http2`] that of HTTP/2; [`framing`] is the one place that
//! decides where a body ends.

#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "a test that panics has done its work"
    )
)]

pub mod authority;
pub mod client_hello;
mod decimal;
pub mod edits;
pub mod field;
pub mod framing;
mod grammar;
pub mod head;
pub mod http1;
pub mod http2;
pub mod hygiene;
pub mod path;
pub mod proxy_protocol;

pub use edits::HeadEdits;
pub use field::{FieldClass, FieldName, FieldValue};
pub use framing::{BodyLength, FramingLine, ResponseBody};
pub use head::{Field, HeadView, RequestView, ResponseView, Scheme, Version};
