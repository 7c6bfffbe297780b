//! The two sides of an exchange, as the phases see them: the same for every HTTP version.
//!
//! A body travels in pieces. A [`BodySource`] reads the next piece into the worker's scratch; a
//! [`BodySink`] takes it whole, writes what its peer accepts and keeps the rest. A source is polled only
//! while the sink keeps nothing, so each direction holds at most one piece: that is the whole
//! back-pressure, and no body is ever buffered beyond it.

use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll};

use balance_core::{Cause, Timeouts};
use balance_proto::http1::{ChunkedDecoder, Keep};
use balance_proto::http2::Trailers;
use balance_proto::{BodyLength, HeadEdits, RequestView, ResponseBody, ResponseView};
use balance_tls::TlsFault;

use crate::mirror::MirroredRequest;
use crate::own_response::OwnResponse;
use crate::upstream::{ConnectError, Member, cause_of_fault};
use crate::worker::Worker;

/// In which form a sink wants a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Payload,
    /// As HTTP/1 chunks, validated; a source that has no such framing gives payload all the same.
    Chunks,
}

/// A part of a body: a range of the scratch it was read into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) range: Range<usize>,
    /// Whether the range is HTTP/1 chunk framing, or payload.
    pub(crate) form: Form,
    pub(crate) last: bool,
}

impl Piece {
    /// The end of a body, without a byte.
    pub(crate) const END: Self = Self {
        range: 0..0,
        form: Form::Payload,
        last: true,
    };
}

/// The beginning of a body that is sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replay {
    pub(crate) bytes: Vec<u8>,
    pub(crate) form: Form,
}

impl Replay {
    /// As payload. It was validated before.
    pub(crate) fn into_payload(mut self) -> Vec<u8> {
        if self.form == Form::Chunks {
            let mut decoder = ChunkedDecoder::default();
            let kept = decoder.filter(&mut self.bytes, Keep::Payload);
            self.bytes
                .truncate(kept.map_or(0, |filtered| filtered.kept));
        }
        self.bytes
    }
}

/// Where a body comes from.
pub(crate) trait BodySource {
    type Error;

    /// Reads the next piece into `scratch`. Not called again after the last one.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        form: Form,
    ) -> Poll<Result<Piece, Self::Error>>;

    /// What came behind the last piece, once that was given. Of HTTP/1 it never comes here (robustness SM-13).
    fn trailers(&self) -> Option<&Trailers> {
        None
    }
}

/// Where a body goes.
pub(crate) trait BodySink {
    /// The form this body is wanted in.
    fn form(&self) -> Form;

    /// How large the next piece should be at most.
    fn room(&self) -> usize;

    /// Takes the trailers that follow the last piece, before that is pushed. HTTP/1 passes none on (robustness SM-13).
    fn add_trailers(&mut self, _: &Trailers) {}

    /// Takes a piece: writes what can be written now, together with whatever stands before it, and
    /// keeps the rest.
    fn push(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        form: Form,
        last: bool,
    ) -> io::Result<()>;

    /// Whether a write had to wait and something is still kept.
    fn is_blocked(&self) -> bool;

    /// Ready when nothing is kept any more.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Bytes written to the peer since the message began.
    fn sent_bytes(&self) -> u64;
}

/// What went wrong on the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("the client closed the connection")]
    Closed,
    #[error("the request body is malformed")]
    Malformed,
    #[error("the request body is larger than allowed")]
    TooLarge,
}

impl ClientError {
    pub(crate) fn cause(self) -> Cause {
        match self {
            Self::Closed => Cause::ClientClosed,
            Self::Malformed => Cause::HttpRequestError,
            Self::TooLarge => Cause::RequestTooLarge,
        }
    }
}

/// What went wrong on the backend's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BackendError {
    /// Closed or reset before any byte of a response.
    #[error("the backend closed the connection without an answer")]
    Closed,
    /// Closed or reset in the middle of a response.
    #[error("the response broke off")]
    Incomplete,
    #[error("the backend sent something that is not HTTP")]
    Malformed,
    /// Before any byte of a response. In TLS 1.3 a backend judges our certificate when the handshake is over for us.
    #[error("the backend ended TLS: {0}")]
    Tls(TlsFault),
}

impl BackendError {
    pub(crate) fn cause(self) -> Cause {
        match self {
            Self::Closed => Cause::ConnectionTerminated,
            Self::Incomplete => Cause::HttpResponseIncomplete,
            Self::Malformed => Cause::HttpProtocolError,
            Self::Tls(fault) => cause_of_fault(fault),
        }
    }
}

/// What watching a waiting client can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientEvent {
    /// Its FIN: it may still read (robustness BE-04).
    HalfClosed,
    /// Reset: nobody is there any more.
    Gone,
}

/// The client's side of one exchange.
pub(crate) trait Downstream: BodySource<Error = ClientError> + BodySink {
    type Request: RequestView + Clone + 'static;

    fn request(&self) -> &Self::Request;

    fn request_body(&self) -> BodyLength;

