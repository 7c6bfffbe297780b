//! A client's side of one HTTP/2 exchange: a stream of its connection.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use balance_proto::http1::RequestHead;
use balance_proto::http2::StreamId;
use balance_proto::{
    BodyLength, FramingLine, HeadEdits, RequestView, ResponseBody, ResponseView, Version,
};

use super::link::{Link, SharedLink};
use super::own::{Asked, send_own};
use crate::buffers::{KEPT_BYTES, recycle};
use crate::exchange::sides::{
    BodySink, BodySource, ClientError, ClientEvent, Downstream, Form, Piece,
};
use crate::own_response::OwnResponse;

/// What an active exchange owns on the client's side; used again by the next one.
#[derive(Default)]
pub(super) struct StreamParts {
    pub(super) head: RequestHead,
    /// Content that the windows did not let pass.
    kept: Vec<u8>,
}

impl StreamParts {
    pub(super) fn clear(&mut self) {
        self.head.clear();
        self.head.shrink(KEPT_BYTES);
        recycle(&mut self.kept, KEPT_BYTES);
    }
}

/// One exchange of a client's connection.
///
/// What it sends goes into the connection's output, and counts as sent then. It is over when that was written: a client
/// that vanishes before did not get it. The connection has a deadline of its own for a client that does not read.
pub(super) struct Http2Downstream<'p> {
    link: SharedLink,
    place: usize,
    stream: StreamId,
    parts: &'p mut StreamParts,
    server_name: Option<Rc<str>>,
    body_bytes_max: u64,
    payload_bytes: u64,
    received_bytes: u64,
    sent_bytes: u64,
    /// Taken from the inbox, and not yet gone on to the backend.
    unreleased: usize,
    /// Where the response's head begins in the output, while nothing of it is written.
    head_start: usize,
    /// The end of the response stands behind what is kept.
    kept_ends: bool,
    /// The response's end is in the output.
    has_ended: bool,
    /// Where that is.
    output_end: u64,
    is_blocked: bool,
    /// Something could not be put on the stream any more.
    is_lost: bool,
    is_watched: bool,
}

impl<'p> Http2Downstream<'p> {
    pub(super) fn new(
        link: SharedLink,
        place: usize,
        stream: StreamId,
        parts: &'p mut StreamParts,
        server_name: Option<Rc<str>>,
        body_bytes_max: u64,
    ) -> Self {
        Self {
            received_bytes: parts.head.bytes().len() as u64,
            link,
            place,
            stream,
            parts,
            server_name,
            body_bytes_max,
            payload_bytes: 0,
            sent_bytes: 0,
            unreleased: 0,
            head_start: 0,
            kept_ends: false,
            has_ended: false,
            output_end: 0,
            is_blocked: false,
            is_lost: false,
            is_watched: true,
        }
    }

    /// What was taken has gone on: the client may send as much again.
    fn release(&mut self) {
        let octets = std::mem::take(&mut self.unreleased);
        if octets > 0 {
            let Link { engine, out, .. } = &mut *self.link.borrow_mut();
            engine.release(out, self.stream, octets);
        }
    }

    fn add_head<V: ResponseView>(
        &mut self,
        response: &V,
        edits: &HeadEdits,
        framing: FramingLine,
        ends: bool,
    ) {
        let Link { engine, out, .. } = &mut *self.link.borrow_mut();
        self.head_start = out.len();
        let sent = engine.send_response(out, self.stream, response, edits, framing, ends);
        self.sent_bytes += (out.len() - self.head_start) as u64;
        self.is_lost |= sent.is_err();
        self.has_ended |= ends;
    }

    /// Puts content on the stream as far as its windows allow, and keeps the rest.
    fn add_content(&mut self, bytes: &[u8], last: bool) {
        if self.has_ended {
            return;
        }
        let mut sent = 0;
        if self.parts.kept.is_empty() {
            let Link { engine, out, .. } = &mut *self.link.borrow_mut();
            match engine.send_data(out, self.stream, bytes, last) {
                Ok(octets) => sent = octets,
                Err(_) => self.is_lost = true,
            }
            self.sent_bytes += sent as u64;
            self.has_ended = last && sent == bytes.len();
        }
        self.parts.kept.extend_from_slice(&bytes[sent..]);
        self.kept_ends = last && !self.has_ended;
        self.is_blocked = !self.parts.kept.is_empty();
    }

    /// Puts on the stream what was kept.
    fn send_kept(&mut self) {
        let Link { engine, out, .. } = &mut *self.link.borrow_mut();
        match engine.send_data(out, self.stream, &self.parts.kept, self.kept_ends) {
            Ok(octets) => {
                self.sent_bytes += octets as u64;
                self.parts.kept.drain(..octets);
                self.has_ended = self.kept_ends && self.parts.kept.is_empty();
            }
            Err(_) => self.is_lost = true,
        }
    }
}

impl BodySource for Http2Downstream<'_> {
    type Error = ClientError;

    /// Woken by the connection, in whose task it runs, when something comes.
    fn poll_piece(
        &mut self,
        _: &mut Context<'_>,
        scratch: &mut [u8],
        _: Form,
    ) -> Poll<Result<Piece, ClientError>> {
        // Whoever asks for the next piece has passed on the one before.
        self.release();
        let mut link = self.link.borrow_mut();
        if let Some(error) = link.fate(self.place) {
            return Poll::Ready(Err(error));
        }
        let Some((len, last)) = link.take(self.place, scratch) else {
            return Poll::Pending;
        };
        self.unreleased = len;
        self.received_bytes += len as u64;
        self.payload_bytes += len as u64;
        if self.body_bytes_max != 0 && self.payload_bytes > self.body_bytes_max {
            return Poll::Ready(Err(ClientError::TooLarge));
        }
        Poll::Ready(Ok(Piece {
            range: 0..len,
            form: Form::Payload,
            last,
        }))
    }
}

