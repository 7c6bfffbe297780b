//! Payloads of frames whose header passed [`super::FrameHeader::check`].

use super::{FrameError, FrameHeader, StreamId, flags};
use crate::http2::error::{ErrorCode, Violation};

/// HEADERS (RFC 9113 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    /// The field block, or its beginning.
    pub block: &'a [u8],
    /// Whether the block is complete.
    pub ends_block: bool,
    /// Whether nothing follows on the stream.
    pub ends_stream: bool,
    /// The stream it depends on, where it says so.
    pub priority: Option<Priority>,
}

/// CONTINUATION (RFC 9113 §6.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Continuation<'a> {
    /// More of the field block.
    pub block: &'a [u8],
    /// Whether the block is complete.
    pub ends_block: bool,
}

/// The payload of PRIORITY, also in HEADERS (RFC 9113 §6.3). We order nothing by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// The stream it depends on.
    pub depends_on: StreamId,
}

/// GOAWAY (RFC 9113 §6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoAway {
    /// The last stream that the peer may have processed.
    pub last: StreamId,
    /// Why.
    pub code: ErrorCode,
}

/// What a DATA frame begins with: how much of its payload is no data (RFC 9113 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// Octets of data.
    pub data: u32,
    /// Octets behind them.
    pub padding: u32,
}

impl Padding {
    /// For a DATA frame; `pad_length` is its first octet when it is padded.
    ///
    /// # Errors
    /// More padding than there is payload.
    pub fn of_data(header: FrameHeader, pad_length: Option<u8>) -> Result<Self, FrameError> {
        let Some(padding) = pad_length else {
            let data = header.length;
            return Ok(Self { data, padding: 0 });
        };
        let padding = u32::from(padding);
        // The octet itself counts too.
        let data = header
            .length
            .checked_sub(padding.saturating_add(1))
            .ok_or(FrameError::connection(Violation::PaddingTooLong))?;
        Ok(Self { data, padding })
    }
}

impl<'a> Headers<'a> {
    /// Reads the payload of a HEADERS frame.
    ///
    /// # Errors
    /// More padding than there is payload.
    pub fn parse(header: FrameHeader, payload: &'a [u8]) -> Result<Self, FrameError> {
        let too_long = FrameError::connection(Violation::PaddingTooLong);
        let mut block = payload;
        let mut padding = 0;
        if header.has(flags::PADDED) {
            let (first, rest) = block.split_first().ok_or(too_long)?;
            (padding, block) = (usize::from(*first), rest);
        }
        let mut priority = None;
        if header.has(flags::PRIORITY) {
            let (octets, rest) = block.split_first_chunk::<5>().ok_or(too_long)?;
            priority = Some(Priority::parse(octets));
            block = rest;
        }
        let block_len = block.len().checked_sub(padding).ok_or(too_long)?;
        Ok(Self {
            block: block.get(..block_len).unwrap_or_default(),
            ends_block: header.has(flags::END_HEADERS),
            ends_stream: header.has(flags::END_STREAM),
            priority,
        })
    }
}

impl<'a> Continuation<'a> {
    /// Reads the payload of a CONTINUATION frame.
    pub const fn parse(header: FrameHeader, payload: &'a [u8]) -> Self {
        Self {
            block: payload,
            ends_block: header.has(flags::END_HEADERS),
        }
    }
}

impl Priority {
    /// Reads the exclusive flag, the dependency and the weight.
    pub const fn parse(octets: &[u8; 5]) -> Self {
        let [s0, s1, s2, s3, _weight] = *octets;
        Self {
            depends_on: StreamId::new(u32::from_be_bytes([s0, s1, s2, s3])),
        }
    }
}

impl GoAway {
    /// Reads a payload; what follows the code is for people.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (last, rest) = payload.split_first_chunk()?;
        let code = rest.first_chunk()?;
        Some(Self {
            last: StreamId::new(u32::from_be_bytes(*last)),
            code: ErrorCode(u32::from_be_bytes(*code)),
        })
    }
}

/// One setting (RFC 9113 §6.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// See the constants.
    pub id: u16,
    /// What it means depends on the id.
    pub value: u32,
}

impl Setting {
    /// Of the table that the peer decodes with.
    pub const HEADER_TABLE_SIZE: u16 = 0x1;
    /// Whether the peer may push.
    pub const ENABLE_PUSH: u16 = 0x2;
    /// How many streams the peer may have open.
    pub const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    /// The window of a new stream.
    pub const INITIAL_WINDOW_SIZE: u16 = 0x4;
    /// The largest payload of a frame.
    pub const MAX_FRAME_SIZE: u16 = 0x5;
    /// The largest list of fields, 32 octets for each added.
    pub const MAX_HEADER_LIST_SIZE: u16 = 0x6;
    /// RFC 8441 §3.
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;

    /// Checks the value.
    ///
    /// # Errors
    /// One that RFC 9113 §6.5.2 or RFC 8441 §3 forbids.
    pub const fn check(self) -> Result<(), Violation> {
        match (self.id, self.value) {
            (Self::ENABLE_PUSH | Self::ENABLE_CONNECT_PROTOCOL, 2..) => {
                Err(Violation::SettingInvalid)
            }
            (Self::INITIAL_WINDOW_SIZE, 0x8000_0000..) => Err(Violation::InitialWindowTooLarge),
            (Self::MAX_FRAME_SIZE, 0..=0x3fff | 0x100_0000..) => Err(Violation::SettingInvalid),
            _ => Ok(()),
        }
    }
}

/// The settings of a SETTINGS payload, in order; the last one of an id counts.
pub fn settings(payload: &[u8]) -> impl Iterator<Item = Setting> {
    payload.as_chunks::<6>().0.iter().map(|octets| {
        let [i0, i1, v0, v1, v2, v3] = *octets;
        Setting {
            id: u16::from_be_bytes([i0, i1]),
            value: u32::from_be_bytes([v0, v1, v2, v3]),
        }
    })
}

/// The increment of a WINDOW_UPDATE (RFC 9113 §6.9); the reserved bit is ignored.
pub(in crate::http2) fn parse_window_update(payload: &[u8]) -> u32 {
    number(payload) & 0x7fff_ffff
}

/// The code of a RST_STREAM (RFC 9113 §6.4).
pub(in crate::http2) fn parse_reset(payload: &[u8]) -> ErrorCode {
    ErrorCode(number(payload))
}

/// The payload of a PING (RFC 9113 §6.7).
pub(in crate::http2) fn parse_ping(payload: &[u8]) -> [u8; 8] {
    payload.first_chunk().copied().unwrap_or_default()
}

/// Its length was checked with the header.
fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload.first_chunk().copied().unwrap_or_default())
}
