//! A backend's side of one HTTP/2 attempt: a stream of a shared connection.

use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll};

use balance_proto::http1::ResponseHead;
use balance_proto::http2::{StreamId, Trailers};
use balance_proto::{BodyLength, FramingLine, HeadEdits, RequestView, ResponseBody};

use super::shared::{Fate, Shared};
use crate::buffers::{KEPT_BYTES, recycle};
use crate::exchange::sides::{
    BackendError, BodySink, BodySource, Form, Piece, Replay, ResponseStep, Upstream,
};
use crate::exchange::transfer::is_empty;
use crate::http2::link::Link;
use crate::http2::outgoing::Outgoing;
use crate::http2::{PIECE_BYTES_MAX, PIECE_BYTES_MIN};

/// One attempt.
pub(crate) struct Http2Upstream {
    shared: Rc<Shared>,
    stream: Option<OpenStream>,
    parts: Box<Http2UpstreamParts>,
    is_reused: bool,
    received_bytes: u64,
    /// Taken from the inbox, and not yet gone on to the client.
    unreleased: usize,
    /// What came along with the head of the response was all of it.
    is_whole: bool,
    has_trailers: bool,
    fate: Option<Fate>,
    /// Of the handshake that was made for this attempt.
    handshake_us: Option<u64>,
}

/// What an active attempt owns; used again by the next one.
#[derive(Default)]
pub(crate) struct Http2UpstreamParts {
    head: ResponseHead,
    /// Behind the response's content.
    trailers: Trailers,
    request: Outgoing,
    /// What was pushed of the request's body, in case the backend says that it processed nothing.
    pushed: Option<Vec<u8>>,
}

impl Http2UpstreamParts {
    /// Forgets the attempt, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.head.clear();
        self.head.shrink(KEPT_BYTES);
        self.trailers.clear();
        self.trailers.shrink(KEPT_BYTES);
        self.request.clear();
        recycle(self.pushed.get_or_insert_default(), KEPT_BYTES);
    }
}

/// A stream that is given up when it is dropped, unless it has ended.
struct OpenStream {
    shared: Rc<Shared>,
    id: StreamId,
    place: usize,
    /// How much had come on the connection when it was opened.
    silent_since: u64,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if self.shared.received_bytes.get() == self.silent_since {
            self.shared.doubt();
        }
        self.shared.close(self.id);
    }
}

impl Http2Upstream {
    /// `parts` are clear.
    pub(super) fn new(
        shared: Rc<Shared>,
        mut parts: Box<Http2UpstreamParts>,
        is_reused: bool,
    ) -> Self {
        parts.pushed.get_or_insert_default();
        Self {
            shared,
            stream: None,
            parts,
            is_reused,
            received_bytes: 0,
            unreleased: 0,
            is_whole: false,
            has_trailers: false,
            fate: None,
            handshake_us: None,
        }
    }

    /// One whose connection is believed to be alive as much as a new one.
    pub(super) fn into_fresh(mut self) -> Self {
        self.is_reused = false;
        self
    }

    /// The first on its connection, which it opened.
    pub(super) fn with_handshake(mut self, handshake_us: Option<u64>) -> Self {
        self.handshake_us = handshake_us;
        self
    }

    /// Ends the attempt; what is left is used again.
    pub(crate) fn into_parts(self) -> Box<Http2UpstreamParts> {
        let mut parts = self.parts;
        parts.clear();
        parts
    }

    /// What was taken has gone on: the backend may send as much again.
    fn release(&mut self) {
        let octets = std::mem::take(&mut self.unreleased);
        let Some(stream) = self.stream.as_ref().filter(|_| octets > 0) else {
            return;
        };
        let Link { engine, out, .. } = &mut *self.shared.link.borrow_mut();
        engine.release(out, stream.id, octets);
        if !out.is_empty() || self.shared.is_stalled.get() {
            self.shared.wake();
        }
    }

