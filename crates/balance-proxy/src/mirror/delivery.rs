//! Sending one copy: the upstream half of an exchange, without a client.
//!
//! It picks, leases, connects, encodes and reads as an exchange does, through the same [`Transport`]. It differs in what
//! failing means: nothing. One backend is tried, once; the answer is read so that its connection can be used again, and
//! thrown away.

use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use balance_lb::{Lease, Outcome};
use balance_proto::{RequestView, ResponseBody};
use balance_telemetry::MirrorOutcome;

use super::MirroredRequest;
use crate::clock::millis;
use crate::exchange::decision::name_backend;
use crate::exchange::sides::{BackendError, Form, Piece, ResponseStep, Transport, Upstream};
use crate::exchange::transfer::is_empty;
use crate::planted;
use crate::upstream::{ConnectError, Member, Selection, report};
use crate::wheel::Timer;
use crate::worker::{DRAIN_IDLE_MS, Worker};

/// Sends a copy to its end. Its outcome is counted, and told nobody.
pub(crate) async fn send<V: RequestView, T: Transport>(
    worker: &Worker,
    transport: &T,
    mut copy: MirroredRequest<V>,
) {
    copy.ticket.outcome = MirrorOutcome::Failed;
    let rules = &copy.snapshot.rules.mirrors[copy.mirror.index()];
    let mut limit = Limit::new(worker, rules.timeout);
    let mut selection = Selection::default();
    let snapshot = &copy.snapshot;
    selection.set_hash(snapshot, rules.pool, copy.client, |name| {
        copy.request.get(name.as_bytes())
    });
    let now_ms = worker.clock.now_ms();
    let picked = selection.pick(worker, snapshot, rules.pool, now_ms);
    let Ok(lease) = picked else {
        return;
    };
    if copy.request.authority().is_empty() {
        name_backend(&mut copy.edits, lease.backend());
    }
    let upstream = match transport.reuse(lease.backend(), now_ms) {
        Some(upstream) => Some(upstream),
        None => open(worker, transport, &mut limit, &mut selection, &lease, &copy).await,
    };
    let Some(mut upstream) = upstream else {
        return;
    };
    let started_us = worker.clock.now_us();
    upstream.start_request(&copy.request, &copy.edits, copy.length, None);
    planted::panic_for("mirror", &copy.request);
    let mut delivery = Delivery::new(worker, &mut upstream, &copy);
    let delivered = limit
        .run(worker, None, poll_fn(|cx| delivery.poll(cx)))
        .await;
    if delivery.phase != Phase::Awaiting {
        let member = lease.backend();
        member.on_success();
        // An answer of any status: nobody hears of it.
        report(&lease, Outcome::Success, worker.clock.now_ms());
        member
            .series()
            .record(worker.clock.now_us().saturating_sub(started_us));
    }
    let may_be_kept = matches!(delivered, Some(Ok(Delivered { is_clean: true })));
    if let Some(Ok(_)) = delivered {
        copy.ticket.outcome = MirrorOutcome::Sent;
    }
    transport.settle(
        lease.backend(),
        upstream,
        may_be_kept,
        worker.clock.now_ms(),
    );
}

/// Opens a connection within the pool's deadline. A backend that cannot be reached rests, as after an exchange.
async fn open<V, T: Transport>(
    worker: &Worker,
    transport: &T,
    limit: &mut Limit,
    selection: &mut Selection,
    lease: &Lease<Member>,
    copy: &MirroredRequest<V>,
) -> Option<T::Upstream> {
    let pool = copy.snapshot.rules.mirrors[copy.mirror.index()].pool;
    let timeouts = &copy.snapshot.rules.pools[pool.index()].timeouts;
    let member = lease.backend();
    let opening = Box::pin(transport.open(member, timeouts));
    let error = match limit.run(worker, Some(timeouts.connect), opening).await {
        Some(Ok(upstream)) => {
            member.on_success();
            return Some(upstream);
        }
        Some(Err(error)) => error,
        // The copy had no more time: the backend is not to blame.
        None if limit.is_over(worker) => return None,
        None => ConnectError::TimedOut,
    };
    // Whose fault it was decides whether another backend is asked. None is.
    let (Ok(()) | Err(_)) = selection.on_connect_failure(worker, lease, error);
    None
}

/// How long a copy may take.
struct Limit {
    timer: Timer,
    ends_ms: u64,
    is_draining: bool,
}

impl Limit {
    fn new(worker: &Worker, timeout: Duration) -> Self {
        Self {
            timer: worker.wheel.timer(),
            ends_ms: worker.clock.now_ms().saturating_add(millis(timeout)),
            is_draining: false,
        }
    }

