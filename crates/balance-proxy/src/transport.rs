//! How exchanges reach backends, whatever is spoken to them.
//!
//! An enum and no trait object: what is spoken is known with the connection, and HTTP/1 pays one predictable branch for
//! HTTP/2 to exist.

use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll};

use balance_core::{Timeouts, UpstreamProtocol};
use balance_proto::http1::{HeadSettings, ResponseHead};
use balance_proto::http2::Trailers;
use balance_proto::proxy_protocol::ConnectionEnds;
use balance_proto::{BodyLength, HeadEdits, RequestView, ResponseBody};

use crate::exchange::sides::{
    BackendError, BodySink, BodySource, Form, Piece, Replay, ResponseStep, Transport, Upstream,
};
use crate::http1::{Http1Transport, Http1Upstream};
use crate::http2::{self, Http2Upstream, Opened};
use crate::mirror::{self, MirroredRequest};
use crate::upstream::{ConnectError, Member};
use crate::worker::Worker;

/// How exchanges of one worker reach backends.
pub(crate) struct HttpTransport<'w> {
    worker: &'w Rc<Worker>,
    pub(crate) http1: Http1Transport<'w>,
}

/// A backend's side of one attempt.
pub(crate) enum HttpUpstream {
    Http1(Http1Upstream),
    Http2(Http2Upstream),
}

/// Does the same with either.
macro_rules! either {
    ($either:expr, $upstream:ident => $result:expr) => {
        match $either {
            HttpUpstream::Http1($upstream) => $result,
            HttpUpstream::Http2($upstream) => $result,
        }
    };
}

impl<'w> HttpTransport<'w> {
    /// `settings`: what response heads are held to. `ends`: whom backends are told to be the client, if they want to know.
    pub(crate) fn new(
        worker: &'w Rc<Worker>,
        settings: HeadSettings,
        ends: Option<ConnectionEnds>,
    ) -> Self {
        Self {
            worker,
            http1: Http1Transport {
                worker,
                settings,
                ends,
            },
        }
    }

    fn take_http2(&self, member: &Member) -> Option<HttpUpstream> {
        let announced = self.http1.announced(member);
        let taken = member
            .http2()
            .take(self.worker, member, announced.as_ref())?;
        Some(HttpUpstream::Http2(taken))
    }
}

impl Transport for HttpTransport<'_> {
    type Upstream = HttpUpstream;

    fn reuse(&self, member: &Member, now_ms: u64) -> Option<HttpUpstream> {
        let reuse_http1 = || self.http1.reuse(member, now_ms).map(HttpUpstream::Http1);
        match member.protocol() {
            UpstreamProtocol::Http1 => reuse_http1(),
            UpstreamProtocol::Http2 => self.take_http2(member),
            UpstreamProtocol::Auto => self.take_http2(member).or_else(reuse_http1),
        }
    }

    async fn open(
        &self,
        member: &Member,
        timeouts: &Timeouts,
    ) -> Result<HttpUpstream, ConnectError> {
        if member.protocol() == UpstreamProtocol::Http1 {
            let opening = self.http1.open(member, timeouts);
            return opening.await.map(HttpUpstream::Http1);
        }
        let announced = self.http1.announced(member).map(Rc::new);
        let settings = self.http1.settings;
        let opening = http2::open(self.worker, member, timeouts, settings, announced.clone());
        Ok(match opening.await? {
            Opened::Http2(upstream) => HttpUpstream::Http2(upstream),
            Opened::Http1(stream) => {
                HttpUpstream::Http1(self.http1.upstream(stream, announced, false))
            }
        })
    }

    fn spawn_mirrored<V: RequestView + 'static>(
        &self,
        worker: &Rc<Worker>,
        copy: MirroredRequest<V>,
    ) {
        let (owned, settings, ends) = (Rc::clone(worker), self.http1.settings, self.http1.ends);
        worker.spawn(async move {
            let transport = HttpTransport::new(&owned, settings, ends);
            mirror::send(&owned, &transport, copy).await;
        });
    }

    fn settle(&self, member: &Member, upstream: HttpUpstream, clean: bool, now_ms: u64) {
        match upstream {
            HttpUpstream::Http1(upstream) => self.http1.settle(member, upstream, clean, now_ms),
            HttpUpstream::Http2(upstream) => {
                let parts = upstream.into_parts();
                self.worker.http2_upstream_parts.give_back(parts);
            }
        }
    }
}

impl BodySource for HttpUpstream {
    type Error = BackendError;

    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        form: Form,
    ) -> Poll<Result<Piece, BackendError>> {
        either!(self, upstream => upstream.poll_piece(cx, scratch, form))
    }

    fn trailers(&self) -> Option<&Trailers> {
        either!(self, upstream => upstream.trailers())
    }
}

impl BodySink for HttpUpstream {
    fn form(&self) -> Form {
        either!(self, upstream => upstream.form())
    }

    fn room(&self) -> usize {
        either!(self, upstream => upstream.room())
    }

    fn add_trailers(&mut self, trailers: &Trailers) {
        either!(self, upstream => upstream.add_trailers(trailers));
    }

    fn push(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        form: Form,
        last: bool,
    ) -> io::Result<()> {
        either!(self, upstream => upstream.push(cx, bytes, form, last))
    }

    fn is_blocked(&self) -> bool {
        either!(self, upstream => upstream.is_blocked())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, upstream => upstream.poll_flush(cx))
    }

    fn sent_bytes(&self) -> u64 {
        either!(self, upstream => upstream.sent_bytes())
    }
}

impl Upstream for HttpUpstream {
    type Response = ResponseHead;

    fn start_request<V: RequestView>(
        &mut self,
        request: &V,
        edits: &HeadEdits,
        body: BodyLength,
        upgrade: Option<&[u8]>,
    ) {
        either!(self, upstream => upstream.start_request(request, edits, body, upgrade));
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<Result<ResponseStep, BackendError>> {
        either!(self, upstream => upstream.poll_response(cx, scratch))
    }

    fn held_bytes(&self) -> usize {
        either!(self, upstream => upstream.held_bytes())
    }

    fn response(&self) -> &ResponseHead {
        either!(self, upstream => upstream.response())
    }

    fn response_body(&self) -> ResponseBody {
        either!(self, upstream => upstream.response_body())
    }

    fn first_piece(
        &mut self,
        scratch: &mut [u8],
        rest: Range<usize>,
        form: Form,
    ) -> Result<Piece, BackendError> {
        either!(self, upstream => upstream.first_piece(scratch, rest, form))
    }

    fn writes_at_once(&self) -> bool {
        matches!(self, Self::Http1(_))
    }

    fn is_reused(&self) -> bool {
        either!(self, upstream => upstream.is_reused())
    }

    fn handshake_us(&self) -> Option<u64> {
        either!(self, upstream => upstream.handshake_us())
    }

    fn reclaim_body(&mut self) -> Option<Replay> {
        either!(self, upstream => upstream.reclaim_body())
    }

    fn replay_body(&mut self, replay: Replay, last: bool) {
        either!(self, upstream => upstream.replay_body(replay, last));
    }

    fn received_bytes(&self) -> u64 {
        either!(self, upstream => upstream.received_bytes())
    }
}
