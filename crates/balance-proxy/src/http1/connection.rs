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
use balance_proto::http2::frame::PREFACE;
use balance_proto::proxy_protocol::ConnectionEnds;
use tokio::task::coop;

use super::downstream::write_own;
use super::server::Server;
use super::sink::Sink;
use crate::budget::Held;
use crate::buffers::{KEPT_BYTES, recycle};
use crate::exchange::Next;
use crate::http2;
use crate::linger::linger;
use crate::maybe_tls::MaybeTls;
use crate::own_response::OwnResponse;
use crate::planted;
use crate::wheel::Timer;
use crate::worker::{
    ANSWER_MS, Connected, Counted, DRAIN_IDLE_MS, Session, Worker, WorkerListener,
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
            Waited::Http2 => {
                let (owner, listener, connected) = connection.into_connected();
                let worker = Rc::clone(&owner);
                return worker.spawn(http2::serve(owner, listener, connected));
            }
            Waited::Unfinished(cause) => {
                return Box::pin(connection.refuse_unfinished(cause)).await;
            }
            Waited::Over => return connection.stream.end(),
        };
        connection.held.set(connection.unread.len());
        connection.is_first = false;
        connection.counted.set_busy(true);
        server.start(connection, head_bytes);
        let next;
        (connection, next) = poll_fn(|cx| server.poll_served(cx)).await;
        connection.worker.servers.give_back(server);
        match next {
            Next::Keep => {
                connection.phase = Phase::Idle;
                connection.counted.set_busy(false);
            }
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
    /// No request has come yet: it may turn out to be HTTP/2.
    is_first: bool,
    /// A recent reading of the clock.
    pub(super) known_ms: u64,
    /// What `unread` counts against the worker's budget.
    held: Held,
    counted: Counted,
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
    /// It begins as one of HTTP/2. What was read is in `unread`.
    Http2,
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
            is_first: true,
            known_ms: worker.clock.now_ms(),
            held: worker.budget.holder(),
            counted: connected.counted,
            worker,
            listener,
        }
    }

    fn into_connected(self) -> (Rc<Worker>, Rc<WorkerListener>, Connected) {
        let connected = Connected {
            stream: self.stream,
            peer: self.peer,
            ends: self.ends,
            unread: self.unread,
            counted: self.counted,
        };
        (self.worker, self.listener, connected)
    }

    /// Whether a client speaks HTTP/2 that knew before that we do (RFC 9113 §3.3). Its preface is no request that
    /// HTTP/1 could read.
    fn begins_http2(&self, input: &[u8]) -> bool {
        let is_preface = PREFACE.starts_with(input) || input.starts_with(PREFACE);
        let is_cleartext = matches!(self.stream, MaybeTls::Plain(_));
        is_preface && self.is_first && is_cleartext && self.listener.enables_http2()
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
                    let used = match &waited {
                        Waited::Head { head_bytes, .. } => *head_bytes,
                        Waited::Http2 => 0,
                        _ => len,
                    };
                    if used < len {
                        self.unread.extend_from_slice(&scratch[used..len]);
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
                if self.begins_http2(input) {
                    return Some(Waited::Http2);
                }
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

    async fn drain_input(&mut self) {
        recycle(&mut self.unread, KEPT_BYTES);
        self.held.set(0);
        let bytes_max = self.listener.lingering_bytes_max();
        linger(&self.worker, &mut self.stream, &self.timer, bytes_max).await;
    }
}

/// Whether a head that cannot be read as a whole is one of HEAD, whose answer has no body (RFC 9110 §9.3.2).
fn asks_head(input: &[u8]) -> bool {
    let message = input.strip_prefix(b"\r\n").unwrap_or(input);
    message.starts_with(b"HEAD ")
}
