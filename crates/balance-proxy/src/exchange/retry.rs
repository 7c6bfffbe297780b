//! Configured retries: what an exchange knows for them, how it asks for one, and how it waits.
//!
//! The decision is [`Retries::on_failure`]'s. What is repeated without any configuration comes first, and stands in
//! [`forward`](super::forward). An exchange whose pool has no policy has no [`RetryState`], and looks no further.

use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use balance_core::{Cause, PoolId, RetryPolicy, RetryReason};
use balance_lb::{AttemptFailure, Retries, Retry, RetryQuestion};
use balance_proto::{BodyLength, RequestView};

use super::sides::{Downstream, Transport};
use super::{Context, Exchange};
use crate::clock::millis;
use crate::snapshot::RetryRules;
use crate::wheel::Timer;
use crate::worker::{Worker, WorkerSnapshot};

/// What an exchange knows whose pool repeats failed attempts.
pub(super) struct RetryState {
    /// That of the exchange, where the policy stands.
    snapshot: Rc<WorkerSnapshot>,
    pool: PoolId,
    retries: Retries,
    /// `None`: there is no body, or not all of it is there.
    kept: Option<KeptBody>,
    /// The body is read as payload, from its first piece to its last: it was to be kept when it began.
    reads_payload: bool,
    /// When the head of the response must be there. `None` before the first attempt, and once it is.
    try_deadline_ms: Option<u64>,
}

/// A request body, or what has come of it so far, kept to be sent again. Payload: the next backend may frame it
/// otherwise.
struct KeptBody {
    bytes: Vec<u8>,
    bytes_max: usize,
    /// What of it the attempt under way was given.
    sent: usize,
    /// That attempt was given nothing yet, not even the end of a body that turned out to be empty.
    is_rewound: bool,
}

impl KeptBody {
    /// Keeps a piece that is being sent; whether there was room.
    fn keep(&mut self, bytes: &[u8]) -> bool {
        let fits = bytes.len() <= self.bytes_max - self.bytes.len();
        if fits {
            self.bytes.extend_from_slice(bytes);
            self.sent = self.bytes.len();
            self.is_rewound = false;
        }
        fits
    }

    /// What is to be sent next of what was kept before. `is_whole`: nothing more comes from the client.
    fn next(&mut self, room: usize, is_whole: bool) -> Option<Range<usize>> {
        let from = self.sent;
        self.sent = self.bytes.len().min(from.saturating_add(room));
        let is_empty = self.bytes.is_empty() && is_whole && self.is_rewound;
        (from < self.sent || is_empty).then(|| {
            self.is_rewound = false;
            from..self.sent
        })
    }

    fn has_left(&self) -> bool {
        self.sent < self.bytes.len() || self.is_rewound
    }
}

impl RetryState {
    /// Of an exchange with this pool; `None` where it has no policy.
    pub(super) fn of(snapshot: &Rc<WorkerSnapshot>, pool: PoolId) -> Option<Self> {
        snapshot.rules.pools[pool.index()].retry.as_ref()?;
        Some(Self {
            snapshot: Rc::clone(snapshot),
            pool,
            retries: Retries::default(),
            kept: None,
            reads_payload: false,
            try_deadline_ms: None,
        })
    }

    fn rules(&self) -> &RetryRules {
        let rules = self.snapshot.rules.pools[self.pool.index()].retry.as_ref();
        rules.expect("there is a state only where there is a policy")
    }

    /// Requests under way at the backends of the pool, over all workers.
    fn live(&self) -> u32 {
        let members = &self.snapshot.pools[self.pool.index()].members;
        members.iter().map(|member| member.in_flight()).sum()
    }

    fn decide(&mut self, question: &RetryQuestion) -> Option<u64> {
        let snapshot = Rc::clone(&self.snapshot);
        let pool = &snapshot.pools[self.pool.index()];
        let rules = snapshot.rules.pools[self.pool.index()].retry.as_ref()?;
        let series = pool.retry_series.as_ref()?;
        match self
            .retries
            .on_failure(&rules.policy, &rules.under_way, question)
        {
            Retry::Granted { after_ms, reason } => {
                series.granted(reason);
                Some(after_ms)
            }
            Retry::Refused(refusal) => {
                series.refused(refusal);
                None
            }
            Retry::NotListed => None,
        }
    }
}

