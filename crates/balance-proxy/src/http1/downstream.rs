//! A client's side of one HTTP/1 exchange.

use std::io;
use std::task::{Context, Poll, ready};

use balance_net::PeerState;
use balance_proto::http1::{ConnectionLine, RequestHead, encode_own_response, encode_response};
use balance_proto::{
    BodyLength, FieldValue, FramingLine, HeadEdits, RequestView, ResponseBody, ResponseView,
    Version,
};

use super::incoming::Incoming;
use super::request::offered_upgrade;
use super::sink::Sink;
use crate::buffers::{KEPT_BYTES, recycle};
use crate::exchange::sides::{
    BodySink, BodySource, ClientError, ClientEvent, Downstream, Form, Piece,
};
use crate::maybe_tls::MaybeTls;
use crate::own_response::OwnResponse;

/// What an active exchange owns on the client's side; used again by the next one.
pub(crate) struct RequestParts {
    pub(crate) head: RequestHead,
    pub(super) sink: Sink,
}

impl RequestParts {
    pub(crate) fn new() -> Self {
        Self {
            head: RequestHead::default(),
            sink: Sink::new(),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.head.clear();
        self.head.shrink(KEPT_BYTES);
        self.sink.clear();
    }
}

/// One exchange of a client's connection.
pub(super) struct Http1Downstream<'c> {
    pub(super) stream: &'c mut MaybeTls,
    /// What was read but not used yet: the rest of this request, or the next ones.
    pub(super) unread: &'c mut Vec<u8>,
    pub(super) parts: &'c mut RequestParts,
    incoming: Incoming,
    body_bytes_max: u64,
    payload_bytes: u64,
    received_bytes: u64,
    keeps_alive: bool,
    passes_upgrade: bool,
    is_watched: bool,
    ends_with_close: bool,
    tunnel_sent_bytes: u64,
}

impl<'c> Http1Downstream<'c> {
    /// `head_bytes`: how long the head was on the wire.
    pub(super) fn new(
        stream: &'c mut MaybeTls,
        unread: &'c mut Vec<u8>,
        parts: &'c mut RequestParts,
        head_bytes: usize,
        options: DownstreamOptions,
    ) -> Self {
        Self {
            incoming: Incoming::of_request(parts.head.body()),
            body_bytes_max: options.body_bytes_max,
            payload_bytes: 0,
            received_bytes: head_bytes as u64,
            keeps_alive: parts.head.keep_alive(),
            passes_upgrade: options.enable_websocket,
            is_watched: true,
            ends_with_close: false,
            tunnel_sent_bytes: 0,
            stream,
            unread,
            parts,
        }
    }

    /// Takes the body from `scratch[..len]`, and keeps what follows it for the next request.
    fn take(&mut self, scratch: &mut [u8], len: usize, form: Form) -> Result<Piece, ClientError> {
        let taken = self
            .incoming
            .take(scratch, 0..len, form)
            .map_err(|_| ClientError::Malformed)?;
        self.received_bytes += (len - taken.excess.len()) as u64;
        self.payload_bytes += taken.payload_bytes;
        if !taken.excess.is_empty() {
            // In front of what is unread: it was read before it.
            self.unread
                .splice(0..0, scratch[taken.excess].iter().copied());
        }
        if self.body_bytes_max != 0 && self.payload_bytes > self.body_bytes_max {
            return Err(ClientError::TooLarge);
        }
        Ok(taken.piece)
    }

    /// Whether only the end of the connection ends the response that was begun.
    pub(super) fn ends_with_close(&self) -> bool {
        self.ends_with_close
    }

    /// Counts what a tunnel carried.
    pub(super) fn add_tunnel_bytes(&mut self, received: u64, sent: u64) {
        self.received_bytes += received;
        self.tunnel_sent_bytes += sent;
    }

    fn version(&self) -> Version {
        self.parts.head.version()
    }
}

/// What a listener decides about its requests.
#[derive(Clone, Copy)]
pub(super) struct DownstreamOptions {
    pub(super) body_bytes_max: u64,
    pub(super) enable_websocket: bool,
}

impl BodySource for Http1Downstream<'_> {
    type Error = ClientError;

    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        form: Form,
    ) -> Poll<Result<Piece, ClientError>> {
        if !self.unread.is_empty() {
            let len = self.unread.len().min(scratch.len());
            scratch[..len].copy_from_slice(&self.unread[..len]);
            self.unread.drain(..len);
            if self.unread.is_empty() {
                recycle(self.unread, KEPT_BYTES);
            }
            return Poll::Ready(self.take(scratch, len, form));
        }
        match ready!(self.stream.poll_read(cx, scratch)) {
            Ok(0) | Err(_) => Poll::Ready(Err(ClientError::Closed)),
            Ok(len) => Poll::Ready(self.take(scratch, len, form)),
        }
    }
}

impl BodySink for Http1Downstream<'_> {
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
        self.parts.sink.push(self.stream, cx, bytes, form, last)
    }

    fn is_blocked(&self) -> bool {
        self.parts.sink.is_blocked()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.parts.sink.poll_flush(self.stream, cx)
    }

    fn sent_bytes(&self) -> u64 {
        self.parts.sink.sent_bytes() + self.tunnel_sent_bytes
    }
}

