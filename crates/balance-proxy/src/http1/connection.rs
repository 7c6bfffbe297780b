//! A client's HTTP/1 connection: waits for a request head, serves the exchange, waits again.
//!
//! ```text
//!        ┌──────────────────────── Next::Keep ────────────────────────┐
//!        ▼                                                            │
//!   waiting for a head ── head ──► exchange::run ─────────────────────┤
//!     │    │    │                       │                             ├─ Close ───► closed
//!     │    │    └ malformed ► answer ───┼──────────► lingering ◄──────┼─ Linger
//!     │    └ deadline in a head ► 408 ──┘                │            └─ Abort ───► closed or reset
//!     └ closed, idle too long, drained ──────────────────┴──────────► closed
//! ```
//!
//! While it waits it owns no buffer: reads go into the worker's scratch, and only what is left of an
//! incomplete head is kept.

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use balance_core::Cause;
use balance_net::{Stream, set_linger_zero};
use balance_proto::http1::{ConnectionLine, Progress, RequestError, worth_parsing};

use super::Http1Transport;
use super::downstream::{DownstreamOptions, Http1Downstream, RequestParts, write_own};
use super::tunnel;
use crate::buffers::{KEPT_BYTES, recycle};
use crate::exchange::{self, Arrival, Ended, Exchange, Next};
use crate::own_response::OwnResponse;
use crate::wheel::Timer;
use crate::worker::{DRAIN_IDLE_MS, LINGER_MS, Session, Worker, WorkerListener};

/// An accepted connection, as the accept loop hands it over.
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    pub(crate) peer: IpAddr,
    /// What was read before the connection was registered.
    pub(crate) unread: Vec<u8>,
}

/// Serves a connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, listener: Rc<WorkerListener>, accepted: Accepted) {
    let timer = worker.wheel.timer();
    let mut connection = Connection {
        worker,
        listener,
        stream: accepted.stream,
        peer: accepted.peer,
        unread: accepted.unread,
        tried_bytes: 0,
        timer,
        phase: Phase::First,
        known_ms: 0,
    };
    connection.known_ms = connection.worker.clock.now_ms();
    loop {
        let (parts, head_bytes) = match connection.next_head().await {
            Waited::Head { parts, head_bytes } => (parts, head_bytes),
            Waited::Malformed(error) => return connection.refuse(error).await,
            Waited::TooSlow => return connection.refuse_slow().await,
            Waited::Over => return,
        };
        match connection.serve_one(parts, head_bytes).await {
            Next::Keep => connection.phase = Phase::Idle,
            Next::Close if connection.unread.is_empty() => return,
            Next::Close | Next::Linger => return connection.linger().await,
            Next::Abort => return,
        }
    }
}

struct Connection {
    worker: Rc<Worker>,
    listener: Rc<WorkerListener>,
    stream: Stream,
    peer: IpAddr,
    /// Read and not used: a head that is not complete, or pipelined requests.
    unread: Vec<u8>,
    /// How much of `unread` was tried as a head.
    tried_bytes: usize,
    timer: Timer,
    phase: Phase,
    /// A recent reading of the clock.
    known_ms: u64,
}

/// What a connection that has no request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first head, since the connection was accepted; its deadline is not set yet.
    First,
    /// The next head; its deadline is not set yet.
    Idle,
    /// The deadline is set: that of a head if `in_head`, else that of an idle connection.
    Armed { in_head: bool },
    /// Idle while the worker drains.
    Draining,
}

/// How waiting for a head ended.
enum Waited {
    Head {
        parts: Box<RequestParts>,
        head_bytes: usize,
    },
    Malformed(RequestError),
    /// The head was not complete in time.
    TooSlow,
    /// Closed by the client, idle for too long, or drained.
    Over,
}