    /// Whom the client named in the handshake of its connection. `None`: nobody, or there is no TLS.
    fn server_name(&self) -> Option<&str>;

    /// The protocol of an upgrade that the request offers and that may pass.
    fn offered_upgrade(&self) -> Option<&[u8]>;

    /// Begins the response: what is written next is this head. `closes`: the connection will not be used
    /// for another request.
    fn start_response<V: ResponseView>(
        &mut self,
        response: &V,
        edits: &HeadEdits,
        body: ResponseBody,
        closes: bool,
    );

    /// Begins a 101 response; afterwards bytes pass both ways.
    fn start_switch<V: ResponseView>(&mut self, response: &V, edits: &HeadEdits);

    /// Queues an interim (1xx) response, if the client's version knows them.
    fn add_interim<V: ResponseView>(&mut self, response: &V, edits: &HeadEdits);

    /// Begins and completes a response of our own.
    fn start_own(&mut self, response: &OwnResponse, closes: bool);

    /// Watches a client that waits: becomes ready once per event, and not for pipelined requests.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<ClientEvent>;

    /// Whether the client is known to be gone without being watched. For versions whose connections read ahead.
    fn is_lost(&self) -> bool {
        false
    }

    /// Ready when the request may be sent. For versions that begin many exchanges in one turn: each of them is polled again
    /// in that turn, once all have come so far.
    #[inline]
    fn poll_gathered(&mut self) -> Poll<()> {
        Poll::Ready(())
    }

    /// Whether the client waits for a 100 before it sends the body.
    fn expects_continue(&self) -> bool;

    /// Takes back a response that was begun and of which nothing was pushed or flushed.
    fn take_back_response(&mut self);

    /// Skips a request body that has arrived whole already; whether none is left to come.
    fn discard_body(&mut self) -> bool;

    /// The whole request body reached the backend. For versions whose clients are told when there is room again.
    fn on_body_sent(&mut self) {}

    /// Bytes that the request's head takes up, and the response where the client does not take it.
    fn held_bytes(&self) -> usize;

    /// Whether the protocol lets this connection serve another request after this one.
    fn can_be_kept(&self) -> bool;

    /// Bytes of this request received.
    fn received_bytes(&self) -> u64;
}

/// What the backend sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ResponseStep {
    /// A 1xx response other than 101; another response follows.
    Interim,
    /// 101: the connection is a tunnel from here on.
    Switching,
    /// The response. `rest` is what of its body is in the scratch already.
    Final { rest: Range<usize> },
}

/// The backend's side of one attempt.
pub(crate) trait Upstream: BodySource<Error = BackendError> + BodySink {
    type Response: ResponseView;

    /// Begins the request: what is written next is this head.
    fn start_request<V: RequestView>(
        &mut self,
        request: &V,
        edits: &HeadEdits,
        body: BodyLength,
        upgrade: Option<&[u8]>,
    );

    /// Reads response heads.
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<Result<ResponseStep, BackendError>>;

    /// Bytes that the response's head takes up, and the request where the backend does not take it.
    fn held_bytes(&self) -> usize;

    /// The head that `poll_response` completed.
    fn response(&self) -> &Self::Response;

    fn response_body(&self) -> ResponseBody;

    /// The first piece of the body, from what was read along with the head.
    fn first_piece(
        &mut self,
        scratch: &mut [u8],
        rest: Range<usize>,
        form: Form,
    ) -> Result<Piece, BackendError>;

    /// Whether each request is written by itself; if not, its connection writes those of many exchanges together.
    #[inline]
    fn writes_at_once(&self) -> bool {
        true
    }

    /// Whether this connection has served a request before.
    fn is_reused(&self) -> bool;

    /// How long the TLS handshake took that was made for this attempt, if one was.
    fn handshake_us(&self) -> Option<u64> {
        None
    }

    /// What was pushed of the body, if the backend is known to have processed nothing of the request. `None` when it may
    /// have, or when it is not at hand any more.
    fn reclaim_body(&mut self) -> Option<Replay>;

    /// Sends again what an earlier attempt's `reclaim_body` gave; `last`: that is all of the body.
    fn replay_body(&mut self, replay: Replay, last: bool);

    /// Bytes of this response received.
    fn received_bytes(&self) -> u64;
}

/// How attempts get connections to backends.
pub(crate) trait Transport {
    type Upstream: Upstream;

    /// A connection that waits to be used again.
    fn reuse(&self, member: &Member, now_ms: u64) -> Option<Self::Upstream>;

    /// A new one.
    async fn open(
        &self,
        member: &Member,
        timeouts: &Timeouts,
    ) -> Result<Self::Upstream, ConnectError>;

    /// Sends a copy of a request by a task of its own, over connections of this kind.
    fn spawn_mirrored<V: RequestView + 'static>(
        &self,
        worker: &Rc<Worker>,
        copy: MirroredRequest<V>,
    );

    /// The exchange is over; `clean` when request and response were complete.
    fn settle(&self, member: &Member, upstream: Self::Upstream, clean: bool, now_ms: u64);
}
