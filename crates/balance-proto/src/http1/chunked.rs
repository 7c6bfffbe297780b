//! The chunked transfer coding (RFC 9112 §7.1) as a state machine over byte positions: it validates
//! a body in place and throws out what is not to be forwarded, without a buffer of its own.
//!
//! ```text
//!              hex                    ';'          (name, = value, quoted)
//!  SizeStart ──────▶ Size ─────────────────▶ ExtNameStart … ──┐
//!     ▲               │ CR                                CR │
//!     │               ▼                                      ▼
//!     │            SizeLf ◀──────────────────────────────────┘
//!     │               │ LF, size > 0         │ LF, size = 0
//!     │               ▼                      ▼
//!     └─LF─ DataLf ◀CR─ DataCr ◀─── Data     TrailerStart ──CR──▶ EndLf ──LF──▶ Done
//!                                              │      ▲
//!                                        tchar ▼      │ LF
//!                                  TrailerName ─':'─▶ TrailerValue ─CR─▶ TrailerLf
//! ```
//! Stricter than the RFC: no white space around extensions (BWS), bare LF refused, extensions and
//! trailers bounded.

use crate::grammar::{is_tchar, is_value_byte};

/// What stays in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The body in chunked form, without extensions and trailer fields: to be forwarded as it is.
    Framing,
    /// The payload alone.
    Payload,
}

/// What one call of [`ChunkedDecoder::filter`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filtered {
    /// Bytes that belonged to this body: the whole buffer, unless the body ended in it.
    pub consumed: usize,
    /// Bytes at the start of the buffer that are to be sent on.
    pub kept: usize,
    /// Payload bytes among what was consumed.
    pub payload: u64,
    /// Whether the body is complete.
    pub done: bool,
}

/// Bounds on what is not payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLimits {
    /// All chunk extensions of a body together.
    pub extension_bytes_max: u16,
    /// The trailer section.
    pub trailer_bytes_max: u16,
    /// Fields of the trailer section.
    pub trailer_fields_max: u16,
}

impl Default for ChunkLimits {
    fn default() -> Self {
        Self {
            extension_bytes_max: 4 * 1024,
            trailer_bytes_max: 8 * 1024,
            trailer_fields_max: 100,
        }
    }
}

/// Why a chunked body is refused. The end of the body is lost: the connection cannot be reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// RFC 9112 §7.1: hex digits only, at most 16.
    #[error("the chunk size is not 1 to 16 hex digits")]
    SizeInvalid,
    /// 2^63 or more.
    #[error("the chunk is too large")]
    SizeTooLarge,
    /// RFC 9112 §7.1.1.
    #[error("the chunk extension is malformed")]
    ExtensionInvalid,
    /// Above `extension_bytes_max`.
    #[error("the chunk extensions are too long")]
    ExtensionsTooLong,
    /// RFC 9112 §7.1: CRLF and nothing else.
    #[error("a line of the chunked body does not end with CRLF")]
    LineEndInvalid,
    /// RFC 9112 §7.1.2.
    #[error("a trailer field is malformed")]
    TrailerInvalid,
    /// Above `trailer_bytes_max` or `trailer_fields_max`.
    #[error("the trailer section is too large")]
    TrailersTooLarge,
}

/// Where a chunked body is, between two pieces of it.
#[derive(Clone, Copy, Debug)]
pub struct ChunkedDecoder {
    /// The size while it is read, then what is left of the chunk.
    remaining: u64,
    state: State,
    size_digits: u8,
    extension_bytes_left: u16,
    trailer_bytes_left: u16,
    trailer_fields_left: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    SizeStart,
    Size,
    ExtNameStart,
    ExtName,
    ExtValueStart,
    ExtValue,
    ExtQuoted,
    ExtQuotedPair,
    ExtAfterQuoted,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

/// What happens to the byte that was just read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It frames the payload.
    Frame,
    /// It is dropped under every [`Keep`].
    Drop,
}

