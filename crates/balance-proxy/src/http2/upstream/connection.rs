//! A connection to a backend: one task that reads, writes, and has the deadlines.
//!
//! ```text
//!   opening ── SETTINGS ──► open ── GOAWAY, a mistake, a reload ──► retired ── no stream left ──► lost
//!      │                     │ └── idle for too long, drain ───────────────────────────────────────▲
//!      └──── EOF, violation, deadline ────────────────────────────────────────────────────────────┘
//! ```

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use balance_proto::http2::{ErrorCode, Event, StreamId, Violation};

use super::shared::{Awaited, Fate, Shared, State, UpstreamLink};
use crate::http2::link::Link;
use crate::http2::output::{Output, Written};
use crate::maybe_tls::MaybeTls;
use crate::upstream::{ConnectError, IdlePlace, Member};
use crate::wheel::Timer;
use crate::worker::Worker;

/// What a connection's task has for itself.
pub(super) struct BackendConnection {
    worker: Rc<Worker>,
    member: Member,
    shared: Rc<Shared>,
    stream: MaybeTls,
    output: Output,
    /// The backend takes nothing any more.
    is_deaf: bool,
    timer: Timer,
    waits_for: Option<Wait>,
    limits: ConnectionLimits,
    /// There while it is idle.
    idle_place: Option<IdlePlace>,
}

/// Deadlines, in milliseconds; 0 = none.
#[derive(Clone, Copy)]
pub(super) struct ConnectionLimits {
    /// Until the backend has sent its SETTINGS.
    pub(super) open_ms: u64,
    /// Between two writes that make progress.
    pub(super) write_progress_ms: u64,
}

/// What a connection waits for, and so which deadline runs. Each begins when it is first waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The backend takes the output, of which so much was written.
    Write(usize),
    /// Its SETTINGS, then the first stream.
    First,
    /// Whether it lives.
    Pong,
    /// The rest of a frame or of a field block.
    Rest,
    /// Streams, whose attempts have their own deadlines.
    Streams,
    /// A stream, with the memory of the last ones.
    Pause,
    /// A stream, without.
    Idle,
}

impl BackendConnection {
    pub(super) fn new(
        worker: &Rc<Worker>,
        member: &Member,
        shared: &Rc<Shared>,
        stream: MaybeTls,
        limits: ConnectionLimits,
    ) -> Self {
        Self {
            worker: Rc::clone(worker),
            member: member.clone(),
            shared: Rc::clone(shared),
            stream,
            output: Output::new(&worker.budget),
            is_deaf: false,
            timer: worker.wheel.timer(),
            waits_for: None,
            limits,
            idle_place: None,
        }
    }

    /// Runs it to its end.
    pub(super) async fn run(mut self: Box<Self>) {
        poll_fn(|cx| self.poll(cx)).await;
        self.stream.end();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.task.borrow_mut().clone_from(cx.waker());
        loop {
            loop {
                let has_read = self.poll_input(cx);
                self.wake_writable();
                let has_written = self.poll_output(cx);
                if !has_read && !has_written {
                    break;
                }
            }
            if self.is_lost() {
                return Poll::Ready(());
            }
            if !self.poll_deadline(cx) {
                return Poll::Pending;
            }
        }
    }

    fn is_lost(&self) -> bool {
        matches!(self.shared.state.get(), State::Lost(_))
    }

