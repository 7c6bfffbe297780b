//! Writing frames, each appended to a buffer of the caller.

use super::{FrameHeader, FrameKind, Setting, StreamId, flags};
use crate::http2::error::ErrorCode;

/// What a client sends first (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The header of a DATA frame; `length` octets have to follow.
pub fn encode_data_header(out: &mut Vec<u8>, stream: StreamId, length: u32, ends_stream: bool) {
    let flags = if ends_stream { flags::END_STREAM } else { 0 };
    push_header(out, length, FrameKind::Data, flags, stream);
}

/// SETTINGS (RFC 9113 §6.5).
pub fn encode_settings(out: &mut Vec<u8>, settings: &[Setting]) {
    let length = settings.len().saturating_mul(6) as u32;
    push_header(out, length, FrameKind::Settings, 0, StreamId::CONNECTION);
    for setting in settings {
        out.extend_from_slice(&setting.id.to_be_bytes());
        out.extend_from_slice(&setting.value.to_be_bytes());
    }
}

/// The acknowledgement of SETTINGS, which has no payload (RFC 9113 §6.5.3).
pub fn encode_settings_ack(out: &mut Vec<u8>) {
    push_header(
        out,
        0,
        FrameKind::Settings,
        flags::ACK,
        StreamId::CONNECTION,
    );
}

/// PING (RFC 9113 §6.7).
pub fn encode_ping(out: &mut Vec<u8>, payload: [u8; 8], is_ack: bool) {
    let flags = if is_ack { flags::ACK } else { 0 };
    push_header(out, 8, FrameKind::Ping, flags, StreamId::CONNECTION);
    out.extend_from_slice(&payload);
}

/// GOAWAY (RFC 9113 §6.8), without words for people.
pub fn encode_goaway(out: &mut Vec<u8>, last: StreamId, code: ErrorCode) {
    push_header(out, 8, FrameKind::GoAway, 0, StreamId::CONNECTION);
    out.extend_from_slice(&last.get().to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// WINDOW_UPDATE (RFC 9113 §6.9).
pub fn encode_window_update(out: &mut Vec<u8>, stream: StreamId, increment: u32) {
    push_header(out, 4, FrameKind::WindowUpdate, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// RST_STREAM (RFC 9113 §6.4).
pub fn encode_reset(out: &mut Vec<u8>, stream: StreamId, code: ErrorCode) {
    push_header(out, 4, FrameKind::Reset, 0, stream);
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Begins a HEADERS frame: the field block is appended directly behind it, and [`finish_block`] then writes the
/// header. Returns where the frame begins.
#[must_use]
pub fn open_block(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; FrameHeader::BYTES]);
    start
}

/// Ends the HEADERS frame that begins at `start`. A block that is larger than a frame may be goes on in
/// CONTINUATION frames (RFC 9113 §6.10).
pub fn finish_block(
    out: &mut Vec<u8>,
    start: usize,
    stream: StreamId,
    ends_stream: bool,
    frame_bytes_max: u32,
) {
    let block_at = start.saturating_add(FrameHeader::BYTES);
    let block_len = out.len().saturating_sub(block_at);
    let first_len = block_len.min(frame_bytes_max as usize);
    let mut flags = if ends_stream { flags::END_STREAM } else { 0 };
    if first_len == block_len {
        flags |= flags::END_HEADERS;
    }
    let header = FrameHeader {
        length: first_len as u32,
        kind: FrameKind::Headers,
        flags,
        stream,
    };
    if let Some(place) = out.get_mut(start..block_at) {
        place.copy_from_slice(&header.to_bytes());
    }
    if first_len < block_len {
        continue_block(
            out,
            block_at.saturating_add(first_len),
            stream,
            frame_bytes_max,
        );
    }
}

/// Rare: heads are smaller than the smallest maximum that a peer may set (16 KiB).
#[cold]
fn continue_block(out: &mut Vec<u8>, at: usize, stream: StreamId, frame_bytes_max: u32) {
    let rest = out.split_off(at);
    let mut pieces = rest.chunks(frame_bytes_max as usize).peekable();
    while let Some(piece) = pieces.next() {
        let flags = match pieces.peek() {
            Some(_) => 0,
            None => flags::END_HEADERS,
        };
        push_header(
            out,
            piece.len() as u32,
            FrameKind::Continuation,
            flags,
            stream,
        );
        out.extend_from_slice(piece);
    }
}

fn push_header(out: &mut Vec<u8>, length: u32, kind: FrameKind, flags: u8, stream: StreamId) {
    let header = FrameHeader {
        length,
        kind,
        flags,
        stream,
    };
    out.extend_from_slice(&header.to_bytes());
}
