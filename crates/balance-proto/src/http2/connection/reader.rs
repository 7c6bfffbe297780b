//! From input to frames: what is read next, and what is kept of a frame that is not complete.

use super::{Connection, Event};
use crate::http2::error::Violation;
use crate::http2::frame::{FrameHeader, FrameKind, PREFACE, Scope, StreamId, flags};
use std::time::Instant;

/// What comes next in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Of the client's preface, the first `seen` octets were right.
    Preface {
        seen: usize,
    },
    Header,
    /// The payload of a frame that is read as a whole.
    Payload(FrameHeader),
    /// The first octet of a padded DATA frame.
    PadLength(FrameHeader),
    Data(DataFrame),
    /// What nobody wants.
    Skip {
        left: u32,
    },
    Closed,
}

/// A DATA frame whose content passes piece by piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DataFrame {
    pub(super) stream: StreamId,
    pub(super) data_left: u32,
    pub(super) padding_left: u32,
    pub(super) ends: bool,
}

/// A field block that goes on in CONTINUATION frames. Nothing may come between (RFC 9113 §6.10).
#[derive(Debug)]
pub(super) struct OpenBlock {
    pub(super) stream: StreamId,
    pub(super) ends_stream: bool,
    pub(super) depends_on_itself: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) continuations: u32,
}

/// The beginning of something that is not complete.
#[derive(Debug, Default)]
pub(super) struct Partial(Vec<u8>);

impl Partial {
    /// Takes from `input` what `length` octets still need. Whether they are complete.
    fn fill(&mut self, input: &mut &[u8], length: usize) -> bool {
        let missing = length.saturating_sub(self.0.len()).min(input.len());
        let (taken, rest) = input.split_at_checked(missing).unwrap_or_default();
        self.0.extend_from_slice(taken);
        *input = rest;
        self.0.len() == length
    }

    /// A frame's header, once it is complete.
    fn header(&mut self, input: &mut &[u8]) -> Option<FrameHeader> {
        if self.0.is_empty()
            && let Some((header, rest)) = input.split_first_chunk()
        {
            *input = rest;
            return Some(FrameHeader::parse(header));
        }
        if !self.fill(input, FrameHeader::BYTES) {
            return None;
        }
        let header = self.0.first_chunk().map(FrameHeader::parse);
        self.0.clear();
        header
    }

    pub(super) fn release_memory(&mut self) {
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }
}

impl Connection {
    pub(super) fn read<'i>(
        &mut self,
        now: Instant,
        input: &mut &'i [u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'i>>, Violation> {
        loop {
            let event = match self.reading {
                Reading::Closed => {
                    *input = &[];
                    return Ok(None);
                }
                Reading::Preface { seen } => match self.read_preface(seen, input)? {
                    true => None,
                    false => return Ok(None),
                },
                Reading::Header => match self.partial.header(input) {
                    Some(header) => self.on_header(now, header, out)?,
                    None => return Ok(None),
                },
                Reading::Payload(header) => match self.read_payload(now, header, input, out)? {
                    Some(event) => event,
                    None => return Ok(None),
                },
                Reading::PadLength(header) => match input.split_first() {
                    Some((pad_length, rest)) => {
                        *input = rest;
                        self.on_data(now, header, Some(*pad_length), out)?
                    }
                    None => return Ok(None),
                },
                Reading::Data(frame) => match self.read_data(frame, input, out) {
                    Some(event) => event,
                    None => return Ok(None),
                },
                Reading::Skip { left } => match skip(left, input) {
                    0 => {
                        self.reading = Reading::Header;
                        None
                    }
                    left => {
                        self.reading = Reading::Skip { left };
                        return Ok(None);
                    }
                },
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// RFC 9113 §3.4. Whether it is complete.
    fn read_preface(&mut self, seen: usize, input: &mut &[u8]) -> Result<bool, Violation> {
        let rest = PREFACE.get(seen..).unwrap_or_default();
        let length = rest.len().min(input.len());
        let (taken, tail) = input.split_at_checked(length).unwrap_or_default();
        if !rest.starts_with(taken) {
            return Err(Violation::PrefaceInvalid);
        }
        *input = tail;
        self.reading = match length == rest.len() {
            true => Reading::Header,
            false => Reading::Preface {
                seen: seen.saturating_add(length),
            },
        };
        Ok(length == rest.len())
    }

    /// What can be decided before the payload: whether the frame may come now, and how it is read.
    fn on_header(
        &mut self,
        now: Instant,
        header: FrameHeader,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, Violation> {
        if !self.has_settings {
            // RFC 9113 §3.4: SETTINGS, which is not an acknowledgement.
            if header.kind != FrameKind::Settings || header.has(flags::ACK) {
                return Err(Violation::SettingsMissing);
            }
            self.has_settings = true;
        }
        match self.block.as_deref() {
            Some(block)
                if header.kind != FrameKind::Continuation || header.stream != block.stream =>
            {
                return Err(Violation::BlockInterrupted);
            }
            None if header.kind == FrameKind::Continuation => {
                return Err(Violation::ContinuationUnexpected);
            }
            _ => {}
        }
        self.reading = Reading::Payload(header);
        if let Err(error) = header.check(FRAME_BYTES_MAX) {
            // A stream that was never opened cannot be reset (RFC 9113 §6.4).
            if error.scope == Scope::Connection || self.is_idle(header.stream) {
                return Err(error.violation);
            }
            self.reading = Reading::Skip {
                left: header.length,
            };
            return self.fail_stream(now, header.stream, error.violation, out);
        }
        match header.kind {
            FrameKind::Data if header.has(flags::PADDED) => {
                self.reading = Reading::PadLength(header);
                Ok(None)
            }
            FrameKind::Data => self.on_data(now, header, None, out),
            FrameKind::PushPromise => Err(Violation::PushPromised),
            FrameKind::Unknown(_) => {
                self.budget.on_earned_frame(now, &self.settings.budget)?;
                self.reading = Reading::Skip {
                    left: header.length,
                };
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// `None` while the payload is not complete.
    fn read_payload(
        &mut self,
        now: Instant,
        header: FrameHeader,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Option<Event<'static>>>, Violation> {
        let length = header.length as usize;
        if self.partial.0.is_empty()
            && let Some((payload, rest)) = input.split_at_checked(length)
        {
            *input = rest;
            self.reading = Reading::Header;
            return self.on_frame(now, header, payload, out).map(Some);
        }
        if !self.partial.fill(input, length) {
            return Ok(None);
        }
        self.reading = Reading::Header;
        let mut payload = std::mem::take(&mut self.partial.0);
        let event = self.on_frame(now, header, &payload, out);
        payload.clear();
        self.partial.0 = payload;
        event.map(Some)
    }
}

/// Throws away up to `left` octets; how many are still to come.
pub(super) fn skip(left: u32, input: &mut &[u8]) -> u32 {
    let skipped = input.len().min(left as usize);
    *input = input.get(skipped..).unwrap_or_default();
    left.saturating_sub(skipped as u32)
}

/// What we take: the smallest maximum that there is (RFC 9113 §6.5.2), so nothing needs to be agreed on.
pub(super) const FRAME_BYTES_MAX: u32 = 16_384;
