//! DATA (RFC 9113 §6.1): windows, Content-Length, and content that passes as it comes.

use super::reader::{DataFrame, Reading, skip};
use super::{Connection, Event};
use crate::http2::error::{Malformed, Violation};
use crate::http2::frame::{FrameHeader, Padding, StreamId, encode_window_update};
use crate::http2::stream::{Receive, Stream};
use std::time::Instant;

impl Connection {
    /// Content of `octets` was passed on: the peer may send as much again. Of a stream that is closed nothing needs to be
    /// released.
    pub fn release(&mut self, out: &mut Vec<u8>, stream: StreamId, octets: usize) {
        let Some(found) = self.streams.get_mut(stream) else {
            return;
        };
        let octets = u32::try_from(octets).unwrap_or(u32::MAX).min(found.held);
        found.held = found.held.saturating_sub(octets);
        release_stream(found, octets, out);
        self.release_connection(octets, out);
    }

    /// A DATA frame begins. Everything about it is decided here, so that it does not depend on the reads what of it the
    /// caller sees.
    pub(super) fn on_data(
        &mut self,
        now: Instant,
        header: FrameHeader,
        pad_length: Option<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, Violation> {
        let padding = Padding::of_data(header, pad_length).map_err(|error| error.violation)?;
        // RFC 9113 §6.9.1: the whole payload counts, whatever becomes of it.
        self.receive_window.take(header.length)?;
        let unread = padding.data.saturating_add(padding.padding);
        self.reading = Reading::Skip { left: unread };
        let ends = header.ends_stream();
        if padding.data == 0 && !ends {
            self.budget.on_idle_frame(now, &self.settings.budget)?;
        }
        let Some(stream) = self.streams.get_mut(header.stream) else {
            self.release_connection(header.length, out);
            return self.on_late_frame(now, header.stream).map(|()| None);
        };
        let accepted = accept_data(stream, header, padding.data);
        let overhead = header.length.saturating_sub(padding.data);
        if let Err(violation) = accepted {
            self.release_connection(header.length, out);
            return self.fail_stream(now, header.stream, violation, out);
        }
        // Padding needs no room here.
        release_stream(stream, overhead, out);
        self.release_connection(overhead, out);
        self.reading = Reading::Data(DataFrame {
            stream: header.stream,
            data_left: padding.data,
            padding_left: padding.padding,
            ends,
        });
        Ok(None)
    }

    /// Passes the next piece of a DATA frame. `None` when more input is needed; an event of `None` when there is nothing
    /// to tell.
    pub(super) fn read_data<'i>(
        &mut self,
        mut frame: DataFrame,
        input: &mut &'i [u8],
        out: &mut Vec<u8>,
    ) -> Option<Option<Event<'i>>> {
        let length = input.len().min(frame.data_left as usize);
        let (bytes, rest) = input.split_at_checked(length).unwrap_or_default();
        if bytes.is_empty() && frame.data_left > 0 {
            return None;
        }
        *input = rest;
        frame.data_left = frame.data_left.saturating_sub(length as u32);
        if frame.data_left == 0 {
            frame.padding_left = skip(frame.padding_left, input);
        }
        let is_complete = frame.data_left == 0 && frame.padding_left == 0;
        self.reading = match is_complete {
            true => Reading::Header,
            false => Reading::Data(frame),
        };
        let ends = frame.ends && is_complete;
        if bytes.is_empty() && !ends {
            // Padding that is not all there, or an empty frame.
            return is_complete.then_some(None);
        }
        Some(self.deliver(frame.stream, bytes, ends, out))
    }

    fn deliver<'i>(
        &mut self,
        stream: StreamId,
        bytes: &'i [u8],
        ends: bool,
        out: &mut Vec<u8>,
    ) -> Option<Event<'i>> {
        let octets = bytes.len() as u32; // below FRAME_BYTES_MAX
        let Some(found) = self.streams.get_mut(stream) else {
            // The caller reset it while the frame was under way.
            self.release_connection(octets, out);
            return None;
        };
        if ends {
            found.receive = Receive::Ended;
        }
        let discards = found.discards;
        if discards {
            release_stream(found, octets, out);
            self.release_connection(octets, out);
        } else {
            found.held = found.held.saturating_add(octets);
        }
        if ends {
            self.forget_if_closed(stream, out);
        }
        (!discards).then_some(Event::Data {
            stream,
            bytes,
            ends,
        })
    }
}

/// Whether a stream takes this frame.
fn accept_data(stream: &mut Stream, header: FrameHeader, data: u32) -> Result<(), Violation> {
    match stream.receive {
        Receive::Content => {}
        Receive::Head => return Err(Malformed::DataBeforeHead.into()),
        Receive::Ended => return Err(Violation::StreamClosed),
    }
    stream.receive_window.take(header.length)?;
    stream.take_content(data, header.ends_stream())?;
    Ok(())
}

/// A stream that the peer has ended needs no window.
fn release_stream(stream: &mut Stream, octets: u32, out: &mut Vec<u8>) {
    if stream.receive == Receive::Ended {
        return;
    }
    if let Some(increment) = stream.receive_window.release(octets) {
        encode_window_update(out, stream.id, increment);
    }
}