    /// Reads what is there, once. What a backend can make us say is bounded by the engine; what we have to send must not
    /// keep us from reading, or two that wait for each other would wait for ever.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> bool {
        if self.is_lost() || self.is_stalled() {
            return false;
        }
        let worker = Rc::clone(&self.worker);
        let mut scratch = worker.scratch.borrow();
        match self.stream.poll_read(cx, &mut scratch) {
            Poll::Pending => false,
            Poll::Ready(Ok(0) | Err(_)) => {
                let why = self.stream.fault();
                let error = why.map_or(ConnectError::NotHttp2, ConnectError::Tls);
                self.lose(Fate::Closed, error);
                true
            }
            Poll::Ready(Ok(len)) => {
                let received = &self.shared.received_bytes;
                received.set(received.get() + len as u64);
                self.read_frames(&scratch[..len]);
                true
            }
        }
    }

    fn is_stalled(&self) -> bool {
        let link = self.shared.link.borrow();
        let is_hoarding = link.inbox_bytes() > HOARD_BYTES_MAX && self.worker.budget.is_short();
        self.shared.is_stalled.set(is_hoarding);
        is_hoarding || link.out.len() > OUT_BYTES_MAX
    }

    fn read_frames(&mut self, mut input: &[u8]) {
        let now = Instant::now();
        let shared = Rc::clone(&self.shared);
        let link = &mut *shared.link.borrow_mut();
        loop {
            let Link { engine, out, .. } = link;
            match engine.poll(now, &mut input, out) {
                Ok(None) => return,
                Ok(Some(event)) => self.on_event(link, event),
                Err(violation) => {
                    self.complain(violation);
                    let fate = Fate::Malformed;
                    lose_all(link, fate);
                    self.shared.go(State::Lost(ConnectError::NotHttp2));
                    return;
                }
            }
        }
    }

    fn complain(&self, violation: Violation) {
        let backend = self.member.name();
        tracing::warn!(backend, %violation, "a backend breaks the rules of HTTP/2");
    }

    fn on_event(&self, link: &mut UpstreamLink, event: Event<'_>) {
        match event {
            Event::Head { stream, ends } => self.on_head(link, stream, ends),
            Event::Data {
                stream,
                bytes,
                ends,
            } => {
                let place = link.deliver(stream, bytes, ends);
                wake(link, place);
            }
            Event::Trailers { stream } => {
                let place = link.deliver_trailers(stream);
                wake(link, place);
            }
            Event::Reset { stream, code } => lose_one(
                link,
                stream,
                match code {
                    ErrorCode::REFUSED_STREAM => Fate::Unprocessed,
                    _ => Fate::Reset,
                },
            ),
            Event::Failed { stream, violation } => {
                self.complain(violation);
                lose_one(link, stream, Fate::Malformed);
                // What it says on other streams cannot be trusted either.
                self.shared.go(State::Retired);
            }
            Event::GoAway { code, .. } => {
                let backend = self.member.name();
                tracing::debug!(
                    backend,
                    code = code.name(),
                    "a backend takes no more streams"
                );
                self.shared.go(State::Retired);
            }
            Event::Settings if self.shared.state.get() == State::Opening => {
                self.shared.go(State::Open);
            }
            Event::Pong { .. } => self.shared.is_doubtful.set(false),
            // The second is for servers alone.
            Event::Settings | Event::Refused { .. } => {}
        }
    }

    fn on_head(&self, link: &mut UpstreamLink, stream: StreamId, ends: bool) {
        let Some(place) = link.place(stream) else {
            return;
        };
        let (engine, awaited) = link.with_engine(place);
        if !awaited.push_head(engine) {
            let Link { engine, out, .. } = link;
            engine.reset(out, stream, ErrorCode::ENHANCE_YOUR_CALM);
            lose_one(link, stream, Fate::Malformed);
            self.shared.go(State::Retired);
            return;
        }
        if ends {
            link.deliver(stream, b"", true);
        }
        wake(link, Some(place));
    }

    /// The connection is gone, and with it all streams.
    fn lose(&mut self, fate: Fate, error: ConnectError) {
        lose_all(&mut self.shared.link.borrow_mut(), fate);
        self.shared.go(State::Lost(error));
    }

    /// Tells the streams whose windows were opened.
    fn wake_writable(&self) {
        let mut link = self.shared.link.borrow_mut();
        while let Some(stream) = link.engine.poll_writable() {
            let place = link.place(stream);
            wake(&mut link, place);
        }
    }

    /// Writes the output. Whether that changed something: it is all written now, or never will be.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> bool {
        let mut link = self.shared.link.borrow_mut();
        let on_place = |_, awaited: &Awaited| awaited.wake();
        let written = self
            .output
            .poll_write(&mut self.stream, &mut link, cx, on_place);
        match written {
            Written::Nothing | Written::Blocked => false,
            Written::All => true,
            // What came before is read first: perhaps answers, or why.
            Written::Broken => {
                self.output.discard(&mut link);
                self.is_deaf = true;
                true
            }
        }
    }

    /// Nothing moves: sets the deadline of what is waited for, and looks at it. Whether something has changed.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> bool {
        if self.is_deaf {
            self.lose(Fate::Closed, ConnectError::Refused);
            return true;
        }
        if self.ends_now() {
            self.say_goodbye(cx);
            return true;
        }
        let waits_for = self.wait();
        let is_resumed = self.waits_for == Some(Wait::Idle) && waits_for == Wait::Pause;
        if self.waits_for != Some(waits_for) && !is_resumed {
            self.waits_for = Some(waits_for);
            let after_ms = self.timeout_ms(waits_for);
            self.timer
                .set_unless_zero(self.worker.clock.now_ms(), after_ms);
        }
        if waits_for != Wait::Pause {
            self.idle_place = None;
        } else if self.idle_place.is_none() {
            self.idle_place = self.member.idle().hold();
            if self.idle_place.is_none() {
                self.shared.go(State::Retired);
                return true;
            }
        }
        if self.timer.poll_expired(cx).is_pending() {
            return false;
        }
        self.on_deadline(cx)
    }

    /// Whether nobody needs it any more.
    fn ends_now(&self) -> bool {
        let is_last = match self.shared.state.get() {
            State::Opening => false,
            State::Open => self.worker.is_draining() && self.shared.has_served.get(),
            State::Retired | State::Lost(_) => true,
        };
        is_last && !self.output.is_blocked() && self.shared.link.borrow().is_empty()
    }

    fn wait(&self) -> Wait {
        if let Some(written) = self.output.blocked_at() {
            return Wait::Write(written);
        }
        let link = self.shared.link.borrow();
        if self.shared.state.get() == State::Opening || !self.shared.has_served.get() {
            Wait::First
        } else if self.shared.is_doubtful.get() {
            Wait::Pong
        } else if link.engine.awaits_rest() {
            Wait::Rest
        } else if !link.is_empty() {
            Wait::Streams
        } else {
            Wait::Pause
        }
    }

    fn timeout_ms(&self, waits_for: Wait) -> u64 {
        let idle_ms = self.member.idle().timeout_ms();
        match waits_for {
            Wait::Write(_) => self.limits.write_progress_ms,
            Wait::First => self.limits.open_ms,
            Wait::Pong => PONG_MS,
            Wait::Rest => REST_MS,
            Wait::Streams => 0,
            Wait::Pause => PAUSE_MS.min(idle_ms.max(1)),
            Wait::Idle => idle_ms.saturating_sub(PAUSE_MS).max(1),
        }
    }

    fn on_deadline(&mut self, cx: &mut Context<'_>) -> bool {
        if self.worker.is_cut() {
            // All deadlines have passed, those of the attempts too: they end first.
            let has_streams = !self.shared.link.borrow().is_empty();
            if has_streams && !self.output.is_blocked() {
                return false;
            }
        }
        match self.waits_for {
            Some(Wait::Pause) if !self.worker.is_cut() => {
                self.shared.link.borrow_mut().release_memory();
                self.waits_for = Some(Wait::Idle);
                let idle_ms = self.timeout_ms(Wait::Idle);
                self.timer
                    .set_unless_zero(self.worker.clock.now_ms(), idle_ms);
            }
            Some(Wait::Write(_) | Wait::First | Wait::Pong | Wait::Rest) => {
                self.lose(Fate::Closed, ConnectError::TimedOut);
            }
            _ => self.say_goodbye(cx),
        }
        true
    }

    /// Ends a connection without streams, and tells the backend as far as that can be told at once.
    fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        {
            let Link { engine, out, .. } = &mut *self.shared.link.borrow_mut();
            engine.close(out, ErrorCode::NO_ERROR);
        }
        self.poll_output(cx);
        self.lose(Fate::Closed, ConnectError::Refused);
    }
}

