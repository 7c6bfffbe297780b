//! Whether a failed attempt is repeated, and after how long.
//!
//! ```text
//!               listed in `on`, repeatable, attempts left, time left, within the budget
//!   attempt ─── failed ────────────────────────────────────────────────────────► waits `delay` ──► next attempt
//!                  │                                                               │
//!                  └── else: the failure is told ([`RetryRefusal`])                     └── client gone, process cut: ends
//! ```
//!
//! - The delay of the n-th retry is drawn from `[(1 - jitter) × d, d]` with `d = initial × multiplier^(n-1)`, at most `max`.
//! - **Budget.** A retry holds a place from the moment it is granted to the end of its attempt, its wait included. Places are
//!   counted over all workers, and there are as many as `budget` of the pool's live requests, at least
//!   [`RetryPolicy::RETRIES_MIN`]: when everything fails, retries add a fifth to the load, and not the double of it. It is
//!   judged only when a retry is wanted, so requests that do well pay nothing.
//! - A retry that could not begin before the exchange must be over is refused at once: waiting would only delay the answer.

use std::sync::Arc;

use balance_core::{Backoff, Cause, RetryPolicy, RetryReason, RetryRefusal};

use crate::places::{Place, Places};
use crate::planted::{self, Bug};

/// How an attempt failed, before anything of its response was passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptFailure {
    Cause(Cause),
    /// The backend's response has this status.
    Status(u16),
}

/// An attempt has failed: what is known.
#[derive(Clone, Copy, Debug)]
pub struct RetryQuestion {
    pub failure: AttemptFailure,
    /// Attempts so far, the failed one included.
    pub attempts: u32,
    /// Sending the request again can do no harm, and all of it is still there.
    pub is_repeatable: bool,
    /// Requests under way at the backends of the pool, over all workers.
    pub live: u32,
    /// Until the exchange must be over.
    pub time_left_ms: u64,
    /// Any random number.
    pub random: u64,
}

/// What comes of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Another attempt, after so long.
    Granted {
        after_ms: u64,
        reason: RetryReason,
    },
    Refused(RetryRefusal),
    /// The policy does not speak of such a failure.
    NotListed,
}

/// The retries of one exchange.
#[derive(Debug, Default)]
pub struct Retries {
    /// Granted so far.
    made: u32,
    /// Of the one under way.
    place: Option<Place>,
}

impl Retries {
    /// Retries that were granted.
    pub fn made(&self) -> u32 {
        self.made
    }

    /// Decides on a failure. The place of the retry before is given back first.
    pub fn on_failure(
        &mut self,
        policy: &RetryPolicy,
        budget: &Arc<Places>,
        question: &RetryQuestion,
    ) -> Retry {
        self.place = None;
        let Some(reason) = listed(policy, question.failure) else {
            return Retry::NotListed;
        };
        if !question.is_repeatable && !planted::has(Bug::RepeatsEverything) {
            return Retry::Refused(RetryRefusal::NotRepeatable);
        }
        // A retry for which no backend could be picked is used up as well: nobody is waited for without end.
        if question.attempts.max(self.made + 1) >= policy.max_attempts {
            return Retry::Refused(RetryRefusal::Attempts);
        }
        let after_ms = delay_ms(&policy.backoff, self.made, question.random);
        if after_ms >= question.time_left_ms {
            return Retry::Refused(RetryRefusal::Deadline);
        }
        let max = if planted::has(Bug::SpendsWithoutBudget) {
            0
        } else {
            retries_max(policy.budget, question.live)
        };
        match budget.take(max) {
            Ok(place) => self.place = Some(place),
            Err(_) => return Retry::Refused(RetryRefusal::Budget),
        }
        self.made += 1;
        Retry::Granted { after_ms, reason }
    }

    /// The response of the attempt is being passed on, or the exchange is over: nothing is repeated any more.
    pub fn finish(&mut self) {
        self.place = None;
    }

    /// Starts over with another exchange.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// How many retries may be under way among so many live requests.
pub fn retries_max(share: f64, live: u32) -> u32 {
    let shared = share * f64::from(live);
    (shared as u32).max(RetryPolicy::RETRIES_MIN)
}

fn listed(policy: &RetryPolicy, failure: AttemptFailure) -> Option<RetryReason> {
    match failure {
        AttemptFailure::Cause(cause) if policy.on.has_cause(cause) => RetryReason::of_cause(cause),
        AttemptFailure::Status(status) if policy.on.has_status(status) => Some(RetryReason::Status),
        AttemptFailure::Cause(_) | AttemptFailure::Status(_) => None,
    }
}

/// Before the retry after `made` others.
fn delay_ms(backoff: &Backoff, made: u32, random: u64) -> u64 {
    let max_ms = backoff.max.as_secs_f64() * 1000.0;
    let initial_ms = backoff.initial.as_secs_f64() * 1000.0;
    // A power that leaves the range of `f64` is infinite, and `min` brings it back.
    let exponent = i32::try_from(made).unwrap_or(i32::MAX);
    let full_ms = (initial_ms * backoff.multiplier.powi(exponent)).min(max_ms);
    let drawn = random as f64 / u64::MAX as f64;
    (full_ms * (1.0 - backoff.jitter * drawn)) as u64
}

#[cfg(test)]
mod tests;
