//! How much of a pool may be in use at once, and waiting for it.
//!
//! ```text
//!   pick: full ──► join the queue (full, too: queue_full) ──► first, and called ──► try ──► a lease
//!                        │                                         ▲                │
//!                        │                                         └── still full ──┘
//!                        └── queue_timeout · the client goes away · nobody is left to wait for ──► leave
//! ```

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use balance_core::{Cause, PoolId};
use balance_lb::{Lease, Places, Queue, Ticket};

use super::member::Member;
use super::selection::{NoPick, Selection};
use crate::clock::millis;
use crate::wheel::Timer;
use crate::worker::{Worker, WorkerSnapshot};

/// What a pool view is held to. Counts and queue are shared by all views of a pool and outlive reloads.
#[derive(Clone)]
pub struct PoolLimits {
    /// Exchanges and sessions at all its backends together. 0 = unlimited, and they are not counted.
    pub max_connections: u32,
    /// How many may wait. 0 = nobody: who finds the pool full is refused.
    pub queue_max: u32,
    /// How long they may.
    pub queue_timeout: Duration,
    /// In use, against `max_connections`.
    pub places: Arc<Places>,
    pub queue: Arc<Queue>,
    /// The view's own in the queue.
    pub lane: u64,
}

impl Default for PoolLimits {
    /// None.
    fn default() -> Self {
        Self {
            max_connections: 0,
            queue_max: 0,
            queue_timeout: Duration::ZERO,
            places: Arc::new(Places::new()),
            queue: Arc::new(Queue::new()),
            lane: 0,
        }
    }
}

/// One that waits for a place.
pub(crate) struct Waiting<'a> {
    worker: &'a Worker,
    snapshot: &'a WorkerSnapshot,
    pool: PoolId,
    ticket: Ticket,
    ends_ms: u64,
}

impl<'a> Waiting<'a> {
    /// Joins the queue of the pool, until `ends_ms` at the latest. `timer` is the waiting one's from now on.
    ///
    /// # Errors
    /// As many as may wait already.
    pub(crate) fn join(
        worker: &'a Worker,
        snapshot: &'a WorkerSnapshot,
        pool: PoolId,
        timer: &Timer,
        ends_ms: Option<u64>,
    ) -> Result<Self, Cause> {
        let limits = &snapshot.rules.pools[pool.index()].limits;
        let ticket = limits.queue.join(limits.lane, limits.queue_max);
        let ticket = ticket.map_err(|_| Cause::QueueFull)?;
        let now_ms = worker.clock.now_ms();
        let own_ms = now_ms.saturating_add(millis(limits.queue_timeout));
        let waiting = Self {
            worker,
            snapshot,
            pool,
            ticket,
            ends_ms: ends_ms.map_or(own_ms, |ends_ms| own_ms.min(ends_ms)),
        };
        waiting.arm(timer, now_ms);
        Ok(waiting)
    }

    /// A lease, or why there will be none.
    pub(crate) fn poll(
        &self,
        cx: &mut Context<'_>,
        selection: &mut Selection,
        timer: &Timer,
    ) -> Poll<Result<Lease<Member>, Cause>> {
        loop {
            let is_called = self.ticket.poll_turn(cx).is_ready();
            let now_ms = if is_called {
                self.worker.clock.now_ms()
            } else {
                ready!(timer.poll_expired(cx));
                let now_ms = self.worker.clock.now_ms();
                if self.worker.is_cut() {
                    return Poll::Ready(Err(Cause::Draining));
                }
                if now_ms >= self.ends_ms {
                    return Poll::Ready(Err(Cause::QueueTimeout));
                }
                self.arm(timer, now_ms);
                // The others would overtake it.
                if !self.ticket.is_first() {
                    continue;
                }
                now_ms
            };
            match selection.pick_in_turn(self.worker, self.snapshot, self.pool, now_ms) {
                Ok(lease) => return Poll::Ready(Ok(lease)),
                Err(NoPick::Full) => {}
                Err(NoPick::Ended(cause)) => return Poll::Ready(Err(cause)),
            }
        }
    }

    /// It is over: counted by what came of it.
    pub(crate) fn end(self, result: Result<(), Cause>) {
        match result {
            Ok(()) => self.ticket.served(),
            Err(Cause::QueueTimeout) => self.ticket.timed_out(),
            Err(_) => drop(self.ticket),
        }
    }

    fn arm(&self, timer: &Timer, now_ms: u64) {
        timer.set(now_ms, self.ends_ms.saturating_sub(now_ms).min(LOOK_MS));
    }
}

/// How often the first one looks by itself: a place that comes back calls it, but a rest or an ejection that ends, or a
/// limit that a reload raises, calls nobody.
const LOOK_MS: u64 = 100;