    /// Takes what came: how much, and whether it was the last of the message.
    fn take(&mut self, scratch: &mut [u8]) -> Option<(usize, bool)> {
        let place = self.stream.as_ref()?.place;
        let mut link = self.shared.link.borrow_mut();
        let (len, last) = link.take(place, scratch)?;
        if last {
            let trailers = &mut self.parts.trailers;
            self.has_trailers = link.inbox_mut(place).take_trailers(trailers);
        }
        self.unreleased += len;
        self.received_bytes += len as u64;
        Some((len, last))
    }

    /// Whoever waits is woken when something comes for it. Why nothing will, if so.
    fn wait(&mut self, cx: &Context<'_>) -> Option<Fate> {
        if let Some(stream) = &self.stream {
            let mut link = self.shared.link.borrow_mut();
            let slot = &mut link.inbox_mut(stream.place).slot;
            self.fate = slot.fate;
            if self.fate.is_none() {
                slot.set_waker(cx.waker());
            }
        }
        self.fate
    }

    fn send(&mut self, bytes: &[u8], last: bool) {
        let Http2UpstreamParts {
            request, pushed, ..
        } = &mut *self.parts;
        match pushed {
            Some(known) if known.len() + bytes.len() <= PUSHED_BYTES_MAX => {
                known.extend_from_slice(bytes);
            }
            _ => *pushed = None,
        }
        if let Some(stream) = &self.stream {
            let mut link = self.shared.link.borrow_mut();
            request.push(&mut link.wire(stream.id), bytes, last);
            self.shared.wake();
        }
    }

    fn error_of(&self, fate: Fate) -> BackendError {
        match fate {
            Fate::Malformed => BackendError::Malformed,
            _ if self.received_bytes > 0 => BackendError::Incomplete,
            _ => BackendError::Closed,
        }
    }
}

impl BodySource for Http2Upstream {
    type Error = BackendError;

    /// Woken by the connection's task.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        _: Form,
    ) -> Poll<Result<Piece, BackendError>> {
        // Whoever asks for the next piece has passed on the one before.
        self.release();
        if let Some((len, last)) = self.take(scratch) {
            return Poll::Ready(Ok(payload(0..len, last)));
        }
        match self.wait(cx) {
            None => Poll::Pending,
            Some(Fate::Malformed) => Poll::Ready(Err(BackendError::Malformed)),
            Some(_) => Poll::Ready(Err(BackendError::Incomplete)),
        }
    }

    fn trailers(&self) -> Option<&Trailers> {
        self.has_trailers.then_some(&self.parts.trailers)
    }
}

impl BodySink for Http2Upstream {
    fn form(&self) -> Form {
        Form::Payload
    }

    fn room(&self) -> usize {
        let window = self
            .stream
            .as_ref()
            .map_or(0, |stream| self.shared.link.borrow().engine.room(stream.id));
        window.clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX)
    }

    fn add_trailers(&mut self, trailers: &Trailers) {
        self.parts.request.add_trailers(trailers);
        self.parts.pushed = None; // which has no place for them
    }

    fn push(&mut self, _: &mut Context<'_>, bytes: &[u8], _: Form, last: bool) -> io::Result<()> {
        self.send(bytes, last);
        match self.parts.request.is_lost() {
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => Ok(()),
        }
    }

    fn is_blocked(&self) -> bool {
        self.parts.request.is_blocked()
    }

    /// Woken by the connection's task when the backend opens a window, or the output is written.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.parts.request.has_ended() {
            return Poll::Ready(Ok(()));
        }
        if self.parts.request.is_lost() || self.wait(cx).is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let Some(stream) = &self.stream else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let mut link = self.shared.link.borrow_mut();
        let has_room = link.has_room(stream.place);
        let request = &mut self.parts.request;
        let is_flushed = request.flush(&mut link.wire(stream.id), has_room);
        if !link.out.is_empty() {
            self.shared.wake();
        }
        match is_flushed {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn sent_bytes(&self) -> u64 {
        self.parts.request.sent_bytes()
    }
}

impl Upstream for Http2Upstream {
    type Response = ResponseHead;

