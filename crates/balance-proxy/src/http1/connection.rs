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
use std::task::{Context, Poll, ready};

use balance_core::Cause;
use balance_net::{PeerState, peer_state};
use balance_proto::http1::{ConnectionLine, HeadSettings, Progress, RequestError, worth_parsing};
use balance_proto::proxy_protocol::ConnectionEnds;
use tokio::task::coop;

use super::downstream::write_own;
use super::server::Server;
use super::sink::Sink;
use crate::budget::Held;
use crate::buffers::{KEPT_BYTES, recycle};
use crate::exchange::Next;
use crate::maybe_tls::MaybeTls;
use crate::own_response::OwnResponse;
use crate::planted;
use crate::wheel::Timer;
use crate::worker::{
    ANSWER_MS, Connected, Counted, DRAIN_IDLE_MS, LINGER_IDLE_MS, LINGER_TOTAL_MS, Session, Worker,
    WorkerListener,
};

/// Serves a connection to its end. Its future is what an idle connection costs: everything that is only
/// needed now and then is boxed or belongs to a [`Server`].
pub(crate) async fn serve(worker: Rc<Worker>, listener: Rc<WorkerListener>, connected: Connected) {
    let mut connection = Box::new(Connection::new(worker, listener, connected));
    loop {
        let (mut server, head_bytes) = match poll_fn(|cx| connection.poll_head(cx)).await {
            Waited::Head { server, head_bytes } => (server, head_bytes),
            Waited::Malformed { error, asks_head } => {
                return Box::pin(connection.refuse(error, asks_head)).await;
            }
            Waited::Unfinished(cause) => {
                return Box::pin(connection.refuse_unfinished(cause)).await;
            }
            Waited::Over => return connection.stream.end(),
        };
        connection.held.set(connection.unread.len());
        server.start(connection, head_bytes);
        let next;
        (connection, next) = poll_fn(|cx| server.poll_served(cx)).await;
        connection.worker.servers.give_back(server);
        match next {
            Next::Keep => connection.phase = Phase::Idle,
            Next::Close if connection.has_nothing_unread() => return connection.stream.end(),
            Next::Close | Next::Linger => return Box::pin(connection.linger()).await,
            Next::Abort => return,
        }
    }
}

/// Answers a request that came in the clear where TLS is spoken: a browser then shows what is wrong.
pub(crate) async fn refuse_cleartext(
    worker: Rc<Worker>,
    listener: Rc<WorkerListener>,
    connected: Connected,
) {
    let mut connection = Connection::new(worker, listener, connected);
    let response = OwnResponse::bad_request("this port speaks TLS; use https://");
    let asks_head = asks_head(&connection.unread);
    connection
        .answer_unread(&response, asks_head, response.cause)
        .await;
}

/// A client's connection. Boxed, since it goes back and forth between its task and a server.
pub(super) struct Connection {
    pub(super) worker: Rc<Worker>,
    pub(super) listener: Rc<WorkerListener>,
    pub(super) stream: MaybeTls,
    pub(super) peer: IpAddr,
    /// Both ends, once a PROXY header told them or one has to tell them.
    pub(super) ends: Option<Box<ConnectionEnds>>,
    /// Read and not used: a head that is not complete, or pipelined requests.
    pub(super) unread: Vec<u8>,
    /// How much of `unread` was tried as a head.
    tried_bytes: usize,
    pub(super) timer: Timer,
    phase: Phase,
    /// A recent reading of the clock.
    pub(super) known_ms: u64,
    /// What `unread` counts against the worker's budget.
    held: Held,
    _counted: Counted,
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
    /// The head is in the server's parts.
    Head {
        server: Box<Server>,
        head_bytes: usize,
    },
    Malformed {
        error: RequestError,
        asks_head: bool,
    },
    /// The head was not complete in time, or there is no memory to wait for its rest.
    Unfinished(Cause),
    /// Closed by the client, idle for too long, or drained.
    Over,
}