impl ChunkedDecoder {
    /// At the start of a body.
    pub const fn new(limits: ChunkLimits) -> Self {
        Self {
            remaining: 0,
            state: State::SizeStart,
            size_digits: 0,
            extension_bytes_left: limits.extension_bytes_max,
            trailer_bytes_left: limits.trailer_bytes_max,
            trailer_fields_left: limits.trailer_fields_max,
        }
    }

    /// Whether the last byte of the body was seen.
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Validates the next piece of the body in place. Afterwards `buf[..kept]` is what goes out;
    /// what stood between `kept` and `consumed` is gone, bytes after `consumed` are untouched. Any
    /// split of a body into pieces gives the same bytes.
    ///
    /// # Errors
    /// The rule that is broken. Nothing of this piece may be forwarded.
    pub fn filter(&mut self, buf: &mut [u8], keep: Keep) -> Result<Filtered, ChunkError> {
        let mut read = 0_usize;
        let mut kept = 0_usize;
        let mut payload = 0_u64;
        while self.state != State::Done {
            if self.state == State::Data {
                let left = usize::try_from(self.remaining).unwrap_or(usize::MAX);
                let length = left.min(buf.len().saturating_sub(read));
                let end = read.saturating_add(length);
                close_gap(buf, read, end, kept);
                read = end;
                kept = kept.saturating_add(length);
                payload = payload.saturating_add(length as u64);
                self.remaining = self.remaining.saturating_sub(length as u64);
                if self.remaining > 0 {
                    break;
                }
                self.state = State::DataCr;
            }
            let Some(byte) = buf.get(read).copied() else {
                break;
            };
            let fate = self.on_byte(byte)?;
            if fate == Fate::Frame && keep == Keep::Framing {
                if let Some(slot) = buf.get_mut(kept) {
                    *slot = byte;
                }
                kept = kept.saturating_add(1);
            }
            read = read.saturating_add(1);
        }
        Ok(Filtered {
            consumed: read,
            kept,
            payload,
            done: self.is_done(),
        })
    }

    /// One byte outside the payload.
    fn on_byte(&mut self, byte: u8) -> Result<Fate, ChunkError> {
        match self.state {
            State::SizeStart | State::Size => self.on_size(byte),
            State::SizeLf => {
                expect_byte(byte, b'\n')?;
                self.size_digits = 0;
                self.state = match self.remaining {
                    0 => State::TrailerStart,
                    _ => State::Data,
                };
                Ok(Fate::Frame)
            }
            State::DataCr => self.on_line_end(byte, b'\r', State::DataLf),
            State::DataLf => self.on_line_end(byte, b'\n', State::SizeStart),
            State::EndLf => self.on_line_end(byte, b'\n', State::Done),
            State::TrailerStart if byte == b'\r' => {
                self.state = State::EndLf;
                Ok(Fate::Frame)
            }
            State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLf => {
                self.on_trailer(byte)
            }
            // Payload and what follows the end never come here.
            _ => self.on_extension(byte),
        }
    }

    fn on_line_end(&mut self, byte: u8, expected: u8, next: State) -> Result<Fate, ChunkError> {
        expect_byte(byte, expected)?;
        self.state = next;
        Ok(Fate::Frame)
    }

