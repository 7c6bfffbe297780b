//! Frames (RFC 9113 §4 and §6): reading a header, reading a payload, writing both.
//!
//! It knows the rules that a frame can break by itself. What a frame means for a stream or a connection is
//! decided by the connection.

mod header;
mod payload;
mod write;

pub use header::{FrameHeader, FrameKind, StreamId};
pub use payload::{Continuation, GoAway, Headers, Padding, Priority, Setting, settings};
pub use write::{
    PREFACE, encode_data_header, encode_goaway, encode_ping, encode_reset, encode_settings,
    encode_settings_ack, encode_window_update, finish_block, open_block,
};

pub(super) use payload::{parse_ping, parse_reset, parse_window_update};

use super::error::Violation;

/// How much a violation costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole connection (RFC 9113 §5.4.1).
    Connection,
    /// The frame's stream (RFC 9113 §5.4.2).
    Stream,
}

/// Why a frame is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{violation}")]
pub struct FrameError {
    /// The rule.
    pub violation: Violation,
    /// How much it costs.
    pub scope: Scope,
}

impl FrameError {
    pub(super) const fn connection(violation: Violation) -> Self {
        let scope = Scope::Connection;
        Self { violation, scope }
    }

    pub(super) const fn stream(violation: Violation) -> Self {
        let scope = Scope::Stream;
        Self { violation, scope }
    }
}

/// Flags (RFC 9113 §6). The same bit means different things in different frames.
pub mod flags {
    /// DATA, HEADERS: nothing follows on this stream.
    pub const END_STREAM: u8 = 0x1;
    /// SETTINGS, PING: an answer.
    pub const ACK: u8 = 0x1;
    /// HEADERS, CONTINUATION: the field block is complete.
    pub const END_HEADERS: u8 = 0x4;
    /// DATA, HEADERS: the first octet says how much padding there is.
    pub const PADDED: u8 = 0x8;
    /// HEADERS: five octets of priority.
    pub const PRIORITY: u8 = 0x20;
}

#[cfg(test)]
mod tests;
