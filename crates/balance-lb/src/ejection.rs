//! Passive checks: taking a backend out of its pool for a while because its traffic fails.
//!
//! ```text
//!                 a row of failures, or too many in the window
//!   ┌────┐ ─────────────────────────────────────────────────────► ┌─────────┐
//!   │ In │          (if the pool may spare another one)           │ Ejected │
//!   └────┘ ◄───────────────────────────────────────────────────── │ until t │
//!                                t reached                        └─────────┘
//! ```
//!
//! - The n-th ejection in a row lasts `ejection × 2^(n-1)`, at most [`GROWTH_MAX`] times the first, and always ends: the
//!   backend then begins with an empty window. A backend that stays in for a whole window is forgiven.
//! - One judge looks at all backends of a pool every 100 ms. It alone ejects, so `max_ejected` needs no agreement
//!   between workers; they only count ([`crate::Tally`]).
//! - A row of failures and a share of failures are both needed: a dead backend with little traffic shows in the first,
//!   one that fails every third request only in the second.

use std::sync::Arc;

use crate::planted::{self, Bug};
use crate::tally::Tallied;

/// What a machine follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EjectionRules {
    /// At least 1.
    pub consecutive_failures: u32,
    /// Between 0 and 1: this share of failures in the window, or more, ejects.
    pub error_rate: f64,
    pub window_ms: u64,
    /// The first ejection in a row.
    pub ejection_ms: u64,
}

/// What a judgement comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    Ejected {
        for_ms: u64,
        reason: Reason,
    },
    /// The ejection is over.
    Returned,
}

/// Why a backend is ejected.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Reason {
    #[error("{0} failures in a row")]
    Row(u32),
    #[error("{failures} of {outcomes} attempts failed")]
    Rate { failures: u64, outcomes: u64 },
}

/// What is known about a backend's ejections, for whoever asks. Written by the judge alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EjectionRecord {
    /// Ever.
    pub ejections: u64,
    /// By the clock of the backends' gates; 0 = it is not ejected.
    pub until_ms: u64,
    /// Of the last one; empty before the first.
    pub reason: Arc<str>,
}

/// The machine of one backend.
#[derive(Clone, Debug)]
pub struct EjectionMachine {
    rules: EjectionRules,
    window: Window,
    /// Ejections in a row.
    row: u32,
    /// Set exactly while it is ejected.
    until_ms: Option<u64>,
    /// When the last ejection ended.
    returned_ms: u64,
}

impl EjectionMachine {
    pub fn new(rules: EjectionRules) -> Self {
        Self {
            rules,
            window: Window::default(),
            row: 0,
            until_ms: None,
            returned_ms: 0,
        }
    }

    /// What happened before nobody judged.
    pub fn ignore(&mut self, seen: Tallied) {
        self.window.last = seen;
    }

    pub fn is_ejected(&self) -> bool {
        self.until_ms.is_some()
    }

    /// Judges what has happened since the last call. `may_eject`: the pool can spare another backend.
    pub fn judge(&mut self, now_ms: u64, seen: Tallied, may_eject: bool) -> Option<Judgement> {
        self.window.add(now_ms, self.rules.window_ms, seen);
        if let Some(until_ms) = self.until_ms {
            if now_ms < until_ms || planted::has(Bug::EjectsForEver) {
                return None;
            }
            self.until_ms = None;
            self.returned_ms = now_ms;
            self.window.clear();
            return Some(Judgement::Returned);
        }
        let is_forgiven = now_ms.saturating_sub(self.returned_ms) >= self.rules.window_ms;
        if is_forgiven {
            self.row = 0;
        }
        let reason = self.reason(seen)?;
        if !may_eject {
            return None;
        }
        let growth = 1_u64 << self.row.min(GROWTH_DOUBLINGS_MAX);
        let for_ms = self
            .rules
            .ejection_ms
            .saturating_mul(growth.min(GROWTH_MAX));
        self.row = self.row.saturating_add(1);
        self.until_ms = Some(now_ms.saturating_add(for_ms));
        Some(Judgement::Ejected { for_ms, reason })
    }

    fn reason(&self, seen: Tallied) -> Option<Reason> {
        if seen.longest_row >= self.rules.consecutive_failures {
            return Some(Reason::Row(seen.longest_row));
        }
        let (outcomes, failures) = self.window.sum();
        let is_enough = outcomes >= OUTCOMES_MIN && failures > 0;
        (is_enough && failures as f64 >= self.rules.error_rate * outcomes as f64)
            .then_some(Reason::Rate { failures, outcomes })
    }
}

/// How many of `all` backends may be ejected at once: the share, at least one, and never all of them.
pub fn ejectable(all: usize, share: f64) -> usize {
    if share <= 0.0 {
        return 0;
    }
    let wanted = (all as f64 * share) as usize;
    wanted.max(1).min(all.saturating_sub(1))
}

/// Counts of the last window, in steps of a tenth of it.
#[derive(Clone, Debug, Default)]
struct Window {
    steps: [Step; STEPS],
    /// The number of the current step since the clock's start.
    current: u64,
    last: Tallied,
}

#[derive(Clone, Copy, Debug, Default)]
struct Step {
    outcomes: u64,
    failures: u64,
}

impl Window {
    fn add(&mut self, now_ms: u64, window_ms: u64, seen: Tallied) {
        let number = now_ms / (window_ms / STEPS as u64).max(1);
        let passed = number.saturating_sub(self.current).min(STEPS as u64);
        for step in 1..=passed {
            self.steps[((self.current + step) % STEPS as u64) as usize] = Step::default();
        }
        if passed == STEPS as u64 {
            self.clear();
        }
        self.current = number.max(self.current);
        let step = &mut self.steps[(self.current % STEPS as u64) as usize];
        // Totals that fell have lost a worker: what it counted since is lost with it.
        step.outcomes += seen.outcomes.saturating_sub(self.last.outcomes);
        step.failures += seen.failures.saturating_sub(self.last.failures);
        self.last = seen;
    }

    fn sum(&self) -> (u64, u64) {
        self.steps
            .iter()
            .fold((0, 0), |(outcomes, failures), step| {
                (outcomes + step.outcomes, failures + step.failures)
            })
    }

    fn clear(&mut self) {
        self.steps = [Step::default(); STEPS];
    }
}

const STEPS: usize = 10;
/// Fewer attempts in a window are not judged by their share: one failure of two is chance.
const OUTCOMES_MIN: u64 = 20;
/// The longest ejection, by the first: with the default of 30 s, five minutes.
const GROWTH_MAX: u64 = 10;
/// 2^4 is above [`GROWTH_MAX`]; more would only risk the shift.
const GROWTH_DOUBLINGS_MAX: u32 = 4;

#[cfg(test)]
mod tests;
