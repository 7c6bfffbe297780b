//! What serves the exchange of a stream: a coroutine of its own, used again by the next stream.

use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use balance_core::Cause;
use balance_proto::Scheme;
use balance_proto::http2::{ErrorCode, StreamId};
use balance_proto::proxy_protocol::ConnectionEnds;

use super::downstream::{Http2Downstream, StreamParts};
use super::grpc;
use super::link::SharedLink;
use crate::coroutine::{Coroutine, Desk};
use crate::exchange::{self, Arrival, Ended, Exchange, Next};
use crate::isolate::{Panicked, isolate};
use crate::transport::HttpTransport;
use crate::wheel::Timer;
use crate::worker::{Worker, WorkerListener};

/// Serves one stream at a time. Dropped in the middle of one, it takes the exchange's connection to a backend with it.
pub(crate) struct StreamServer {
    coroutine: Coroutine<Job, Served>,
    /// Where the next head is taken. Empty while an exchange runs.
    pub(super) parts: Option<Box<StreamParts>>,
}

/// A stream whose head has come.
pub(super) struct StreamJob {
    pub(super) client: Rc<StreamClient>,
    pub(super) place: usize,
    pub(super) stream: StreamId,
    /// When its head was read, by the process clock.
    pub(super) arrived_us: u64,
}

/// What all streams of a connection stand on, and whose it is.
pub(super) struct StreamClient {
    pub(super) worker: Rc<Worker>,
    pub(super) listener: Rc<WorkerListener>,
    pub(super) link: SharedLink,
    /// Whom it named in the handshake of the connection.
    pub(super) server_name: Option<Box<str>>,
    pub(super) peer: IpAddr,
    pub(super) ends: Option<ConnectionEnds>,
    pub(super) scheme: Scheme,
}

struct Job {
    stream: StreamJob,
    parts: Box<StreamParts>,
}

struct Served {
    parts: Box<StreamParts>,
    stream: StreamId,
    code: ErrorCode,
}

impl StreamServer {
    pub(crate) fn new() -> Self {
        Self {
            coroutine: Coroutine::new(serve_all),
            parts: Some(Box::default()),
        }
    }

    /// Takes the stream and the head in `parts`.
    pub(super) fn start(&mut self, stream: StreamJob) {
        let parts = self
            .parts
            .take()
            .expect("a server serves one stream at a time");
        self.coroutine.start(Job { stream, parts });
    }

    /// Ready when the exchange is over: its stream, and with which code that is to be given up where it is not closed.
    pub(super) fn poll_served(&mut self, cx: &mut Context<'_>) -> Poll<(StreamId, ErrorCode)> {
        self.coroutine.poll_served(cx).map(|served| {
            self.parts = Some(served.parts);
            (served.stream, served.code)
        })
    }
}

async fn serve_all(desk: Rc<Desk<Job, Served>>) -> Infallible {
    let mut state = Exchange::new();
    // Kept from stream to stream: to move a deadline is less work than to place one.
    let mut timer = None;
    loop {
        let Job { stream, mut parts } = desk.next_job().await;
        let timer = timer.get_or_insert_with(|| stream.client.worker.wheel.timer());
        let code = serve_one(&mut state, timer, &stream, &mut parts).await;
        timer.rest();
        state.end();
        parts.clear();
        desk.give_back(Served {
            parts,
            stream: stream.stream,
            code,
        });
    }
}

async fn serve_one(
    state: &mut Exchange,
    timer: &Timer,
    job: &StreamJob,
    parts: &mut StreamParts,
) -> ErrorCode {
    let StreamClient {
        worker,
        listener,
        link,
        ..
    } = &*job.client;
    let snapshot = listener.snapshot();
    state.begin(Arrival {
        listener: listener.index(),
        snapshot,
        peer: job.client.peer,
        scheme: job.client.scheme,
        now_us: job.arrived_us,
        listener_is_retired: listener.is_retired(),
    });
    if let Some(timeout_ms) = grpc::call_timeout_ms(&parts.head) {
        state.bound_by_caller(timeout_ms);
    }
    let transport = HttpTransport::new(worker, listener.head_settings(), job.client.ends);
    let context = exchange::Context {
        worker,
        timer,
        transport: &transport,
    };
    let body_bytes_max = state.listener().limits.body_bytes_max;
    let mut down = Http2Downstream::new(job, parts, body_bytes_max);
    // A client that opens streams to reset them at once must not make us work, nor a backend.
    if let Some(error) = link.borrow().fate(job.place) {
        state.settle(worker, &down, error.cause());
        return ErrorCode::CANCEL;
    }
    match isolate(exchange::run(&context, state, &mut down)).await {
        Ok(Ended::Exchange(Next::Keep | Next::Close)) => ErrorCode::NO_ERROR,
        // RFC 9113 §8.1: the response is complete, and the rest of the request is not needed.
        Ok(Ended::Exchange(Next::Linger)) => ErrorCode::NO_ERROR,
        Ok(Ended::Exchange(Next::Abort)) => ErrorCode::INTERNAL_ERROR,
        Ok(Ended::Tunnel(_)) => {
            debug_assert!(false, "no upgrade was offered");
            state.settle(worker, &down, Cause::HttpUpgradeFailed);
            ErrorCode::INTERNAL_ERROR
        }
        Err(Panicked) => {
            state.on_panic(worker, &down);
            // What was half done must not meet the next exchange.
            *state = Exchange::new();
            *parts = StreamParts::default();
            ErrorCode::INTERNAL_ERROR
        }
    }
}
