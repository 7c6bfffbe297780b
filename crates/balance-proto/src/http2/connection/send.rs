//! What the caller sends: heads, data, trailers, resets. All of it is written at once to the caller's buffer.

use super::reader::FRAME_BYTES_MAX;
use super::{Connection, Role};
use crate::edits::HeadEdits;
use crate::field::{FieldName, FieldValue};
use crate::framing::FramingLine;
use crate::head::{HeadView, RequestView, ResponseView};
use crate::http2::encode;
use crate::http2::error::ErrorCode;
use crate::http2::frame::{StreamId, encode_data_header, encode_reset, finish_block, open_block};
use crate::http2::stream::{Closed, Wait};

/// Why something is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It was reset, or is ended already.
    #[error("the stream is closed")]
    StreamClosed,
    /// RFC 9113 §8.6.
    #[error("101 does not exist in HTTP/2")]
    SwitchingProtocols,
}

/// Why no stream is opened. Another connection may have room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection takes no more streams")]
pub struct OpenError;

impl Connection {
    /// Client: opens a stream with a request. Its authority is [`HeadEdits::authority`] or the view's.
    ///
    /// # Errors
    /// [`Connection::streams_available`] is 0.
    pub fn send_request<V: RequestView>(
        &mut self,
        out: &mut Vec<u8>,
        view: &V,
        edits: &HeadEdits,
        framing: FramingLine,
        ends: bool,
    ) -> Result<StreamId, OpenError> {
        if self.role != Role::Client || self.streams_available() == 0 {
            return Err(OpenError);
        }
        let id = self.next_own_id.ok_or(OpenError)?;
        let start = open_block(out);
        let scheme = self.settings.scheme.unwrap_or(view.scheme());
        encode::request(&mut self.encoder, out, (view, scheme), edits, framing);
        finish_block(out, start, id, ends, FRAME_BYTES_MAX);
        self.open_own(id, view.method_kind(), ends);
        Ok(id)
    }

    /// Server: sends the head of a response, or an interim one.
    ///
    /// # Errors
    /// The stream is closed, or the status is 101.
    pub fn send_response<V: ResponseView>(
        &mut self,
        out: &mut Vec<u8>,
        stream: StreamId,
        view: &V,
        edits: &HeadEdits,
        framing: FramingLine,
        ends: bool,
    ) -> Result<(), SendError> {
        if edits.status().unwrap_or(view.status()) == 101 {
            return Err(SendError::SwitchingProtocols);
        }
        self.check_sendable(stream)?;
        let start = open_block(out);
        encode::response(&mut self.encoder, out, view, edits, framing);
        self.finish_head(out, start, stream, ends);
        Ok(())
    }

    /// Server: sends the head of a response of our own. `content_length` is that of a body which would be sent to GET.
    ///
    /// # Errors
    /// The stream is closed, or the status is 101.
    pub fn send_own_response(
        &mut self,
        out: &mut Vec<u8>,
        stream: StreamId,
        status: u16,
        fields: &[(FieldName<'_>, FieldValue<'_>)],
        content_length: Option<u64>,
        ends: bool,
    ) -> Result<(), SendError> {
        if status == 101 {
            return Err(SendError::SwitchingProtocols);
        }
        self.check_sendable(stream)?;
        let start = open_block(out);
        encode::own_response(&mut self.encoder, out, status, fields, content_length);
        self.finish_head(out, start, stream, ends);
        Ok(())
    }

    /// Sends content as far as the windows allow; how much that was. When it is not all, the stream comes up in
    /// [`Connection::poll_writable`]. With `ends`, an empty piece ends the stream.
    ///
    /// # Errors
    /// The stream is closed.
    pub fn send_data(
        &mut self,
        out: &mut Vec<u8>,
        stream: StreamId,
        bytes: &[u8],
        ends: bool,
    ) -> Result<usize, SendError> {
        let found = self.streams.get_mut(stream);
        let found = found.filter(|found| found.may_send);
        let found = found.ok_or(SendError::StreamClosed)?;
        let room = found.send_window.available();
        let sent = bytes.len().min(room).min(self.send_window.available());
        if sent == 0 && bytes.is_empty() && !ends {
            return Ok(0);
        }
        let is_last = ends && sent == bytes.len();
        let taken = bytes.get(..sent).unwrap_or_default();
        if taken.is_empty() && is_last {
            encode_data_header(out, stream, 0, true);
        }
        let mut pieces = taken.chunks(FRAME_BYTES_MAX as usize).peekable();
        while let Some(piece) = pieces.next() {
            let ends_piece = is_last && pieces.peek().is_none();
            encode_data_header(out, stream, piece.len() as u32, ends_piece);
            out.extend_from_slice(piece);
            self.budget.earn(&self.settings.budget);
        }
        self.send_window.take(sent);
        found.send_window.take(sent);
        if sent < bytes.len() {
            found.await_turn(&mut self.ready);
        } else if is_last {
            found.may_send = false;
            if found.is_closed() {
                self.forget(stream, Closed::ByPeer, out);
            }
        }
        Ok(sent)
    }

    /// Sends trailers, which end the stream (RFC 9113 §8.1). Fields that frame or route a message are left out.
    ///
    /// # Errors
    /// The stream is closed.
    pub fn send_trailers<V: HeadView>(
        &mut self,
        out: &mut Vec<u8>,
        stream: StreamId,
        trailers: &V,
    ) -> Result<(), SendError> {
        self.check_sendable(stream)?;
        let start = open_block(out);
        encode::trailers(&mut self.encoder, out, trailers);
        self.finish_head(out, start, stream, true);
        Ok(())
    }

    /// Gives a stream up. Nothing happens when it is closed already.
    pub fn reset(&mut self, out: &mut Vec<u8>, stream: StreamId, code: ErrorCode) {
        if self.forget(stream, Closed::ByUs, out).is_some() {
            encode_reset(out, stream, code);
        }
    }

    /// How many octets of a stream may be sent now.
    pub fn room(&self, stream: StreamId) -> usize {
        let own = self.streams.get(stream);
        let own = own.map_or(0, |stream| stream.send_window.available());
        own.min(self.send_window.available())
    }

    /// Says that a stream has more to send: it comes up in [`Connection::poll_writable`] when it may.
    pub fn await_room(&mut self, stream: StreamId) {
        if let Some(found) = self.streams.get_mut(stream) {
            found.await_turn(&mut self.ready);
        }
    }

    /// The next stream that wanted to send more and may now: each in its turn, so that none takes the connection's window
    /// from all others.
    pub fn poll_writable(&mut self) -> Option<StreamId> {
        if self.send_window.available() == 0 {
            return None;
        }
        while let Some(id) = self.ready.pop_front() {
            let Some(stream) = self.streams.get_mut(id) else {
                continue;
            };
            if stream.send_window.available() > 0 {
                stream.wait = Wait::None;
                return Some(id);
            }
            stream.wait = Wait::ForStream;
        }
        None
    }

    fn check_sendable(&self, stream: StreamId) -> Result<(), SendError> {
        match self.streams.get(stream) {
            Some(found) if found.may_send => Ok(()),
            _ => Err(SendError::StreamClosed),
        }
    }

    fn finish_head(&mut self, out: &mut Vec<u8>, start: usize, stream: StreamId, ends: bool) {
        finish_block(out, start, stream, ends, FRAME_BYTES_MAX);
        if ends {
            self.end(stream, out);
        }
    }

    fn end(&mut self, stream: StreamId, out: &mut Vec<u8>) {
        if let Some(found) = self.streams.get_mut(stream) {
            found.may_send = false;
        }
        self.forget_if_closed(stream, out);
    }
}
