//! A client's HTTP/2 connection: one task that reads, runs the exchanges of its streams, and writes.
//!
//! ```text
//!   open ── GOAWAY in two steps, none left ──► closing ── written ──► lingering ──► closed
//!    │ │                                         ▲
//!    │ └ violation, flood, deadline, idle ───────┘ (exchanges end as aborted by their client)
//!    └── EOF, reset, a client that reads nothing ──► lost ── no exchange left ──► closed
//! ```
//!
//! Without streams it gives its memory back after a moment; what is left is the engine.

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use balance_core::Cause;
use balance_proto::http2::{
    Connection, ConnectionSettings, ErrorCode, Event, Role, StreamId, Violation,
};
use balance_proto::proxy_protocol::ConnectionEnds;

use super::link::{Link, SharedLink};
use super::own::{Asked, send_own};
use super::ready::ReadyList;
use super::server::{StreamClient, StreamJob, StreamServer};
use crate::budget::Held;
use crate::exchange::sides::ClientError;
use crate::linger::linger;
use crate::maybe_tls::MaybeTls;
use crate::own_response::OwnResponse;
use crate::wheel::Timer;
use crate::worker::{
    ANSWER_MS, Connected, Counted, DRAIN_IDLE_MS, Session, Worker, WorkerListener, ends_of,
};

/// Serves a connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, listener: Rc<WorkerListener>, connected: Connected) {
    let mut connection = Box::new(ClientConnection::new(worker, listener, connected));
    if poll_fn(|cx| connection.poll(cx)).await == End::Said {
        let ClientConnection {
            worker,
            stream,
            timer,
            listener,
            ..
        } = &mut *connection;
        linger(worker, stream, timer, listener.lingering_bytes_max()).await;
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client was told why and may be sending still.
    Said,
    /// Nobody is there.
    Lost,
}

/// A client's connection.
struct ClientConnection {
    worker: Rc<Worker>,
    listener: Rc<WorkerListener>,
    stream: MaybeTls,
    peer: IpAddr,
    /// Both ends, once a PROXY header told them or one has to tell them.
    ends: Option<Box<ConnectionEnds>>,
    server_name: Option<Rc<str>>,
    link: SharedLink,
    /// The exchanges, by their places.
    running: Vec<Option<Box<StreamServer>>>,
    running_count: usize,
    ready: ReadyList,
    /// The places that are looked at in one round.
    round: Vec<usize>,
    /// How much of the output is written.
    written: usize,
    is_blocked: bool,
    /// How it ends, once that is known.
    end: Option<End>,
    /// The client opens no more streams.
    is_last: bool,
    timer: Timer,
    waits_for: Option<Wait>,
    /// What the output counts against the worker's budget.
    held: Held,
    _counted: Counted,
}

/// What a connection waits for, and so which deadline runs. Each begins when it is first waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The client takes the output, of which so much was written.
    Write(usize),
    /// The rest of a frame or of a field block (robustness §2: slow streams).
    Rest,
    /// The answer to the first GOAWAY.
    Drain,
    /// Exchanges, each of which has its own deadlines.
    Exchanges,
    /// A stream, with the memory of the last ones.
    Pause,
    /// A stream, without.
    Idle,
}

impl ClientConnection {
    fn new(worker: Rc<Worker>, listener: Rc<WorkerListener>, connected: Connected) -> Self {
        let settings = ConnectionSettings {
            head: balance_proto::http1::HeadSettings {
                scheme: connected.stream.scheme(),
                ..listener.head_settings()
            },
            ..ConnectionSettings::default()
        };
        let places_max = places_max(&settings);
        let mut link = Link::new(Connection::new(Role::Server, settings));
        link.engine.start(&mut link.out);
        let mut connection = Self {
            server_name: connected.stream.server_name().map(Rc::from),
            stream: connected.stream,
            peer: connected.peer,
            ends: connected.ends,
            link: Rc::new(link.into()),
            running: Vec::new(),
            running_count: 0,
            ready: ReadyList::new(places_max),
            round: Vec::new(),
            written: 0,
            is_blocked: false,
            end: None,
            is_last: false,
            timer: worker.wheel.timer(),
            waits_for: None,
            held: worker.budget.holder(),
            _counted: connected.counted,
            worker,
            listener,
        };
        connection.read_frames(&connected.unread);
        connection
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.ready.set_task(cx);
        loop {
            loop {
                let has_read = self.poll_input(cx);
                self.wake_writable();
                self.poll_exchanges();
                let has_written = self.poll_output(cx);
                if !has_read && !has_written {
                    break;
                }
            }
            if let Some(end) = self.end
                && self.running_count == 0
                && (end == End::Lost || self.link.borrow().out.is_empty())
            {
                return Poll::Ready(end);
            }
            if !self.poll_deadline(cx) {
                return Poll::Pending;
            }
        }
    }