impl Connection {
    async fn next_head(&mut self) -> Waited {
        poll_fn(|cx| self.poll_head(cx)).await
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Waited> {
        let worker = Rc::clone(&self.worker);
        let mut parts = worker.request_parts.take(|| Box::new(RequestParts::new()));
        let waited = match self.poll_read_head(cx, &mut parts) {
            Poll::Ready(Ok(Some(head_bytes))) => {
                self.tried_bytes = 0;
                return Poll::Ready(Waited::Head { parts, head_bytes });
            }
            Poll::Ready(Ok(None)) => Some(Waited::Over),
            Poll::Ready(Err(error)) => Some(Waited::Malformed(error)),
            Poll::Pending => None,
        };
        parts.clear();
        worker.request_parts.give_back(parts);
        match waited {
            Some(waited) => Poll::Ready(waited),
            None => self.poll_deadline(cx),
        }
    }

    /// Reads until a head is complete and says how long it was; `None` at the client's end.
    fn poll_read_head(
        &mut self,
        cx: &mut Context<'_>,
        parts: &mut RequestParts,
    ) -> Poll<Result<Option<usize>, RequestError>> {
        let settings = &self.listener.head_settings();
        loop {
            if self.unread.len() > self.tried_bytes && worth_parsing(&self.unread, self.tried_bytes)
            {
                match parts.head.parse(&self.unread, settings) {
                    Err(error) => return Poll::Ready(Err(error)),
                    Ok(Progress::Partial) => self.tried_bytes = self.unread.len(),
                    Ok(Progress::Complete { consumed }) => {
                        self.unread.drain(..consumed);
                        if self.unread.is_empty() {
                            recycle(&mut self.unread, 0);
                        }
                        return Poll::Ready(Ok(Some(consumed)));
                    }
                }
            }
            let mut scratch = self.worker.scratch.borrow();
            let len = match self.stream.poll_read(cx, &mut scratch) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(len)) => len,
            };
            if !self.unread.is_empty() {
                self.unread.extend_from_slice(&scratch[..len]);
                continue;
            }
            match parts.head.parse(&scratch[..len], settings) {
                Err(error) => return Poll::Ready(Err(error)),
                Ok(Progress::Partial) => {
                    self.unread.extend_from_slice(&scratch[..len]);
                    self.tried_bytes = len;
                }
                Ok(Progress::Complete { consumed }) => {
                    self.unread.extend_from_slice(&scratch[consumed..len]);
                    return Poll::Ready(Ok(Some(consumed)));
                }
            }
        }
    }

    /// Nothing to read: sets the deadline of what is waited for, and looks at it.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Waited> {
        let in_head = !self.unread.is_empty();
        if self.worker.is_draining() && !in_head {
            return self.poll_drained(cx);
        }
        let (head, idle) = self.listener.connection_timeouts();
        match self.phase {
            Phase::First => self.arm(head, true),
            Phase::Idle if in_head => self.arm(head, true),
            Phase::Idle => self.arm(idle, false),
            // The first byte of a head: from here the whole head has its time, not each byte.
            Phase::Armed { in_head: false } | Phase::Draining if in_head => {
                self.known_ms = self.worker.clock.now_ms();
                self.arm(head, true);
            }
            Phase::Armed { .. } | Phase::Draining => {}
        }
        if self.timer.poll_expired(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(if in_head {
            Waited::TooSlow
        } else {
            Waited::Over
        })
    }

    /// A draining worker gives an idle connection a moment: a request may be on its way already, and a
    /// close would lose it.
    fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<Waited> {
        if self.phase != Phase::Draining {
            self.phase = Phase::Draining;
            self.timer.set(self.worker.clock.now_ms(), DRAIN_IDLE_MS);
        }
        self.timer.poll_expired(cx).map(|()| Waited::Over)
    }

    fn arm(&mut self, after_ms: u64, in_head: bool) {
        self.phase = Phase::Armed { in_head };
        match after_ms {
            0 => self.timer.clear(),
            _ => self.timer.set(self.known_ms, after_ms),
        }
    }

    /// Serves the exchange of a head.
    async fn serve_one(&mut self, mut parts: Box<RequestParts>, head_bytes: usize) -> Next {
        let worker = Rc::clone(&self.worker);
        let mut state = worker.exchanges.take(|| Box::new(Exchange::new()));
        state.begin(Arrival {
            listener: self.listener.index(),
            snapshot: self.listener.snapshot(),
            peer: self.peer,
            now_us: worker.clock.now_us(),
            listener_is_retired: self.listener.is_retired(),
        });
        let transport = Http1Transport {
            worker: &worker,
            settings: self.listener.head_settings(),
        };
        let context = exchange::Context {
            worker: &worker,
            timer: &self.timer,
            transport: &transport,
        };
        let options = DownstreamOptions {
            body_bytes_max: state.listener().limits.body_bytes_max,
            enable_websocket: state.listener().protocol.enable_websocket,
        };
        let (stream, unread) = (&mut self.stream, &mut self.unread);
        let mut down = Http1Downstream::new(stream, unread, &mut parts, head_bytes, options);
        let ended = exchange::run(&context, &mut state, &mut down).await;
        let next = match ended {
            Ended::Exchange(next) => next,
            Ended::Tunnel(tunnel) => {
                // Boxed: rare, and larger than everything else here.
                Box::pin(tunnel::carry_tunnel(
                    &context, &mut state, &mut down, tunnel,
                ))
                .await;
                Next::Abort
            }
        };
        if next == Next::Abort && down.ends_with_close() {
            // Otherwise a client could take a broken response for a complete one (robustness BE-03).
            let _ = set_linger_zero(&*down.stream);
        }
        self.known_ms = state.known_ms();
        state.end();
        worker.exchanges.give_back(state);
        parts.clear();
        worker.request_parts.give_back(parts);
        next
    }

    /// Answers a request that could not be read.
    async fn refuse(mut self, error: RequestError) {
        let response = OwnResponse::error(error.cause(), error.status(), &error.to_string());
        self.answer_unread(&response, error.cause()).await;
    }

    /// RFC 9110 §15.5.9: the head did not come in time.
    async fn refuse_slow(mut self) {
        let response = OwnResponse::of_cause(Cause::ClientTimeout);
        self.answer_unread(&response, Cause::ClientTimeout).await;
    }

    async fn answer_unread(&mut self, response: &OwnResponse, cause: Cause) {
        let worker = Rc::clone(&self.worker);
        let mut parts = worker.request_parts.take(|| Box::new(RequestParts::new()));
        write_own(&mut parts.sink, response, false, ConnectionLine::Close);
        self.timer.set(worker.clock.now_ms(), LINGER_MS);
        let stream = &mut self.stream;
        let written = poll_fn(|cx| {
            if let Poll::Ready(result) = parts.sink.poll_flush(stream, cx) {
                return Poll::Ready(result.is_ok());
            }
            self.timer.poll_expired(cx).map(|()| false)
        })
        .await;
        let mut session = Session::new(self.peer, worker.clock.now_us());
        session.status = response.status;
        session.bytes_out = parts.sink.sent_bytes();
        session.settle(&worker, &self.listener, &self.listener.snapshot(), cause);
        parts.clear();
        worker.request_parts.give_back(parts);
        if written {
            self.drain_input().await;
        }
    }

    async fn linger(mut self) {
        self.drain_input().await;
    }

    /// Sends our FIN, then reads and throws away what the client is still sending, within bounds: a close
    /// with unread input would reset the connection, and the client could lose our answer to it.
    async fn drain_input(&mut self) {
        if self.stream.shutdown_write().is_err() {
            return;
        }
        recycle(&mut self.unread, KEPT_BYTES);
        self.timer.set(self.worker.clock.now_ms(), LINGER_MS);
        let mut left = self.listener.lingering_bytes_max();
        poll_fn(|cx| {
            loop {
                let mut scratch = self.worker.scratch.borrow();
                match self.stream.poll_read(cx, &mut scratch) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(len)) => {
                        left = left.saturating_sub(len as u64);
                        if left == 0 {
                            return Poll::Ready(());
                        }
                    }
                    Poll::Pending => return self.timer.poll_expired(cx),
                }
            }
        })
        .await;
    }
}