impl Exchange {
    /// Begins to keep the body of the request, if it may have to be sent again.
    pub(super) fn keep_body<D: Downstream>(&mut self, down: &D) {
        let Some(state) = &mut self.retry else {
            return;
        };
        let policy = &state.rules().policy;
        let bytes_max = policy.body_bytes_max;
        let fits = match down.request_body() {
            BodyLength::Exact(bytes) => bytes <= bytes_max as u64,
            _ => bytes_max > 0,
        };
        if fits && may_be_sent_again(policy, down.request()) {
            state.reads_payload = true;
            state.kept = Some(KeptBody {
                bytes: Vec::new(),
                bytes_max,
                sent: 0,
                is_rewound: true,
            });
        }
    }

    /// Whether the body must be read as payload, whatever the backend wants it in.
    pub(super) fn reads_payload(&self) -> bool {
        self.retry.as_ref().is_some_and(|state| state.reads_payload)
    }

    /// A piece of the body is being sent for the first time.
    pub(super) fn on_upload_piece(&mut self, worker: &Worker, bytes: &[u8]) {
        if let Some(state) = &mut self.retry
            && let Some(kept) = &mut state.kept
        {
            // What is kept for a retry is the first to go when memory is short.
            if worker.budget.is_short() || !kept.keep(bytes) {
                state.kept = None;
            }
        }
    }

    /// Another attempt begins: it is given the body from its start.
    pub(super) fn rewind_body(&mut self) {
        if let Some(state) = &mut self.retry
            && let Some(kept) = &mut state.kept
        {
            kept.sent = 0;
            kept.is_rewound = true;
        }
    }

    /// The part of the body to be sent next that an earlier attempt was given already, and whether it is the last.
    pub(super) fn next_kept(&mut self, room: usize) -> Option<(Range<usize>, bool)> {
        let kept = self.retry.as_mut()?.kept.as_mut()?;
        let range = kept.next(room, self.upload_is_complete)?;
        Some((range, self.upload_is_complete && !kept.has_left()))
    }

    /// What [`Exchange::next_kept`] speaks of.
    pub(super) fn kept_body(&self) -> &[u8] {
        let kept = self.retry.as_ref().and_then(|state| state.kept.as_ref());
        kept.map_or(&[], |kept| &kept.bytes)
    }

    /// Whether all of the request was given to the attempt under way.
    pub(super) fn upload_is_pushed(&self) -> bool {
        let kept = self.retry.as_ref().and_then(|state| state.kept.as_ref());
        self.upload_is_complete && !kept.is_some_and(KeptBody::has_left)
    }

    /// Whether no part of the body is lost.
    pub(super) fn has_whole_body(&self) -> bool {
        let keeps = |state: &RetryState| state.kept.is_some();
        !self.upload_began || self.retry.as_ref().is_some_and(keeps)
    }

    /// An attempt begins: from here on `per_try` counts.
    pub(super) fn on_try(&mut self, worker: &Worker) {
        let Some(per_try) = self
            .retry
            .as_ref()
            .map(|state| state.rules().policy.per_try)
        else {
            return;
        };
        let deadline_ms = (!per_try.is_zero()).then(|| self.recent_ms(worker) + millis(per_try));
        if let Some(state) = &mut self.retry {
            state.try_deadline_ms = deadline_ms;
        }
    }

    /// The response is being passed on: nothing is repeated any more.
    pub(super) fn on_committed(&mut self) {
        if let Some(state) = &mut self.retry {
            state.retries.finish();
            state.kept = None;
            state.try_deadline_ms = None;
        }
    }