    /// The digits stay as they came: a piece of them may have gone out already. 16 hex digits mean
    /// the same to everyone who can read them at all.
    fn on_size(&mut self, byte: u8) -> Result<Fate, ChunkError> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if self.size_digits == SIZE_DIGITS_MAX {
                return Err(ChunkError::SizeInvalid);
            }
            if self.remaining > SIZE_MAX >> 4 {
                return Err(ChunkError::SizeTooLarge);
            }
            self.size_digits = self.size_digits.saturating_add(1);
            self.remaining = (self.remaining << 4) | u64::from(digit);
            self.state = State::Size;
            return Ok(Fate::Frame);
        }
        match (self.state, byte) {
            (State::Size, b'\r') => {
                self.state = State::SizeLf;
                Ok(Fate::Frame)
            }
            (State::Size, b';') => {
                self.state = State::ExtNameStart;
                self.pay_extension()
            }
            (State::Size, b'\n') => Err(ChunkError::LineEndInvalid),
            _ => Err(ChunkError::SizeInvalid),
        }
    }

    /// RFC 9112 §7.1.1: `;name`, `;name=token` or `;name="quoted"`.
    fn on_extension(&mut self, byte: u8) -> Result<Fate, ChunkError> {
        self.state = match (self.state, byte) {
            (State::ExtName | State::ExtValue | State::ExtAfterQuoted, b'\r') => {
                self.state = State::SizeLf;
                return Ok(Fate::Frame);
            }
            (State::ExtName | State::ExtValue | State::ExtAfterQuoted, b';') => State::ExtNameStart,
            (State::ExtNameStart | State::ExtName, _) if is_tchar(byte) => State::ExtName,
            (State::ExtName, b'=') => State::ExtValueStart,
            (State::ExtValueStart, b'"') => State::ExtQuoted,
            (State::ExtValueStart | State::ExtValue, _) if is_tchar(byte) => State::ExtValue,
            (State::ExtQuoted, b'"') => State::ExtAfterQuoted,
            (State::ExtQuoted, b'\\') => State::ExtQuotedPair,
            (State::ExtQuoted | State::ExtQuotedPair, _) if is_value_byte(byte) => State::ExtQuoted,
            (_, b'\n') => return Err(ChunkError::LineEndInvalid),
            _ => return Err(ChunkError::ExtensionInvalid),
        };
        self.pay_extension()
    }

    fn on_trailer(&mut self, byte: u8) -> Result<Fate, ChunkError> {
        self.trailer_bytes_left = self
            .trailer_bytes_left
            .checked_sub(1)
            .ok_or(ChunkError::TrailersTooLarge)?;
        self.state = match (self.state, byte) {
            (State::TrailerStart, _) if is_tchar(byte) => {
                self.trailer_fields_left = self
                    .trailer_fields_left
                    .checked_sub(1)
                    .ok_or(ChunkError::TrailersTooLarge)?;
                State::TrailerName
            }
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerName, _) if is_tchar(byte) => State::TrailerName,
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, _) if is_value_byte(byte) => State::TrailerValue,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::TrailerLf, _) | (_, b'\n') => return Err(ChunkError::LineEndInvalid),
            _ => return Err(ChunkError::TrailerInvalid),
        };
        Ok(Fate::Drop)
    }

    fn pay_extension(&mut self) -> Result<Fate, ChunkError> {
        self.extension_bytes_left = self
            .extension_bytes_left
            .checked_sub(1)
            .ok_or(ChunkError::ExtensionsTooLong)?;
        Ok(Fate::Drop)
    }
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new(ChunkLimits::default())
    }
}

/// The size line before a chunk of `length` bytes: `array[..n]`. After the chunk comes CRLF. 0
/// would end the body; for that there is [`LAST_CHUNK`].
pub fn encode_chunk_head(length: u64) -> ([u8; 18], usize) {
    debug_assert!(length > 0, "an empty chunk ends the body");
    let mut head = [0; 18];
    // At least one digit.
    let digits = 16_usize
        .saturating_sub(length.leading_zeros() as usize / 4)
        .max(1);
    let mut rest = length;
    for slot in head.iter_mut().take(digits).rev() {
        *slot = HEX.get((rest & 0xf) as usize).copied().unwrap_or(b'0');
        rest >>= 4;
    }
    for (slot, byte) in head.iter_mut().skip(digits).zip(*b"\r\n") {
        *slot = byte;
    }
    (head, digits.saturating_add(2))
}

/// The end of a chunked body without trailer fields.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

fn expect_byte(byte: u8, expected: u8) -> Result<(), ChunkError> {
    if byte == expected {
        Ok(())
    } else {
        Err(ChunkError::LineEndInvalid)
    }
}

/// Moves `buf[from..to]` down to `at`, when something before it was dropped.
fn close_gap(buf: &mut [u8], from: usize, to: usize, at: usize) {
    if at < from && from < to && to <= buf.len() {
        buf.copy_within(from..to, at);
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const SIZE_DIGITS_MAX: u8 = 16;
/// As for Content-Length: below 2^63.
const SIZE_MAX: u64 = i64::MAX as u64;

#[cfg(test)]
mod tests;
