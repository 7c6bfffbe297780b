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

mod deadlines;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use balance_core::Cause;
use balance_proto::http2::{
    Connection, ConnectionSettings, ErrorCode, Event, Role, StreamId, Violation,
};
use balance_proto::proxy_protocol::ConnectionEnds;

use deadlines::Wait;

use super::link::{Link, SharedLink};
use super::output::{Output, Written};
use super::own::{Asked, send_own};
use super::ready::ReadyList;
use super::server::{StreamClient, StreamJob, StreamServer};
use crate::exchange::sides::ClientError;
use crate::linger::Linger;
use crate::maybe_tls::MaybeTls;
use crate::own_response::OwnResponse;
use crate::wheel::Timer;
use crate::worker::{Connected, Counted, Session, Worker, WorkerListener, ends_of};

/// Serves a connection to its end.
pub(crate) fn serve(
    worker: Rc<Worker>,
    listener: Rc<WorkerListener>,
    connected: Connected,
) -> Serving {
    Serving(Box::new(ClientConnection::new(worker, listener, connected)))
}

/// A connection that is served. No async block: what the task of an idle connection stores is this pointer.
pub(crate) struct Serving(Box<ClientConnection>);

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let connection = &mut *self.0;
        if connection.linger.is_none() {
            match ready!(connection.poll(cx)) {
                End::Lost => return Poll::Ready(()),
                End::Said => connection.begin_linger(),
            }
        }
        connection.poll_linger(cx)
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
    /// What its streams stand on, once there are any.
    client: Option<Rc<StreamClient>>,
    link: SharedLink,
    /// The exchanges, by their places.
    running: Vec<Option<Box<StreamServer>>>,
    running_count: usize,
    ready: ReadyList,
    /// The places that are looked at in one round.
    round: Vec<usize>,
    output: Output,
    /// How it ends, once that is known.
    end: Option<End>,
    /// The client opens no more streams.
    is_last: bool,
    /// How many more requests it serves.
    requests_left: u32,
    timer: Timer,
    waits_for: Option<Wait>,
    /// The client may still be sending, and nothing is said any more.
    linger: Option<Box<Linger>>,
    counted: Counted,
}

