//! A backend's side of one HTTP/1 attempt.

use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use balance_core::Method;
use balance_proto::http1::{HeadSettings, Progress, ResponseContext, ResponseHead, worth_parsing};
use balance_proto::{BodyLength, FramingLine, HeadEdits, RequestView, ResponseBody};

use super::incoming::Incoming;
use super::request::{request_framing, write_request};
use super::sink::Sink;
use crate::buffers::{KEPT_BYTES, recycle};
use crate::exchange::sides::{
    BackendError, BodySink, BodySource, Form, Piece, Replay, ResponseStep, Upstream,
};
use crate::maybe_tls::MaybeTls;
use crate::upstream::Announced;

/// One connection to a backend while it serves an attempt. All of it is in one box that is used again, so
/// that handing it on costs a pointer.
pub(crate) struct Http1Upstream(Box<UpstreamParts>);

/// What an active attempt owns; used again by the next one.
pub(crate) struct UpstreamParts {
    /// There while an attempt runs.
    stream: Option<MaybeTls>,
    /// The PROXY header that the connection began with.
    pub(super) announced: Option<Rc<Announced>>,
    head: ResponseHead,
    sink: Sink,
    /// A head that is not complete yet, or what followed an interim response or a 101.
    unread: Vec<u8>,
    settings: HeadSettings,
    context: ResponseContext,
    incoming: Incoming,
    /// How much of `unread` was tried as a head.
    tried_bytes: usize,
    received_bytes: u64,
    is_reused: bool,
    /// Bytes came that belong to no response: the connection cannot be trusted (robustness SM-25).
    has_excess: bool,
}

impl UpstreamParts {
    pub(crate) fn new() -> Self {
        Self {
            stream: None,
            announced: None,
            head: ResponseHead::default(),
            sink: Sink::new(),
            unread: Vec::new(),
            settings: HeadSettings::default(),
            context: ResponseContext {
                request_method: Method::Get,
                upgrade_offered: false,
            },
            incoming: Incoming::Done,
            tried_bytes: 0,
            received_bytes: 0,
            is_reused: false,
            has_excess: false,
        }
    }

    /// Closes the connection, forgets the attempt, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.stream = None;
        self.announced = None;
        self.head.clear();
        self.head.shrink(KEPT_BYTES);
        self.sink.clear();
        recycle(&mut self.unread, KEPT_BYTES);
        self.incoming = Incoming::Done;
        self.tried_bytes = 0;
        self.received_bytes = 0;
        self.has_excess = false;
    }

    fn stream(&mut self) -> &mut MaybeTls {
        self.writing().1
    }

    fn writing(&mut self) -> (&mut Sink, &mut MaybeTls) {
        let stream = self
            .stream
            .as_mut()
            .expect("an attempt has its connection until it is settled");
        (&mut self.sink, stream)
    }
}

impl Http1Upstream {
    /// `parts` are clear.
    pub(super) fn new(
        stream: MaybeTls,
        mut parts: Box<UpstreamParts>,
        settings: HeadSettings,
        is_reused: bool,
    ) -> Self {
        parts.stream = Some(stream);
        parts.settings = settings;
        parts.is_reused = is_reused;
        Self(parts)
    }

    /// Takes it apart: the connection, and what is used again.
    pub(super) fn into_parts(mut self) -> (Option<MaybeTls>, Box<UpstreamParts>) {
        (self.0.stream.take(), self.0)
    }

    /// The connection, for a tunnel.
    pub(super) fn stream(&mut self) -> &mut MaybeTls {
        self.0.stream()
    }

    /// Whether another request may be sent here after a clean exchange.
    pub(super) fn can_be_kept(&self) -> bool {
        let is_over = self.0.incoming.is_done() && !self.0.has_excess && self.0.unread.is_empty();
        is_over && !self.0.sink.is_blocked() && self.0.head.keep_alive()
    }

    /// How long the backend says it keeps an idle connection.
    pub(super) fn announced_timeout(&self) -> Option<Duration> {
        self.0.head.keep_alive_timeout()
    }

    /// The bytes behind a 101: the first ones of the tunnel.
    pub(super) fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0.unread)
    }

    /// Tries `unread` as a head. What follows the head is moved to the start of `scratch`.
    fn parse_unread(&mut self, scratch: &mut [u8]) -> Result<Option<ResponseStep>, BackendError> {
        let parts = &mut *self.0;
        let progress = parts
            .head
            .parse(&parts.unread, parts.context, &parts.settings)
            .map_err(|_| BackendError::Malformed)?;
        let Progress::Complete { consumed } = progress else {
            parts.tried_bytes = parts.unread.len();
            return Ok(None);
        };
        let rest = parts.unread.len() - consumed;
        if rest > scratch.len() {
            return Err(BackendError::Malformed); // cannot be: a read and its head limit are smaller
        }
        scratch[..rest].copy_from_slice(&parts.unread[consumed..]);
        parts.unread.clear();
        self.on_head(scratch, 0..rest).map(Some)
    }

    fn on_head(
        &mut self,
        scratch: &[u8],
        rest: Range<usize>,
    ) -> Result<ResponseStep, BackendError> {
        self.0.tried_bytes = 0;
        let head = &self.0.head;
        if head.is_interim() || head.is_switching() {
            let step = if head.is_interim() {
                ResponseStep::Interim
            } else {
                ResponseStep::Switching
            };
            self.0.unread.extend_from_slice(&scratch[rest]);
            return Ok(step);
        }
        self.0.incoming = Incoming::of_response(head.body());
        if self.0.incoming.is_done() && !rest.is_empty() {
            self.0.has_excess = true; // a body after HEAD, 204 or 304
        }
        Ok(ResponseStep::Final { rest })
    }

    fn take(
        &mut self,
        scratch: &mut [u8],
        range: Range<usize>,
        form: Form,
    ) -> Result<Piece, BackendError> {
        let taken = self
            .0
            .incoming
            .take(scratch, range, form)
            .map_err(|_| BackendError::Malformed)?;
        self.0.has_excess |= !taken.excess.is_empty();
        Ok(taken.piece)
    }

    fn closed_error(&self) -> BackendError {
        if self.0.received_bytes > 0 {
            return BackendError::Incomplete;
        }
        let fault = self.0.stream.as_ref().and_then(MaybeTls::fault);
        fault.map_or(BackendError::Closed, BackendError::Tls)
    }
}

