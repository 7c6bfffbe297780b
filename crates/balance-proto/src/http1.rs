//! HTTP/1.0 and HTTP/1.1 on the wire (RFC 9112): heads, chunked bodies, encoding.
//!
//! Ordinary heads are read in one pass of our own (`scan`); all others are found with httparse, and what httparse
//! is lax about (bare LF, several empty lines, the form of a target) is checked here in the pass that classifies the
//! fields. Stateless between calls: the caller gives the whole input again when a head was partial, and [`worth_parsing`]
//! tells when that makes sense.

mod chunked;
mod encode;
pub(crate) mod facts;
pub(crate) mod lines;
mod reason;
pub(crate) mod request;
mod request_error;
mod response;
mod scan;

pub use chunked::{
    ChunkError, ChunkLimits, ChunkedDecoder, Filtered, Keep, LAST_CHUNK, encode_chunk_head,
};
pub use encode::{ConnectionLine, encode_own_response, encode_request, encode_response};
pub use reason::reason_phrase;
pub use request::RequestHead;
pub use request_error::RequestError;
pub use response::{ResponseContext, ResponseError, ResponseHead};

use crate::head::{Scheme, Version};
use balance_core::{Limits, PathPolicy, ProtocolSettings, UnderscorePolicy};

/// What heads are held to.
#[derive(Clone, Copy, Debug)]
pub struct HeadSettings {
    /// A whole head, first line and final CRLF included.
    pub head_bytes_max: usize,
    /// Field lines of one head; at most [`Limits::FIELDS_CEILING`].
    pub fields_max: usize,
    /// The request target.
    pub target_bytes_max: usize,
    /// What paths are refused.
    pub paths: PathPolicy,
    /// What happens to request fields with `_` in their names.
    pub underscores: UnderscorePolicy,
    /// How clients reach this listener; a target in absolute form must agree.
    pub scheme: Scheme,
}

impl HeadSettings {
    /// From the settings of a snapshot.
    pub fn new(limits: &Limits, protocol: &ProtocolSettings, scheme: Scheme) -> Self {
        Self {
            head_bytes_max: limits.head_bytes_max,
            fields_max: limits.fields_max,
            target_bytes_max: limits.target_bytes_max,
            paths: protocol.paths,
            underscores: protocol.underscores_in_headers,
            scheme,
        }
    }

    fn bounds(&self) -> scan::Bounds {
        scan::Bounds {
            head_bytes_max: self.head_bytes_max.min(HEAD_BYTES_CEILING),
            fields_max: self.fields_max.min(Limits::FIELDS_CEILING),
            target_bytes_max: self.target_bytes_max,
        }
    }
}

impl Default for HeadSettings {
    fn default() -> Self {
        Self::new(
            &Limits::default(),
            &ProtocolSettings::default(),
            Scheme::Http,
        )
    }
}

/// How far a parser came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More input is needed; nothing was kept.
    Partial,
    /// The head is complete; the body begins after `consumed` bytes.
    Complete {
        /// Bytes of input that belong to the head, a skipped empty line included.
        consumed: usize,
    },
}

/// The version of a head by its minor number; httparse knows 0 and 1.
fn version_of(minor: Option<u8>) -> Version {
    match minor {
        Some(0) => Version::Http10,
        _ => Version::Http11,
    }
}

/// Whether a head of which the first `seen` bytes were partial should be parsed again: an empty
/// line may have arrived, or the input doubled (so garbage is still found early). A client that
/// sends a head byte by byte would otherwise make us parse it once per byte.
pub fn worth_parsing(input: &[u8], seen: usize) -> bool {
    // The end may be cut anywhere: look back over a possible `\r\n\r`.
    let fresh = input.get(seen.saturating_sub(3)..).unwrap_or_default();
    input.len() >= seen.saturating_mul(2)
        || fresh
            .windows(2)
            .any(|pair| pair == b"\n\r" || pair == b"\n\n")
}

/// Heads larger than this cannot be configured to pass: their spans are 32-bit offsets.
const HEAD_BYTES_CEILING: usize = 1 << 24;

#[cfg(test)]
mod tests;