impl Downstream for Http1Downstream<'_> {
    type Request = RequestHead;

    fn request(&self) -> &RequestHead {
        &self.parts.head
    }

    fn request_body(&self) -> BodyLength {
        self.parts.head.body()
    }

    fn server_name(&self) -> Option<&str> {
        self.stream.server_name()
    }

    fn offered_upgrade(&self) -> Option<&[u8]> {
        offered_upgrade(&self.parts.head, self.passes_upgrade)
    }

    fn start_response<V: ResponseView>(
        &mut self,
        response: &V,
        edits: &HeadEdits,
        body: ResponseBody,
        closes: bool,
    ) {
        let version = self.version();
        let method = self.parts.head.method_kind();
        let framing = FramingLine::for_response(method, response.status(), body, version);
        // Without a length and without chunks only the end of the connection ends the body (SM-27).
        self.ends_with_close = framing == FramingLine::None
            && matches!(body, ResponseBody::Chunked | ResponseBody::UntilClose);
        self.keeps_alive = self.keeps_alive && !closes && !self.ends_with_close;
        let connection = connection_line(version, self.keeps_alive);
        let form = if framing == FramingLine::Chunked {
            Form::Chunks
        } else {
            Form::Payload
        };
        self.parts.sink.add_head(form, |out| {
            encode_response(out, response, edits, version, framing, connection);
        });
    }

    fn start_switch<V: ResponseView>(&mut self, response: &V, edits: &HeadEdits) {
        let version = self.version();
        let protocol = response.get(b"upgrade").unwrap_or_default();
        self.keeps_alive = false;
        self.parts.sink.add_head(Form::Payload, |out| {
            let connection = ConnectionLine::Upgrade(protocol);
            encode_response(out, response, edits, version, FramingLine::None, connection);
        });
    }

    fn add_interim<V: ResponseView>(&mut self, response: &V, edits: &HeadEdits) {
        // RFC 9110 §15.2: a server must not send 1xx to an HTTP/1.0 client.
        let version = self.version();
        if version == Version::Http10 {
            return;
        }
        self.parts.sink.add_head(Form::Payload, |out| {
            let (framing, connection) = (FramingLine::None, ConnectionLine::None);
            encode_response(out, response, edits, version, framing, connection);
        });
    }

    fn start_own(&mut self, response: &OwnResponse, closes: bool) {
        self.keeps_alive = self.keeps_alive && !closes;
        let version = self.version();
        let head_only = self.parts.head.method_kind() == balance_core::Method::Head;
        let connection = connection_line(version, self.keeps_alive);
        write_own(&mut self.parts.sink, response, head_only, connection);
    }

    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<ClientEvent> {
        if !self.is_watched {
            return Poll::Pending;
        }
        // Pipelined requests end the watch: what comes behind them cannot be seen. Of a body that is still coming,
        // reading it shows more than watching.
        let takes_data = self.incoming.is_done();
        match ready!(self.stream.poll_peer(cx, self.unread, takes_data)) {
            PeerState::Data => {
                self.is_watched = !takes_data;
                Poll::Pending
            }
            PeerState::Closed => {
                self.is_watched = false;
                Poll::Ready(ClientEvent::HalfClosed)
            }
            PeerState::Quiet | PeerState::Reset => {
                self.is_watched = false;
                Poll::Ready(ClientEvent::Gone)
            }
        }
    }

    fn expects_continue(&self) -> bool {
        self.parts.head.expects_continue()
    }

    fn take_back_response(&mut self) {
        self.keeps_alive = self.parts.head.keep_alive();
        self.ends_with_close = false;
        self.parts.sink.take_back_head();
    }

    fn held_bytes(&self) -> usize {
        self.parts.head.bytes().len() + self.parts.sink.kept_bytes()
    }

    fn discard_body(&mut self) -> bool {
        if self.incoming.is_done() {
            return true;
        }
        let mut arrived = std::mem::take(self.unread);
        let len = arrived.len();
        let Ok(piece) = self.take(&mut arrived, len, Form::Payload) else {
            return false;
        };
        piece.last
    }

    fn can_be_kept(&self) -> bool {
        self.keeps_alive
    }

    fn received_bytes(&self) -> u64 {
        self.received_bytes
    }
}

/// Encodes a response of our own.
pub(super) fn write_own(
    sink: &mut Sink,
    response: &OwnResponse,
    head_only: bool,
    connection: ConnectionLine<'_>,
) {
    sink.add_head(Form::Payload, |out| {
        let fields: Vec<_> = response.fields().collect();
        encode_own_response(
            out,
            response.status,
            FieldValue::new(response.content_type.as_bytes())
                .ok()
                .filter(|value| !value.as_bytes().is_empty()),
            &fields,
            &response.body,
            head_only,
            connection,
        );
    });
}

/// RFC 9112 §9.3: HTTP/1.1 keeps alive by default, HTTP/1.0 must be told.
fn connection_line(version: Version, keeps_alive: bool) -> ConnectionLine<'static> {
    match (version, keeps_alive) {
        (_, false) => ConnectionLine::Close,
        (Version::Http10, true) => ConnectionLine::KeepAlive,
        (_, true) => ConnectionLine::None,
    }
}
