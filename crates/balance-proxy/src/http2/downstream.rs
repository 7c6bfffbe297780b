//! A client's side of one HTTP/2 exchange: a stream of its connection.

use std::io;
use std::task::{Context, Poll};

use balance_proto::http1::RequestHead;
use balance_proto::http2::{StreamId, Trailers};
use balance_proto::{
    BodyLength, FramingLine, HeadEdits, RequestView, ResponseBody, ResponseView, Version,
};

use super::link::{Link, SharedLink};
use super::outgoing::Outgoing;
use super::own::{Asked, send_own};
use super::server::StreamJob;
use super::{PIECE_BYTES_MAX, PIECE_BYTES_MIN};
use crate::buffers::KEPT_BYTES;
use crate::exchange::sides::{
    BodySink, BodySource, ClientError, ClientEvent, Downstream, Form, Piece,
};
use crate::own_response::OwnResponse;

/// What an active exchange owns on the client's side; used again by the next one.
#[derive(Default)]
pub(super) struct StreamParts {
    pub(super) head: RequestHead,
    /// Behind the request's content.
    trailers: Trailers,
    response: Outgoing,
}

impl StreamParts {
    pub(super) fn clear(&mut self) {
        self.head.clear();
        self.head.shrink(KEPT_BYTES);
        self.trailers.clear();
        self.trailers.shrink(KEPT_BYTES);
        self.response.clear();
    }
}

/// One exchange of a client's connection.
///
/// What it sends goes into the connection's output, and counts as sent then. It is over when that was written: a client
/// that vanishes before did not get it. The connection has a deadline of its own for a client that does not read.
pub(super) struct Http2Downstream<'p> {
    link: &'p SharedLink,
    place: usize,
    stream: StreamId,
    parts: &'p mut StreamParts,
    server_name: Option<&'p str>,
    body_bytes_max: u64,
    payload_bytes: u64,
    received_bytes: u64,
    has_trailers: bool,
    /// Taken from the inbox, and not yet gone on to the backend.
    unreleased: usize,
    /// Where the response's head begins in the output, while nothing of it is written.
    head_start: usize,
    /// Where the response's end is in the output, once it is there.
    output_end: u64,
    /// The response's end waits to be written.
    awaits_output: bool,
    is_watched: bool,
    /// It has waited for the others of its turn, or there were none.
    is_gathered: bool,
}

impl<'p> Http2Downstream<'p> {
    pub(super) fn new(job: &'p StreamJob, parts: &'p mut StreamParts, body_bytes_max: u64) -> Self {
        Self {
            received_bytes: parts.head.bytes().len() as u64,
            link: &job.client.link,
            place: job.place,
            stream: job.stream,
            parts,
            server_name: job.client.server_name.as_deref(),
            body_bytes_max,
            payload_bytes: 0,
            has_trailers: false,
            unreleased: 0,
            head_start: 0,
            output_end: 0,
            awaits_output: false,
            is_watched: true,
            is_gathered: false,
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
        let outgoing = &mut self.parts.response;
        outgoing.on_head(out.len() - self.head_start, ends);
        if sent.is_err() {
            outgoing.lose();
        }
    }

    fn add_content(&mut self, bytes: &[u8], last: bool) {
        let mut link = self.link.borrow_mut();
        let outgoing = &mut self.parts.response;
        outgoing.push(&mut link.wire(self.stream), bytes, last);
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
        if last {
            let trailers = &mut self.parts.trailers;
            self.has_trailers = link.inbox_mut(self.place).take_trailers(trailers);
        }
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

    fn trailers(&self) -> Option<&Trailers> {
        self.has_trailers.then_some(&self.parts.trailers)
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

    fn add_trailers(&mut self, trailers: &Trailers) {
        self.parts.response.add_trailers(trailers);
    }

    fn push(&mut self, _: &mut Context<'_>, bytes: &[u8], _: Form, last: bool) -> io::Result<()> {
        self.add_content(bytes, last);
        match self.parts.response.is_lost() {
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => Ok(()),
        }
    }

    fn is_blocked(&self) -> bool {
        self.awaits_output || self.parts.response.is_blocked()
    }

    /// Woken by the connection when the client opens a window, or the output is written.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut link = self.link.borrow_mut();
        let outgoing = &mut self.parts.response;
        if outgoing.is_lost() || link.fate(self.place).is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if outgoing.has_ended() {
            if self.output_end == 0 {
                self.output_end = link.output_end();
            }
            self.awaits_output = !link.is_sent(self.place, self.output_end);
            return match self.awaits_output {
                true => Poll::Pending,
                false => Poll::Ready(Ok(())),
            };
        }
        let has_room = link.has_room(self.place);
        let is_flushed = outgoing.flush(&mut link.wire(self.stream), has_room);
        if outgoing.has_ended() {
            self.output_end = link.output_end();
            self.awaits_output = !link.is_sent(self.place, self.output_end);
        }
        match is_flushed && !self.awaits_output {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn sent_bytes(&self) -> u64 {
        self.parts.response.sent_bytes()
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
        self.server_name
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
        self.parts.response.lose();
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
            let ends = sent == Ok(b"");
            self.parts
                .response
                .on_head(out.len() - self.head_start, ends);
            sent
        };
        match sent {
            Ok(b"") => {}
            Ok(body) => self.add_content(body, true),
            Err(_) => self.parts.response.lose(),
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

    fn poll_gathered(&mut self) -> Poll<()> {
        if std::mem::replace(&mut self.is_gathered, true) {
            return Poll::Ready(());
        }
        match self.link.borrow_mut().gather(self.place) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }

    fn expects_continue(&self) -> bool {
        self.parts.head.expects_continue()
    }

    /// A head that is followed by content changes nothing in the engine.
    fn take_back_response(&mut self) {
        let mut link = self.link.borrow_mut();
        let bytes = link.out.len() - self.head_start;
        self.parts.response.on_head_taken_back(bytes);
        link.out.truncate(self.head_start);
    }

    fn discard_body(&mut self) -> bool {
        self.link.borrow().inbox(self.place).is_ended()
    }

    fn on_body_sent(&mut self) {
        self.release();
    }

    fn held_bytes(&self) -> usize {
        let arrived = self.link.borrow().inbox(self.place).arrived_bytes();
        let kept = self.parts.response.kept_bytes();
        self.parts.head.bytes().len() + kept + arrived
    }

    /// The other streams go on whatever becomes of this one.
    fn can_be_kept(&self) -> bool {
        true
    }

    fn received_bytes(&self) -> u64 {
        self.received_bytes
    }
}