impl Drop for BackendConnection {
    /// Also after a panic: nobody must wait for it.
    fn drop(&mut self) {
        *self.shared.task.borrow_mut() = Waker::noop().clone();
        self.lose(Fate::Closed, ConnectError::Refused);
    }
}

fn wake(link: &mut UpstreamLink, place: Option<usize>) {
    if let Some(place) = place {
        link.inbox(place).slot.wake();
    }
}

fn lose_one(link: &mut UpstreamLink, stream: StreamId, fate: Fate) {
    let place = link.place(stream);
    if let Some(place) = place {
        link.inbox_mut(place).slot.fate = Some(fate);
    }
    wake(link, place);
}

fn lose_all(link: &mut UpstreamLink, fate: Fate) {
    link.for_each(|_, awaited| {
        awaited.fate = awaited.fate.or(Some(fate));
        awaited.wake();
    });
}

/// How long a connection without streams keeps what the next ones would need.
const PAUSE_MS: u64 = 1_000;

/// How long a backend may take to show that it lives.
const PONG_MS: u64 = 5_000;

/// How long a backend may take for the rest of a short frame, or of a field block.
const REST_MS: u64 = 10_000;

/// How much may have come for attempts that do not take it while the worker is short of memory.
const HOARD_BYTES_MAX: usize = 16 * 1024;

/// Above it nothing is read: a backend that takes nothing and asks for answers would grow it.
const OUT_BYTES_MAX: usize = 1024 * 1024;