    /// `None`: the copy's time is up, or that of this `step`. A drain leaves a copy as long as it leaves an idle
    /// connection: nobody waits for its answer.
    async fn run<F: Future>(
        &mut self,
        worker: &Worker,
        step: Option<Duration>,
        work: F,
    ) -> Option<F::Output> {
        let mut work = pin!(work);
        let step_ms = step.filter(|step| !step.is_zero()).map_or(u64::MAX, millis);
        let now_ms = worker.clock.now_ms();
        let step_ends_ms = now_ms.saturating_add(step_ms);
        self.arm(now_ms, step_ends_ms);
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            if worker.is_draining() && !self.is_draining {
                self.is_draining = true;
                let now_ms = worker.clock.now_ms();
                self.ends_ms = self.ends_ms.min(now_ms.saturating_add(DRAIN_IDLE_MS));
                self.arm(now_ms, step_ends_ms);
            }
            self.timer.poll_expired(cx).map(|()| None)
        })
        .await
    }

    fn arm(&self, now_ms: u64, step_ends_ms: u64) {
        let ends_ms = self.ends_ms.min(step_ends_ms);
        self.timer.set(now_ms, ends_ms.saturating_sub(now_ms));
    }

    fn is_over(&self, worker: &Worker) -> bool {
        worker.is_cut() || worker.clock.now_ms() >= self.ends_ms
    }
}

/// Sends the request and reads the answer, both as far as they go: a backend may answer before it has read all.
struct Delivery<'a, U> {
    worker: &'a Worker,
    upstream: &'a mut U,
    /// What was not pushed yet.
    body: Option<(&'a [u8], Form)>,
    sending: Sending,
    phase: Phase,
    left_bytes: usize,
    interim_left: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Going,
    Done,
    /// The backend takes no more.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A response head.
    Awaiting,
    /// Its body.
    Discarding,
}

/// An answer has come.
struct Delivered {
    /// Both messages are complete.
    is_clean: bool,
}

impl<'a, U: Upstream> Delivery<'a, U> {
    fn new<V>(worker: &'a Worker, upstream: &'a mut U, copy: &'a MirroredRequest<V>) -> Self {
        Self {
            worker,
            upstream,
            body: (!is_empty(copy.length)).then_some((&copy.body, copy.form)),
            sending: Sending::Going,
            phase: Phase::Awaiting,
            left_bytes: ANSWER_BYTES_MAX,
            interim_left: copy.interim_responses_max,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Delivered, BackendError>> {
        self.poll_send(cx);
        let answered = ready!(self.poll_answer(cx));
        Poll::Ready(answered.map(|is_whole| Delivered {
            is_clean: is_whole && self.sending == Sending::Done,
        }))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) {
        if let Some((bytes, form)) = self.body.take()
            && self.upstream.push(cx, bytes, form, true).is_err()
        {
            self.sending = Sending::Stopped;
        }
        if self.sending == Sending::Going {
            self.sending = match self.upstream.poll_flush(cx) {
                Poll::Pending => Sending::Going,
                Poll::Ready(Ok(())) => Sending::Done,
                Poll::Ready(Err(_)) => Sending::Stopped,
            };
        }
    }

    /// Ready with whether the whole answer was read.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, BackendError>> {
        let mut scratch = self.worker.scratch.borrow();
        loop {
            let piece = match self.phase {
                Phase::Awaiting => match ready!(self.upstream.poll_response(cx, &mut scratch))? {
                    ResponseStep::Interim if self.interim_left > 0 => {
                        self.interim_left -= 1;
                        continue;
                    }
                    // Nothing was offered to switch to.
                    ResponseStep::Interim | ResponseStep::Switching => {
                        return Poll::Ready(Err(BackendError::Malformed));
                    }
                    ResponseStep::Final { rest } => {
                        self.phase = Phase::Discarding;
                        match self.first_piece(&mut scratch, rest)? {
                            Some(piece) => piece,
                            None => return Poll::Ready(Ok(true)),
                        }
                    }
                },
                Phase::Discarding => {
                    ready!(self.upstream.poll_piece(cx, &mut scratch, Form::Payload))?
                }
            };
            if piece.last {
                return Poll::Ready(Ok(true));
            }
            match self.left_bytes.checked_sub(piece.range.len()) {
                Some(left_bytes) => self.left_bytes = left_bytes,
                // Cheaper to open another connection than to read on.
                None => return Poll::Ready(Ok(false)),
            }
        }
    }

    /// `None` without a body.
    fn first_piece(
        &mut self,
        scratch: &mut [u8],
        rest: Range<usize>,
    ) -> Result<Option<Piece>, BackendError> {
        match self.upstream.response_body() {
            ResponseBody::None | ResponseBody::Exact(0) => Ok(None),
            _ => self
                .upstream
                .first_piece(scratch, rest, Form::Payload)
                .map(Some),
        }
    }
}

/// How much of an answer is read. Behind a larger one the connection is closed.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
