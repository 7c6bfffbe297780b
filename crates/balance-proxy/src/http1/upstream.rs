//! A backend's side of one HTTP/1 attempt.

use std::io;
use std::ops::Range;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use balance_core::Method;
use balance_net::Stream;
use balance_proto::http1::{
    ConnectionLine, HeadSettings, Progress, ResponseContext, ResponseHead, encode_request,
    worth_parsing,
};
use balance_proto::{BodyLength, FramingLine, HeadEdits, RequestView, ResponseBody};

use super::incoming::Incoming;
use super::sink::Sink;
use crate::buffers::{KEPT_BYTES, recycle};
use crate::exchange::sides::{
    BackendError, BodySink, BodySource, Form, Piece, ResponseStep, Upstream,
};

/// What an active attempt owns; used again by the next one.
pub(crate) struct UpstreamParts {
    head: ResponseHead,
    sink: Sink,
    /// A head that is not complete yet, or what followed an interim response or a 101.
    unread: Vec<u8>,
}

impl UpstreamParts {
    pub(crate) fn new() -> Self {
        Self {
            head: ResponseHead::default(),
            sink: Sink::new(),
            unread: Vec::new(),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.head.clear();
        self.sink.clear();
        recycle(&mut self.unread, KEPT_BYTES);
    }
}

/// One connection to a backend while it serves an attempt.
pub(crate) struct Http1Upstream {
    pub(super) stream: Stream,
    pub(super) parts: Box<UpstreamParts>,
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

impl Http1Upstream {
    pub(super) fn new(
        stream: Stream,
        parts: Box<UpstreamParts>,
        settings: HeadSettings,
        is_reused: bool,
    ) -> Self {
        Self {
            stream,
            parts,
            settings,
            context: ResponseContext {
                request_method: Method::Get,
                upgrade_offered: false,
            },
            incoming: Incoming::Done,
            tried_bytes: 0,
            received_bytes: 0,
            is_reused,
            has_excess: false,
        }
    }

    /// Whether another request may be sent here after a clean exchange.
    pub(super) fn can_be_kept(&self) -> bool {
        let is_over = self.incoming.is_done() && !self.has_excess && self.parts.unread.is_empty();
        is_over && !self.parts.sink.is_blocked() && self.parts.head.keep_alive()
    }

    /// How long the backend says it keeps an idle connection.
    pub(super) fn announced_timeout(&self) -> Option<Duration> {
        self.parts.head.keep_alive_timeout()
    }

    /// The bytes behind a 101: the first ones of the tunnel.
    pub(super) fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.parts.unread)
    }

    /// Tries `unread` as a head. What follows the head is moved to the start of `scratch`.
    fn parse_unread(&mut self, scratch: &mut [u8]) -> Result<Option<ResponseStep>, BackendError> {
        let parts = &mut *self.parts;
        let progress = parts
            .head
            .parse(&parts.unread, self.context, &self.settings)
            .map_err(|_| BackendError::Malformed)?;
        let Progress::Complete { consumed } = progress else {
            self.tried_bytes = parts.unread.len();
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
        self.tried_bytes = 0;
        let head = &self.parts.head;
        if head.is_interim() || head.is_switching() {
            let step = if head.is_interim() {
                ResponseStep::Interim
            } else {
                ResponseStep::Switching
            };
            self.parts.unread.extend_from_slice(&scratch[rest]);
            return Ok(step);
        }
        self.incoming = Incoming::of_response(head.body());
        if self.incoming.is_done() && !rest.is_empty() {
            self.has_excess = true; // a body after HEAD, 204 or 304
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
            .incoming
            .take(scratch, range, form)
            .map_err(|_| BackendError::Malformed)?;
        self.has_excess |= !taken.excess.is_empty();
        Ok(taken.piece)
    }

    fn closed_error(&self) -> BackendError {
        if self.received_bytes == 0 {
            BackendError::Closed
        } else {
            BackendError::Incomplete
        }
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
        match ready!(self.stream.poll_read(cx, scratch)) {
            // RFC 9112 §6.3 item 8: only without any framing the end of the connection ends the body.
            Ok(0) if matches!(self.incoming, Incoming::UntilClose) => Poll::Ready(Ok(Piece {
                range: 0..0,
                form: Form::Payload,
                last: true,
            })),
            Ok(0) | Err(_) => Poll::Ready(Err(BackendError::Incomplete)),
            Ok(len) => {
                self.received_bytes += len as u64;
                Poll::Ready(self.take(scratch, 0..len, form))
            }
        }
    }
}

impl BodySink for Http1Upstream {
    fn form(&self) -> Form {
        self.parts.sink.form()
    }

    fn room(&self) -> usize {
        self.parts.sink.room()
    }

    fn push(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        form: Form,
        last: bool,
    ) -> io::Result<()> {
        self.parts
            .sink
            .push(&mut self.stream, cx, bytes, form, last)
    }

    fn is_blocked(&self) -> bool {
        self.parts.sink.is_blocked()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.parts.sink.poll_flush(&mut self.stream, cx)
    }

    fn sent_bytes(&self) -> u64 {
        self.parts.sink.sent_bytes()
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
        self.context = ResponseContext {
            request_method: request.method_kind(),
            upgrade_offered: upgrade.is_some(),
        };
        let framing = FramingLine::for_request(request.method_kind(), body);
        let form = if framing == FramingLine::Chunked {
            Form::Chunks
        } else {
            Form::Payload
        };
        let connection = upgrade.map_or(ConnectionLine::None, ConnectionLine::Upgrade);
        self.parts.sink.add_head(form, |out| {
            encode_request(out, request, edits, framing, connection);
        });
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<Result<ResponseStep, BackendError>> {
        loop {
            let unread = &self.parts.unread;
            if unread.len() > self.tried_bytes && worth_parsing(unread, self.tried_bytes) {
                match self.parse_unread(scratch) {
                    Ok(None) => {}
                    Ok(Some(step)) => return Poll::Ready(Ok(step)),
                    Err(error) => return Poll::Ready(Err(error)),
                }
            } else if unread.len() > self.settings.head_bytes_max {
                return Poll::Ready(Err(BackendError::Malformed));
            }
            let len = match ready!(self.stream.poll_read(cx, scratch)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(self.closed_error())),
                Ok(len) => len,
            };
            self.received_bytes += len as u64;
            if !self.parts.unread.is_empty() {
                self.parts.unread.extend_from_slice(&scratch[..len]);
                continue;
            }
            let parsed = self
                .parts
                .head
                .parse(&scratch[..len], self.context, &self.settings);
            match parsed {
                Err(_) => return Poll::Ready(Err(BackendError::Malformed)),
                Ok(Progress::Complete { consumed }) => {
                    return Poll::Ready(self.on_head(scratch, consumed..len));
                }
                Ok(Progress::Partial) => {
                    self.parts.unread.extend_from_slice(&scratch[..len]);
                    self.tried_bytes = len;
                }
            }
        }
    }

    fn response(&self) -> &ResponseHead {
        &self.parts.head
    }

    fn response_body(&self) -> ResponseBody {
        self.parts.head.body()
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
        self.is_reused
    }

    fn reclaim_body(&mut self) -> Option<Vec<u8>> {
        self.parts.sink.unsent_body()
    }

    fn replay_body(&mut self, body: &[u8]) {
        self.parts.sink.add_framed(body);
    }

    fn received_bytes(&self) -> u64 {
        self.received_bytes
    }
}