    /// Reads what is there, once, unless something has to be done first: what a client can make us say and keep is
    /// bounded by that.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> bool {
        if self.end.is_some() || self.is_stalled() {
            return false;
        }
        let worker = Rc::clone(&self.worker);
        let mut scratch = worker.scratch.borrow();
        match self.stream.poll_read(cx, &mut scratch) {
            Poll::Pending => false,
            // A client that cannot open windows any more cannot take part: there is no half-close in HTTP/2.
            Poll::Ready(Ok(0) | Err(_)) => {
                self.lose();
                true
            }
            Poll::Ready(Ok(len)) => {
                self.read_frames(&scratch[..len]);
                true
            }
        }
    }

    fn is_stalled(&self) -> bool {
        let link = self.link.borrow();
        let is_hoarding = link.inbox_bytes() > HOARD_BYTES_MAX && self.worker.budget.is_short();
        !link.out.is_empty() || is_hoarding
    }

    fn read_frames(&mut self, mut input: &[u8]) {
        let now = Instant::now();
        let link = Rc::clone(&self.link);
        while self.end.is_none() {
            let event = {
                let Link { engine, out, .. } = &mut *link.borrow_mut();
                engine.poll(now, &mut input, out)
            };
            match event {
                Ok(None) => break,
                Ok(Some(event)) => self.on_event(event),
                Err(violation) => self.on_violation(violation),
            }
        }
    }

    fn on_event(&mut self, event: Event<'_>) {
        match event {
            Event::Head { stream, ends } => self.begin(stream, ends),
            Event::Refused {
                stream,
                method,
                error,
            } => {
                let response = OwnResponse::unreadable(error);
                self.refuse(stream, &response, method);
            }
            Event::Data {
                stream,
                bytes,
                ends,
            } => {
                let place = self.link.borrow_mut().deliver(stream, bytes, ends);
                self.mark(place);
            }
            // To backends of HTTP/1 trailers are not passed (robustness SM-13).
            Event::Trailers { stream } => {
                let place = self.link.borrow_mut().deliver(stream, b"", true);
                self.mark(place);
            }
            Event::Reset { stream, .. } => {
                let place = self.link.borrow_mut().lose(stream, ClientError::Closed);
                self.mark(place);
            }
            Event::Failed { stream, violation } => {
                let place = self.link.borrow_mut().lose(stream, ClientError::Malformed);
                tracing::debug!(client = %self.peer, %violation, "an HTTP/2 stream is reset");
                if place.is_none() {
                    self.settle_unread(0, 0, Cause::HttpRequestError);
                }
                self.mark(place);
            }
            Event::GoAway { .. } => self.is_last = true,
            Event::Settings | Event::Pong { .. } => {}
        }
    }

    fn mark(&self, place: Option<usize>) {
        if let Some(place) = place {
            self.ready.mark(place);
        }
    }

    /// A request has come: its exchange runs from here on.
    fn begin(&mut self, stream: StreamId, ends: bool) {
        let mut link = self.link.borrow_mut();
        let Some(place) = link.open(stream, ends, places_max(&ConnectionSettings::default()))
        else {
            let Link { engine, out, .. } = &mut *link;
            engine.reset(out, stream, ErrorCode::REFUSED_STREAM);
            return;
        };
        let mut server = self
            .worker
            .stream_servers
            .take(|| Box::new(StreamServer::new()));
        let parts = server
            .parts
            .as_mut()
            .expect("a server that waits has its parts");
        link.engine.take_request(&mut parts.head);
        drop(link);
        if self.ends.is_none() && self.listener.snapshot().sends_proxy {
            self.ends = ends_of(self.stream.stream()).map(Box::new);
        }
        server.start(StreamJob {
            worker: Rc::clone(&self.worker),
            listener: Rc::clone(&self.listener),
            link: Rc::clone(&self.link),
            place,
            stream,
            client: StreamClient {
                server_name: self.server_name.clone(),
                peer: self.peer,
                ends: self.ends.as_deref().copied(),
                scheme: self.stream.scheme(),
            },
        });
        if self.running.len() <= place {
            self.running.resize_with(place + 1, || None);
        }
        self.running[place] = Some(server);
        self.running_count += 1;
        self.ready.mark(place);
        if self.waits_for != Some(Wait::Drain) {
            self.waits_for = None; // it is not idle any more, even if the exchange is over at once
        }
    }

    /// Answers a request whose head cannot be used; its content is thrown away.
    fn refuse(&mut self, stream: StreamId, response: &OwnResponse, method: balance_core::Method) {
        let mut sent_bytes = 0;
        {
            let Link { engine, out, .. } = &mut *self.link.borrow_mut();
            let before = out.len();
            let asked = Asked {
                method,
                is_grpc: false,
            };
            // What does not fit into the window is left out: a stream that was refused is not worth waiting for.
            if let Ok(body) = send_own(engine, out, stream, response, asked)
                && !body.is_empty()
            {
                let _ = engine.send_data(out, stream, body, true);
            }
            sent_bytes += (out.len() - before) as u64;
            engine.reset(out, stream, ErrorCode::NO_ERROR);
        }
        self.settle_unread(response.status, sent_bytes, response.cause);
    }

    /// Counts and logs what was no exchange.
    fn settle_unread(&self, status: u16, bytes_out: u64, cause: Cause) {
        let mut session = Session::new(self.peer, self.worker.clock.now_us());
        session.status = status;
        session.bytes_out = bytes_out;
        session.settle(&self.worker, &self.listener, cause);
    }

    fn on_violation(&mut self, violation: Violation) {
        tracing::debug!(client = %self.peer, %violation, "an HTTP/2 connection is closed");
        self.settle_unread(0, 0, Cause::HttpRequestError);
        self.finish(End::Said);
    }

    /// Ends the connection with a GOAWAY.
    fn close(&mut self, code: ErrorCode) {
        {
            let Link { engine, out, .. } = &mut *self.link.borrow_mut();
            engine.close(out, code);
        }
        self.finish(End::Said);
    }

    fn lose(&mut self) {
        self.finish(End::Lost);
        self.written = 0;
        self.is_blocked = false;
        self.link.borrow_mut().out.clear();
    }

    fn finish(&mut self, end: End) {
        self.end = Some(end);
        let ready = &self.ready;
        self.link.borrow_mut().lose_all(|place| ready.mark(place));
    }

    /// Tells the streams whose windows were opened.
    fn wake_writable(&mut self) {
        let mut link = self.link.borrow_mut();
        while let Some(stream) = link.engine.poll_writable() {
            self.mark(link.place(stream));
        }
    }

    /// Runs the exchanges that have something to do.
    fn poll_exchanges(&mut self) {
        let mut round = std::mem::take(&mut self.round);
        self.ready.take_round(&mut round);
        for place in &round {
            self.poll_exchange(*place);
        }
        self.round = round;
    }

    fn poll_exchange(&mut self, place: usize) {
        let Some(server) = self.running.get_mut(place).and_then(Option::as_mut) else {
            return; // woken by something that it does not wait for any more
        };
        let waker = self.ready.waker(place);
        let Poll::Ready((stream, code)) = server.poll_served(&mut Context::from_waker(&waker))
        else {
            return;
        };
        self.link.borrow_mut().close(stream, code);
        if let Some(server) = self.running[place].take() {
            self.worker.stream_servers.give_back(server);
        }
        self.running_count -= 1;
    }

    /// Writes the output. Whether it is all written now, and was not before.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> bool {
        let link = Rc::clone(&self.link);
        let mut link = link.borrow_mut();
        if link.out.is_empty() || self.end == Some(End::Lost) {
            return false;
        }
        while self.written < link.out.len() {
            match self.stream.poll_write(cx, &link.out[self.written..]) {
                Poll::Ready(Ok(taken @ 1..)) => self.written += taken,
                Poll::Ready(Ok(0) | Err(_)) => {
                    drop(link);
                    self.lose();
                    return true;
                }
                Poll::Pending => {
                    self.is_blocked = true;
                    self.held.set(link.out.len());
                    return false;
                }
            }
        }
        self.written = 0;
        self.is_blocked = false;
        self.held.set(0);
        let ready = &self.ready;
        link.on_written(|place| ready.mark(place));
        true
    }

    /// Nothing moves: sets the deadline of what is waited for, and looks at it. Whether something has changed.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> bool {
        if self.end.is_none() {
            self.look_after_drain();
            if self.end.is_some() || (!self.is_blocked && !self.link.borrow().out.is_empty()) {
                return true;
            }
        }
        let waits_for = self.wait();
        if self.waits_for != Some(waits_for) {
            let is_resumed = self.waits_for == Some(Wait::Idle) && waits_for == Wait::Pause;
            if !is_resumed {
                self.waits_for = Some(waits_for);
                let after_ms = self.timeout_ms(waits_for);
                self.timer
                    .set_unless_zero(self.worker.clock.now_ms(), after_ms);
            }
        }
        if self.timer.poll_expired(cx).is_pending() {
            return false;
        }
        if self.worker.is_cut() {
            return self.on_cut();
        }
        self.on_deadline();
        true
    }

    /// All deadlines have passed, those of the exchanges too.
    fn on_cut(&mut self) -> bool {
        if self.end.is_none() && self.running_count == 0 {
            self.close(ErrorCode::NO_ERROR);
            return true;
        }
        let is_blocked = self.end.is_some() && self.is_blocked;
        if is_blocked {
            self.lose();
        }
        is_blocked
    }

    fn wait(&self) -> Wait {
        if self.is_blocked {
            return Wait::Write(self.written);
        }
        let link = self.link.borrow();
        if link.engine.awaits_rest() && self.end.is_none() {
            Wait::Rest
        } else if self.is_ending() && self.end.is_none() {
            Wait::Drain
        } else if self.running_count > 0 {
            Wait::Exchanges
        } else {
            Wait::Pause
        }
    }

    fn timeout_ms(&self, waits_for: Wait) -> u64 {
        let (head_ms, idle_ms) = self.listener.connection_timeouts();
        match waits_for {
            Wait::Write(_) if self.end.is_some() => ANSWER_MS,
            Wait::Write(_) => self.listener.write_progress_ms(),
            Wait::Rest => head_ms,
            Wait::Drain => DRAIN_IDLE_MS,
            Wait::Exchanges => 0,
            Wait::Pause => match idle_ms {
                0 => PAUSE_MS,
                idle_ms => PAUSE_MS.min(idle_ms),
            },
            Wait::Idle => match idle_ms {
                0 => 0,
                idle_ms => idle_ms.saturating_sub(PAUSE_MS).max(1),
            },
        }
    }

    fn on_deadline(&mut self) {
        match self.waits_for {
            Some(Wait::Write(_)) => self.lose(),
            Some(Wait::Rest) => {
                self.settle_unread(0, 0, Cause::ClientTimeout);
                self.close(ErrorCode::ENHANCE_YOUR_CALM);
            }
            Some(Wait::Drain) => {
                let Link { engine, out, .. } = &mut *self.link.borrow_mut();
                engine.finish_drain(out);
                self.timer.clear();
            }
            Some(Wait::Pause) => {
                self.link.borrow_mut().release_memory();
                self.running = Vec::new();
                self.round = Vec::new();
                self.ready.release_memory();
                self.waits_for = Some(Wait::Idle);
                let idle_ms = self.timeout_ms(Wait::Idle);
                self.timer
                    .set_unless_zero(self.worker.clock.now_ms(), idle_ms);
            }
            Some(Wait::Idle | Wait::Exchanges) | None => self.close(ErrorCode::NO_ERROR),
        }
    }

    /// Whether the connection is to take no more streams.
    fn is_ending(&self) -> bool {
        self.worker.is_draining() || self.listener.is_retired()
    }

    /// Begins a drain, and ends the connection when it is over.
    fn look_after_drain(&mut self) {
        let is_drained = {
            let Link { engine, out, .. } = &mut *self.link.borrow_mut();
            if self.is_ending() {
                engine.drain(out);
            }
            engine.is_drained()
        };
        if self.running_count > 0 {
            return;
        }
        if is_drained {
            self.finish(End::Said);
        } else if self.is_last {
            self.close(ErrorCode::NO_ERROR);
        }
    }
}

/// As many as streams may be open, and as many again as may be reset before that is a flood: an exchange may outlive its
/// stream for a moment.
fn places_max(settings: &ConnectionSettings) -> usize {
    (settings.streams_max + settings.budget.resets_max) as usize
}

/// How long a connection without streams keeps what the next ones would need.
const PAUSE_MS: u64 = 1_000;

/// How much may have come for exchanges that do not take it while the worker is short of memory.
const HOARD_BYTES_MAX: usize = 16 * 1024;