impl Connection {
    fn new(worker: Rc<Worker>, listener: Rc<WorkerListener>, connected: Connected) -> Self {
        Self {
            stream: connected.stream,
            peer: connected.peer,
            ends: connected.ends,
            unread: connected.unread,
            tried_bytes: 0,
            timer: worker.wheel.timer(),
            phase: Phase::First,
            known_ms: worker.clock.now_ms(),
            held: worker.budget.holder(),
            _counted: connected.counted,
            worker,
            listener,
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Waited> {
        loop {
            if self.unread.len() > self.tried_bytes && worth_parsing(&self.unread, self.tried_bytes)
            {
                // Requests that came in one read, answered from here, would keep the worker to themselves.
                ready!(coop::poll_proceed(cx)).made_progress();
                let unread = std::mem::take(&mut self.unread);
                let parsed = self.parse_head(&unread);
                self.unread = unread;
                match parsed {
                    Some(waited) => {
                        if let Waited::Head { head_bytes, .. } = &waited {
                            self.unread.drain(..*head_bytes);
                            if self.unread.is_empty() {
                                self.unread = Vec::new();
                            }
                        }
                        return Poll::Ready(waited);
                    }
                    None => self.tried_bytes = self.unread.len(),
                }
            }
            let worker = Rc::clone(&self.worker);
            let mut scratch = worker.scratch.borrow();
            let len = match self.stream.poll_read(cx, &mut scratch) {
                Poll::Pending => break,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Waited::Over),
                Poll::Ready(Ok(len)) => len,
            };
            if !self.unread.is_empty() {
                self.unread.extend_from_slice(&scratch[..len]);
                continue;
            }
            match self.parse_head(&scratch[..len]) {
                Some(waited) => {
                    if let Waited::Head { head_bytes, .. } = &waited
                        && *head_bytes < len
                    {
                        self.unread.extend_from_slice(&scratch[*head_bytes..len]);
                    }
                    return Poll::Ready(waited);
                }
                None => {
                    self.unread.extend_from_slice(&scratch[..len]);
                    self.tried_bytes = len;
                }
            }
        }
        self.poll_deadline(cx)
    }

    /// Tries `input` as a head. `None`: more input is needed.
    fn parse_head(&mut self, input: &[u8]) -> Option<Waited> {
        planted::panic_over("head", input);
        let mut server = self.worker.servers.take(|| Box::new(Server::new()));
        let parts = server
            .parts
            .as_mut()
            .expect("a server that waits has its parts");
        let parsed = parts.head.parse(input, &self.head_settings());
        match parsed {
            Ok(Progress::Complete { consumed }) => {
                self.tried_bytes = 0;
                Some(Waited::Head {
                    server,
                    head_bytes: consumed,
                })
            }
            Ok(Progress::Partial) => {
                self.worker.servers.give_back(server);
                None
            }
            Err(error) => {
                self.worker.servers.give_back(server);
                Some(Waited::Malformed {
                    error,
                    asks_head: asks_head(input),
                })
            }
        }
    }

    fn head_settings(&self) -> HeadSettings {
        HeadSettings {
            scheme: self.stream.scheme(),
            ..self.listener.head_settings()
        }
    }

    /// Nothing to read: sets the deadline of what is waited for, and looks at it.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Waited> {
        let in_head = !self.unread.is_empty();
        self.held.set(self.unread.len());
        if in_head && self.worker.budget.is_short() {
            return Poll::Ready(Waited::Unfinished(Cause::Overloaded));
        }
        let is_ending = self.worker.is_draining() || self.listener.is_retired();
        if is_ending && !in_head {
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
            Waited::Unfinished(Cause::ClientTimeout)
        } else {
            Waited::Over
        })
    }

    /// A draining worker, or a listener that was removed, gives an idle connection a moment: a request may
    /// be on its way already, and a close would lose it.
    fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<Waited> {
        if self.phase != Phase::Draining {
            self.phase = Phase::Draining;
            self.timer.set(self.worker.clock.now_ms(), DRAIN_IDLE_MS);
        }
        self.timer.poll_expired(cx).map(|()| Waited::Over)
    }

    fn arm(&mut self, after_ms: u64, in_head: bool) {
        self.phase = Phase::Armed { in_head };
        self.timer.set_unless_zero(self.known_ms, after_ms);
    }

    /// Answers a request that could not be read.
    async fn refuse(mut self: Box<Self>, error: RequestError, asks_head: bool) {
        let response = OwnResponse::unreadable(error);
        self.answer_unread(&response, asks_head, error.cause())
            .await;
    }

    /// Answers a head that will not be waited for any longer: 408 (RFC 9110 §15.5.9) or 503.
    async fn refuse_unfinished(mut self: Box<Self>, cause: Cause) {
        let response = OwnResponse::of_cause(cause);
        let asks_head = asks_head(&self.unread);
        self.answer_unread(&response, asks_head, cause).await;
    }

    async fn answer_unread(&mut self, response: &OwnResponse, asks_head: bool, cause: Cause) {
        let mut sink = Sink::new();
        write_own(&mut sink, response, asks_head, ConnectionLine::Close);
        self.timer.set(self.worker.clock.now_ms(), ANSWER_MS);
        let stream = &mut self.stream;
        let written = poll_fn(|cx| {
            if let Poll::Ready(result) = sink.poll_flush(stream, cx) {
                return Poll::Ready(result.is_ok());
            }
            self.timer.poll_expired(cx).map(|()| false)
        })
        .await;
        let mut session = Session::new(self.peer, self.worker.clock.now_us());
        session.status = response.status;
        session.bytes_out = sink.sent_bytes();
        session.settle(&self.worker, &self.listener, cause);
        if written {
            self.drain_input().await;
        }
    }

    /// Whether the client has sent nothing that we did not read: closing would reset the connection, and
    /// the reset could overtake our response.
    fn has_nothing_unread(&self) -> bool {
        self.unread.is_empty() && peer_state(&self.stream) != PeerState::Data
    }

    async fn linger(mut self: Box<Self>) {
        self.drain_input().await;
    }

    /// Sends our FIN, then reads and throws away what the client is still sending, within bounds: a close
    /// with unread input would reset the connection, and the client could lose our answer to it.
    async fn drain_input(&mut self) {
        recycle(&mut self.unread, KEPT_BYTES);
        self.held.set(0);
        let clock = self.worker.clock;
        let end_ms = clock.now_ms() + LINGER_TOTAL_MS;
        self.timer.set(clock.now_ms(), LINGER_IDLE_MS);
        let mut left = match self.listener.lingering_bytes_max() {
            0 => u64::MAX,
            bytes => bytes,
        };
        let mut is_shut = false;
        poll_fn(|cx| {
            loop {
                if !is_shut {
                    match self.stream.poll_shutdown(cx) {
                        Poll::Pending => {} // what comes is read all the same
                        Poll::Ready(Ok(())) => is_shut = true,
                        Poll::Ready(Err(_)) => return Poll::Ready(()),
                    }
                }
                let mut scratch = self.worker.scratch.borrow();
                let len = match self.stream.poll_read(cx, &mut scratch) {
                    Poll::Pending => return self.timer.poll_expired(cx),
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(len)) => len,
                };
                let now_ms = clock.now_ms();
                left = left.saturating_sub(len as u64);
                if left == 0 || now_ms >= end_ms || self.worker.is_cut() {
                    return Poll::Ready(());
                }
                self.timer.set(now_ms, LINGER_IDLE_MS.min(end_ms - now_ms));
            }
        })
        .await;
    }
}

/// Whether a head that cannot be read as a whole is one of HEAD, whose answer has no body (RFC 9110 §9.3.2).
fn asks_head(input: &[u8]) -> bool {
    let message = input.strip_prefix(b"\r\n").unwrap_or(input);
    message.starts_with(b"HEAD ")
}