impl ClientConnection {
    fn new(worker: Rc<Worker>, listener: Rc<WorkerListener>, connected: Connected) -> Self {
        let settings = listener.http2_settings(connected.stream.scheme());
        let places_max = places_max(&settings);
        let mut link = Link::new(Connection::new(Role::Server, settings));
        link.engine.start(&mut link.out);
        let mut connection = Self {
            client: None,
            stream: connected.stream,
            peer: connected.peer,
            ends: connected.ends,
            link: Rc::new(link.into()),
            running: Vec::new(),
            running_count: 0,
            ready: ReadyList::new(places_max),
            round: Vec::new(),
            output: Output::new(&worker.budget),
            end: None,
            is_last: false,
            requests_left: listener.http2_requests_max(),
            timer: worker.wheel.timer(),
            waits_for: None,
            linger: None,
            counted: connected.counted,
            worker,
            listener,
        };
        connection.read_frames(&connected.unread);
        connection
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            loop {
                let has_read = self.poll_input(cx);
                self.wake_writable();
                self.poll_exchanges(cx);
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

    fn begin_linger(&mut self) {
        let bytes_max = self.listener.lingering_bytes_max();
        let linger = Linger::begin(&self.worker, &self.timer, bytes_max);
        self.linger = Some(Box::new(linger));
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.linger {
            Some(linger) => linger.poll(&self.worker, &mut self.stream, &self.timer, cx),
            None => Poll::Ready(()),
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
        let now_us = self.worker.clock.us_at(now);
        let link = Rc::clone(&self.link);
        while self.end.is_none() {
            let event = {
                let Link { engine, out, .. } = &mut *link.borrow_mut();
                engine.poll(now, &mut input, out)
            };
            match event {
                Ok(None) => break,
                Ok(Some(event)) => self.on_event(event, now_us),
                Err(violation) => self.on_violation(violation),
            }
        }
    }

    fn on_event(&mut self, event: Event<'_>, now_us: u64) {
        match event {
            Event::Head { stream, ends } => self.begin(stream, ends, now_us),
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
            Event::Trailers { stream } => {
                let place = self.link.borrow_mut().deliver_trailers(stream);
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

    fn mark(&mut self, place: Option<usize>) {
        if let Some(place) = place {
            self.ready.mark(place);
        }
    }

    /// A request has come: its exchange runs from here on.
    fn begin(&mut self, stream: StreamId, ends: bool, arrived_us: u64) {
        self.requests_left = self.requests_left.saturating_sub(1);
        let mut link = self.link.borrow_mut();
        let places_max = places_max(link.engine.settings());
        let Some(place) = link.open(stream, ends, places_max) else {
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
        server.start(StreamJob {
            client: self.client(),
            place,
            stream,
            arrived_us,
        });
        if self.running.len() <= place {
            self.running.resize_with(place + 1, || None);
        }
        self.running[place] = Some(server);
        self.running_count += 1;
        self.counted.set_busy(true);
        self.ready.mark(place);
        if self.waits_for != Some(Wait::Drain) {
            self.waits_for = None; // it is not idle any more, even if the exchange is over at once
        }
    }

    /// What its streams stand on.
    fn client(&mut self) -> Rc<StreamClient> {
        if self.ends.is_none() && self.listener.snapshot().sends_proxy {
            self.ends = ends_of(self.stream.stream()).map(Box::new);
            self.client = None;
        }
        let client = self.client.get_or_insert_with(|| {
            Rc::new(StreamClient {
                worker: Rc::clone(&self.worker),
                listener: Rc::clone(&self.listener),
                link: Rc::clone(&self.link),
                server_name: self.stream.server_name().map(Box::from),
                peer: self.peer,
                ends: self.ends.as_deref().copied(),
                scheme: self.stream.scheme(),
            })
        });
        Rc::clone(client)
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
        self.output.discard(&mut self.link.borrow_mut());
    }

    fn finish(&mut self, end: End) {
        self.end = Some(end);
        let ready = &mut self.ready;
        self.link.borrow_mut().lose_all(|place| ready.mark(place));
    }

    /// Tells the streams whose windows were opened.
    fn wake_writable(&mut self) {
        let mut link = self.link.borrow_mut();
        while let Some(stream) = link.engine.poll_writable() {
            if let Some(place) = link.place(stream) {
                self.ready.mark(place);
            }
        }
    }

    /// Runs the exchanges that have something to do.
    fn poll_exchanges(&mut self, cx: &Context<'_>) {
        let mut round = std::mem::take(&mut self.round);
        self.ready.take_round(cx, &mut round);
        if !round.is_empty() {
            self.link.borrow_mut().begin_round(round.len());
            for place in &round {
                self.poll_exchange(*place);
            }
            self.link.borrow_mut().end_round(&mut round);
            for place in &round {
                self.poll_exchange(*place);
            }
        }
        self.round = round;
    }

    fn poll_exchange(&mut self, place: usize) {
        let Some(server) = self.running.get_mut(place).and_then(Option::as_mut) else {
            return; // woken by something that it does not wait for any more
        };
        let waker = self.ready.waker(place);
        let Poll::Ready((stream, code)) = server.poll_served(&mut Context::from_waker(waker))
        else {
            return;
        };
        self.link.borrow_mut().close(stream, code);
        if let Some(server) = self.running[place].take() {
            self.worker.stream_servers.give_back(server);
        }
        self.running_count -= 1;
        self.counted.set_busy(self.running_count > 0);
    }

    /// Writes the output. Whether that changed something: it is all written now, or the client is lost.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> bool {
        let (stream, ready) = (&mut self.stream, &mut self.ready);
        let mut link = self.link.borrow_mut();
        let on_place = |place, _: &_| ready.mark(place);
        let written = self.output.poll_write(stream, &mut link, cx, on_place);
        drop(link);
        match written {
            Written::Nothing | Written::Blocked => false,
            Written::All => true,
            Written::Broken => {
                self.lose();
                true
            }
        }
    }
}

/// As many as streams may be open, and as many again as may be reset before that is a flood: an exchange may outlive its
/// stream for a moment.
fn places_max(settings: &ConnectionSettings) -> usize {
    (settings.streams_max + settings.budget.resets_max) as usize
}

/// How much may have come for exchanges that do not take it while the worker is short of memory.
const HOARD_BYTES_MAX: usize = 16 * 1024;