impl BodySink for Http2Downstream<'_> {
    fn form(&self) -> Form {
        Form::Payload
    }

    fn room(&self) -> usize {
        let link = self.link.borrow();
        let room = link.engine.room(self.stream).min(link.room());
        room.clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX)
    }

    fn push(&mut self, _: &mut Context<'_>, bytes: &[u8], _: Form, last: bool) -> io::Result<()> {
        self.add_content(bytes, last);
        match self.is_lost {
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => Ok(()),
        }
    }

    fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Woken by the connection when the client opens a window, or the output is written.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_lost || self.link.borrow().fate(self.place).is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if !self.parts.kept.is_empty() && self.link.borrow_mut().has_room(self.place) {
            self.send_kept();
        }
        let mut link = self.link.borrow_mut();
        if self.has_ended {
            if self.output_end == 0 {
                self.output_end = link.output_end();
            }
            self.is_blocked = !link.is_sent(self.place, self.output_end);
            return match self.is_blocked {
                true => Poll::Pending,
                false => Poll::Ready(Ok(())),
            };
        }
        let may_send = link.engine.room(self.stream) > 0;
        if !may_send {
            link.engine.await_room(self.stream);
        }
        self.is_blocked = !self.parts.kept.is_empty() || !may_send || !link.has_room(self.place);
        match self.is_blocked {
            true => Poll::Pending,
            false => Poll::Ready(Ok(())),
        }
    }

    fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }
}

impl Downstream for Http2Downstream<'_> {
    type Request = RequestHead;

    fn request(&self) -> &RequestHead {
        &self.parts.head
    }

    fn request_body(&self) -> BodyLength {
        self.parts.head.body()
    }

    fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// There is no Upgrade in HTTP/2 (RFC 9113 §8.6).
    fn offered_upgrade(&self) -> Option<&[u8]> {
        None
    }

    fn start_response<V: ResponseView>(
        &mut self,
        response: &V,
        edits: &HeadEdits,
        body: ResponseBody,
        _: bool,
    ) {
        let method = self.parts.head.method_kind();
        let framing = FramingLine::for_response(method, response.status(), body, Version::Http2);
        let ends = matches!(body, ResponseBody::None | ResponseBody::Exact(0));
        self.add_head(response, edits, framing, ends);
    }

    /// Nothing was offered, so the backend's 101 was refused before this.
    fn start_switch<V: ResponseView>(&mut self, _: &V, _: &HeadEdits) {
        debug_assert!(false, "no upgrade was offered");
        self.is_lost = true;
    }

    fn add_interim<V: ResponseView>(&mut self, response: &V, edits: &HeadEdits) {
        self.add_head(response, edits, FramingLine::None, false);
    }

    fn start_own(&mut self, response: &OwnResponse, _: bool) {
        let asked = Asked::of(self.parts.head.method_kind(), &self.parts.head);
        let sent = {
            let Link { engine, out, .. } = &mut *self.link.borrow_mut();
            self.head_start = out.len();
            let sent = send_own(engine, out, self.stream, response, asked);
            self.sent_bytes += (out.len() - self.head_start) as u64;
            sent
        };
        match sent {
            Ok(b"") => self.has_ended = true,
            Ok(body) => self.add_content(body, true),
            Err(_) => self.is_lost = true,
        }
    }

    fn poll_client(&mut self, _: &mut Context<'_>) -> Poll<ClientEvent> {
        let is_gone = self.link.borrow().fate(self.place).is_some();
        if !is_gone || !self.is_watched {
            return Poll::Pending;
        }
        self.is_watched = false;
        Poll::Ready(ClientEvent::Gone)
    }

    fn is_lost(&self) -> bool {
        self.link.borrow().fate(self.place) == Some(ClientError::Closed)
    }

    fn expects_continue(&self) -> bool {
        self.parts.head.expects_continue()
    }

    /// A head that is followed by content changes nothing in the engine.
    fn take_back_response(&mut self) {
        let mut link = self.link.borrow_mut();
        self.sent_bytes -= (link.out.len() - self.head_start) as u64;
        link.out.truncate(self.head_start);
    }

    fn discard_body(&mut self) -> bool {
        self.link.borrow().is_ended(self.place)
    }

    fn on_body_sent(&mut self) {
        self.release();
    }

    fn held_bytes(&self) -> usize {
        let arrived = self.link.borrow().arrived_bytes(self.place);
        self.parts.head.bytes().len() + self.parts.kept.len() + arrived
    }

    /// The other streams go on whatever becomes of this one.
    fn can_be_kept(&self) -> bool {
        true
    }

    fn received_bytes(&self) -> u64 {
        self.received_bytes
    }
}

/// At least a record of TLS, which is read as a whole.
const PIECE_BYTES_MIN: usize = 16 * 1024;
/// A body of 64 KiB comes in one piece with its head.
const PIECE_BYTES_MAX: usize = 68 * 1024;