    /// An upgrade is not passed on: there is none in HTTP/2 (RFC 9113 §8.6).
    fn start_request<V: RequestView>(
        &mut self,
        request: &V,
        edits: &HeadEdits,
        body: BodyLength,
        _: Option<&[u8]>,
    ) {
        let framing = FramingLine::for_request(request.method_kind(), body);
        let ends = is_empty(body);
        let mut link = self.shared.link.borrow_mut();
        let Link { engine, out, .. } = &mut *link;
        let before = out.len();
        let Ok(id) = engine.send_request(out, request, edits, framing, ends) else {
            self.fate = Some(Fate::Unprocessed);
            self.parts.request.lose();
            return;
        };
        self.parts.request.on_head(out.len() - before, ends);
        let place = link.open(id, false, usize::MAX);
        drop(link);
        let Some(place) = place else {
            self.shared.close(id); // cannot be: there is no limit
            return;
        };
        self.stream = Some(OpenStream {
            silent_since: self.shared.received_bytes.get(),
            shared: Rc::clone(&self.shared),
            id,
            place,
        });
        self.shared.has_served.set(true);
        self.shared.wake();
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<Result<ResponseStep, BackendError>> {
        let has_head = self.stream.as_ref().is_some_and(|stream| {
            let mut link = self.shared.link.borrow_mut();
            let slot = &mut link.inbox_mut(stream.place).slot;
            slot.take_head(&mut self.parts.head)
        });
        if !has_head {
            return match self.wait(cx) {
                None => Poll::Pending,
                Some(fate) => Poll::Ready(Err(self.error_of(fate))),
            };
        }
        self.received_bytes += self.parts.head.bytes().len() as u64;
        if self.parts.head.is_interim() {
            return Poll::Ready(Ok(ResponseStep::Interim));
        }
        self.parts.pushed = None; // it was processed
        let room = scratch.len().min(PIECE_BYTES_MAX);
        let (len, last) = self.take(&mut scratch[..room]).unwrap_or_default();
        self.is_whole = last;
        Poll::Ready(Ok(ResponseStep::Final { rest: 0..len }))
    }

    fn held_bytes(&self) -> usize {
        let parts = &self.parts;
        let arrived = self.stream.as_ref().map_or(0, |stream| {
            let link = self.shared.link.borrow();
            link.inbox(stream.place).arrived_bytes()
        });
        let pushed = parts.pushed.as_ref().map_or(0, Vec::len);
        parts.head.bytes().len() + parts.request.kept_bytes() + pushed + self.unreleased + arrived
    }

    fn response(&self) -> &ResponseHead {
        &self.parts.head
    }

    fn response_body(&self) -> ResponseBody {
        self.parts.head.body()
    }

    fn first_piece(
        &mut self,
        _: &mut [u8],
        rest: Range<usize>,
        _: Form,
    ) -> Result<Piece, BackendError> {
        Ok(payload(rest, self.is_whole))
    }

    /// Of a stream that the backend gave up it does not matter: its connection lives.
    fn is_reused(&self) -> bool {
        self.is_reused && self.fate != Some(Fate::Reset)
    }

    fn handshake_us(&self) -> Option<u64> {
        self.handshake_us
    }

    fn reclaim_body(&mut self) -> Option<Replay> {
        if self.fate != Some(Fate::Unprocessed) {
            return None;
        }
        let form = Form::Payload;
        let bytes = self.parts.pushed.take()?;
        Some(Replay { bytes, form })
    }

    fn replay_body(&mut self, replay: Replay, last: bool) {
        self.send(&replay.into_payload(), last);
    }

    fn received_bytes(&self) -> u64 {
        self.received_bytes
    }
}

fn payload(range: Range<usize>, last: bool) -> Piece {
    Piece {
        range,
        form: Form::Payload,
        last,
    }
}

/// How much of a body is kept for another attempt: most of what calls send, and nothing that would weigh.
const PUSHED_BYTES_MAX: usize = 64 * 1024;
