//! Passive checks: taking a backend out of its pool for a while because its traffic fails.
//!
//! ```text
//!                 a row of failures, or too many in the window, or answers far slower than those of the others
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
//! - Slow is who takes [`EjectionRules::latency_factor`] times as long as is usual in the pool, on average over the window:
//!   what is slow for all ejects nobody. What is usual is the lower median of those with enough answers, so that of two
//!   backends the slower one is the outlier.
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
    /// So many times what is usual in the pool, or more, ejects; 0 = never.
    pub latency_factor: f64,
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
    #[error("it answers in {} ms, others of its pool in {} ms", *.took_us / 1000, *.usual_us / 1000)]
    Latency { took_us: u64, usual_us: u64 },
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

    /// How long its answers take on average, if there are enough of them in the window.
    pub fn latency_us(&self) -> Option<u64> {
        let Step { timed, took_us, .. } = self.window.sum();
        let is_enough = timed >= OUTCOMES_MIN && !self.is_ejected();
        is_enough.then(|| took_us / timed)
    }

    /// Judges what has happened since the last call, beside what holds for its pool.
    pub fn judge(&mut self, now_ms: u64, seen: Tallied, pool: PoolSituation) -> Option<Judgement> {
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
        let reason = self.reason(seen, pool.usual_us)?;
        if !pool.may_eject {
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

    fn reason(&self, seen: Tallied, usual_us: Option<u64>) -> Option<Reason> {
        if seen.longest_row >= self.rules.consecutive_failures {
            return Some(Reason::Row(seen.longest_row));
        }
        let Step {
            outcomes, failures, ..
        } = self.window.sum();
        let is_enough = outcomes >= OUTCOMES_MIN && failures > 0;
        if is_enough && failures as f64 >= self.rules.error_rate * outcomes as f64 {
            return Some(Reason::Rate { failures, outcomes });
        }
        let factor = Some(self.rules.latency_factor).filter(|factor| *factor > 0.0)?;
        let (took_us, usual_us) = (self.latency_us()?, usual_us?);
        let is_slow = took_us as f64 >= factor * usual_us as f64;
        (is_slow && took_us >= usual_us.saturating_add(MARGIN_US))
            .then_some(Reason::Latency { took_us, usual_us })
    }
}

/// What holds for the whole pool when one of it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSituation {
    /// It can spare another backend.
    pub may_eject: bool,
    /// How long an answer usually takes; `None`: nobody can tell.
    pub usual_us: Option<u64>,
}

/// What is usual among these latencies; of one alone nobody can tell.
pub fn usual_latency_us(latencies: impl Iterator<Item = u64>) -> Option<u64> {
    let mut latencies: Vec<u64> = latencies.collect();
    latencies.sort_unstable();
    (latencies.len() > 1).then(|| latencies[(latencies.len() - 1) / 2])
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
    timed: u64,
    took_us: u64,
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
        step.timed += seen.timed.saturating_sub(self.last.timed);
        step.took_us += seen.took_us.saturating_sub(self.last.took_us);
        self.last = seen;
    }

    fn sum(&self) -> Step {
        self.steps.iter().fold(Step::default(), |sum, step| Step {
            outcomes: sum.outcomes + step.outcomes,
            failures: sum.failures + step.failures,
            timed: sum.timed + step.timed,
            took_us: sum.took_us.saturating_add(step.took_us),
        })
    }

    fn clear(&mut self) {
        self.steps = [Step::default(); STEPS];
    }
}

const STEPS: usize = 10;
/// Fewer attempts in a window are not judged by their share: one failure of two is chance.
const OUTCOMES_MIN: u64 = 20;
/// Less than this between two averages is chance, however small both are.
const MARGIN_US: u64 = 5_000;
/// The longest ejection, by the first: with the default of 30 s, five minutes.
const GROWTH_MAX: u64 = 10;
/// 2^4 is above [`GROWTH_MAX`]; more would only risk the shift.
const GROWTH_DOUBLINGS_MAX: u32 = 4;

#[cfg(test)]
mod tests;