impl BodySource for Http1Upstream {
    type Error = BackendError;

    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        form: Form,
    ) -> Poll<Result<Piece, BackendError>> {
        match ready!(self.0.stream().poll_read(cx, scratch)) {
            // RFC 9112 §6.3 item 8: only without any framing the end of the connection ends the body. Under TLS it must be
            // announced (RFC 9112 §9.8): an end that was not is an error here.
            Ok(0) if matches!(self.0.incoming, Incoming::UntilClose) => Poll::Ready(Ok(Piece {
                range: 0..0,
                form: Form::Payload,
                last: true,
            })),
            Ok(0) | Err(_) => Poll::Ready(Err(BackendError::Incomplete)),
            Ok(len) => {
                self.0.received_bytes += len as u64;
                Poll::Ready(self.take(scratch, 0..len, form))
            }
        }
    }
}

impl BodySink for Http1Upstream {
    fn form(&self) -> Form {
        self.0.sink.form()
    }

    fn room(&self) -> usize {
        self.0.sink.room()
    }

    fn push(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        form: Form,
        last: bool,
    ) -> io::Result<()> {
        let (sink, stream) = self.0.writing();
        sink.push(stream, cx, bytes, form, last)
    }

    fn is_blocked(&self) -> bool {
        self.0.sink.is_blocked()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (sink, stream) = self.0.writing();
        sink.poll_flush(stream, cx)
    }

    fn sent_bytes(&self) -> u64 {
        self.0.sink.sent_bytes()
    }
}

impl Upstream for Http1Upstream {
    type Response = ResponseHead;

    fn start_request<V: RequestView>(
        &mut self,
        request: &V,
        edits: &HeadEdits,
        body: BodyLength,
        upgrade: Option<&[u8]>,
    ) {
        self.0.context = ResponseContext {
            request_method: request.method_kind(),
            upgrade_offered: upgrade.is_some(),
        };
        let form = if request_framing(request, body) == FramingLine::Chunked {
            Form::Chunks
        } else {
            Form::Payload
        };
        self.0.sink.add_head(form, |out| {
            write_request(out, request, edits, body, upgrade);
        });
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<Result<ResponseStep, BackendError>> {
        loop {
            let unread = &self.0.unread;
            if unread.len() > self.0.tried_bytes && worth_parsing(unread, self.0.tried_bytes) {
                match self.parse_unread(scratch) {
                    Ok(None) => {}
                    Ok(Some(step)) => return Poll::Ready(Ok(step)),
                    Err(error) => return Poll::Ready(Err(error)),
                }
            } else if unread.len() > self.0.settings.head_bytes_max {
                return Poll::Ready(Err(BackendError::Malformed));
            }
            let len = match ready!(self.0.stream().poll_read(cx, scratch)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(self.closed_error())),
                Ok(len) => len,
            };
            self.0.received_bytes += len as u64;
            if !self.0.unread.is_empty() {
                self.0.unread.extend_from_slice(&scratch[..len]);
                continue;
            }
            let parsed = self
                .0
                .head
                .parse(&scratch[..len], self.0.context, &self.0.settings);
            match parsed {
                Err(_) => return Poll::Ready(Err(BackendError::Malformed)),
                Ok(Progress::Complete { consumed }) => {
                    return Poll::Ready(self.on_head(scratch, consumed..len));
                }
                Ok(Progress::Partial) => {
                    self.0.unread.extend_from_slice(&scratch[..len]);
                    self.0.tried_bytes = len;
                }
            }
        }
    }

    fn held_bytes(&self) -> usize {
        let Self(parts) = self;
        parts.head.bytes().len() + parts.unread.len() + parts.sink.kept_bytes()
    }

    fn response(&self) -> &ResponseHead {
        &self.0.head
    }

    fn response_body(&self) -> ResponseBody {
        self.0.head.body()
    }

    fn first_piece(
        &mut self,
        scratch: &mut [u8],
        rest: Range<usize>,
        form: Form,
    ) -> Result<Piece, BackendError> {
        self.take(scratch, rest, form)
    }

    fn is_reused(&self) -> bool {
        self.0.is_reused
    }

    fn handshake_us(&self) -> Option<u64> {
        let stream = self.0.stream.as_ref().filter(|_| !self.0.is_reused);
        stream?.handshake_us()
    }

    fn reclaim_body(&mut self) -> Option<Replay> {
        let form = self.0.sink.form();
        let bytes = self.0.sink.unsent_body()?;
        Some(Replay { bytes, form })
    }

    fn replay_body(&mut self, replay: Replay, last: bool) {
        self.0.sink.add_body(replay, last);
    }

    fn received_bytes(&self) -> u64 {
        self.0.received_bytes
    }
}