    /// As [`Exchange::arm`], for a wait that `per_try` bounds too.
    pub(super) fn arm_try(&self, timer: &Timer, now_ms: u64, timeout: Duration) {
        let after_ms = self.after_ms(now_ms, timeout);
        let deadline_ms = self.retry.as_ref().and_then(|state| state.try_deadline_ms);
        timer.set_unless_never(
            now_ms,
            match deadline_ms {
                Some(deadline_ms) => after_ms.min(deadline_ms.saturating_sub(now_ms)),
                None => after_ms,
            },
        );
    }

    /// Whether an attempt that failed so is repeated, and after how many milliseconds. `is_unsent`: nothing of the
    /// request reached the backend.
    pub(super) fn grant_retry<D: Downstream>(
        &mut self,
        worker: &Worker,
        down: &D,
        failure: AttemptFailure,
        is_unsent: bool,
    ) -> Option<u64> {
        if self.response_began {
            return None;
        }
        let attempts = self.selection.attempts();
        let has_whole_body = self.has_whole_body() || self.replay.is_some();
        let now_ms = self.recent_ms(worker);
        let time_left_ms = self.after_ms(now_ms, Duration::ZERO);
        let state = self.retry.as_mut().filter(|_| attempts > 0)?;
        let may_be_sent_again =
            is_unsent || may_be_sent_again(&state.rules().policy, down.request());
        let question = RetryQuestion {
            failure,
            attempts,
            is_repeatable: may_be_sent_again && has_whole_body,
            live: state.live(),
            time_left_ms,
            random: worker.rng.borrow_mut().next_u64(),
        };
        let after_ms = state.decide(&question)?;
        self.selection.may_return();
        Some(after_ms)
    }

    /// Whether a configured retry is under way and was the last.
    pub(super) fn is_used_up(&self) -> bool {
        self.retry.as_ref().is_some_and(|state| {
            let max_attempts = state.rules().policy.max_attempts;
            state.retries.made() > 0 && self.selection.attempts() >= max_attempts
        })
    }
}

/// An attempt has failed for this cause. Waits for the next one, if there is one.
///
/// # Errors
/// There is none, and this is the cause of the exchange; or it ended while it waited.
pub(super) async fn again<D: Downstream, T: Transport>(
    context: &Context<'_, T>,
    exchange: &mut Exchange,
    down: &mut D,
    cause: Cause,
    is_unsent: bool,
) -> Result<(), Cause> {
    // Without a connection nothing can have been sent.
    let is_unsent = is_unsent || RetryReason::of_cause(cause) == Some(RetryReason::ConnectFailure);
    let failure = AttemptFailure::Cause(cause);
    match exchange.grant_retry(context.worker, down, failure, is_unsent) {
        Some(after_ms) => pause(context, exchange, down, after_ms).await,
        None => Err(cause),
    }
}

/// Waits before another attempt.
///
/// # Errors
/// The client left, or the process ends.
pub(super) async fn pause<D: Downstream, T: Transport>(
    context: &Context<'_, T>,
    exchange: &mut Exchange,
    down: &mut D,
    after_ms: u64,
) -> Result<(), Cause> {
    if after_ms > 0 {
        let now_ms = exchange.recent_ms(context.worker);
        context.timer.set(now_ms, after_ms);
        let mut client_is_watched = true;
        poll_fn(|cx| {
            if client_is_watched && let Poll::Ready(event) = down.poll_client(cx) {
                if exchange.ends_with(event) {
                    return Poll::Ready(Err(Cause::ClientClosed));
                }
                client_is_watched = false;
            }
            ready!(context.timer.poll_expired(cx));
            Poll::Ready(if context.worker.is_cut() {
                Err(Cause::Draining)
            } else {
                Ok(())
            })
        })
        .await?;
    }
    exchange.on_pause();
    exchange.recent_ms(context.worker);
    Ok(())
}

/// Whether a request may be sent again after a backend has got it.
pub(crate) fn may_be_sent_again<V: RequestView>(policy: &RetryPolicy, request: &V) -> bool {
    match &policy.methods {
        None => request.method_kind().is_idempotent(),
        Some(methods) => methods.iter().any(|one| one.as_bytes() == request.method()),
    }
}
