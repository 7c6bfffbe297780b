//! The circuit breaker of a backend: stops sending to one that fails, and lets a few trials find out when to go on.
//!
//! ```text
//!                  max_failures in a row                    timeout passed, a pick
//!   ┌──────────┐ ────────────────────────► ┌────────────┐ ────────────────────────► ┌──────────────────────┐
//!   │ Closed   │                           │ Open       │                           │ HalfOpen             │ ──┐ none ended for
//!   │          │                           │ until t    │ ◄──────────────────────── │ under way ≤ max      │ ◄─┘ `timeout`: they are
//!   └──────────┘                           └────────────┘      a trial fails        └──────────────────────┘     lost, a new round
//!        ▲                                                                                   │
//!        └──────────────────────────── success_threshold trials succeeded ───────────────────┘
//! ```
//!
//! - Only trials decide while it is not closed. Attempts that began before it opened still end, and what they say is
//!   about a backend of before.
//! - A trial is bound to its round. One that says nothing (its client went away) gives its place back; one that never
//!   ends is replaced after `timeout`, so a backend always comes back.
//! - A pick sees the breaker in the gate's word: closed costs it nothing. While the breaker is not closed a pick reads
//!   the moment at which a trial may begin; only a pick that may begin one takes the lock.

use std::sync::Arc;

use crate::planted::{self, Bug};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering};
use crate::tally::Outcome;

/// What a machine follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// Failures in a row that open it. At least 1.
    pub max_failures: u32,
    /// How long it stays open, and how long trials may say nothing.
    pub timeout_ms: u64,
    /// Trials that must succeed before it closes. At least 1.
    pub success_threshold: u32,
    /// Trials under way at once. At least 1.
    pub max_concurrent_requests: u32,
}

/// How a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BreakerState {
    #[default]
    Closed,
    Open,
    HalfOpen,
}

/// A change of state: log it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerChange {
    pub to: BreakerState,
    pub reason: Arc<str>,
}

/// The right to one attempt at a backend whose breaker is half open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    round: u32,
    /// Whether the breaker became half open with it.
    pub is_first: bool,
}

/// What is known about a breaker, for whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerRecord {
    pub state: BreakerState,
    /// Of the state, by the clock of the gates; 0 = it was never another.
    pub since_ms: u64,
    /// When a trial may begin; in the past, or 0 while it is closed, at once.
    pub trial_ms: u64,
    /// Ever.
    pub openings: u64,
    /// Of the last change; empty before the first.
    pub reason: Arc<str>,
}

/// The machine of one backend.
#[derive(Clone, Debug)]
pub struct BreakerMachine {
    rules: BreakerRules,
    state: State,
    /// Of trials. Grows when it becomes half open and when trials are lost.
    round: u32,
    since_ms: u64,
    openings: u64,
    reason: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        since_ms: u64,
    },
    HalfOpen {
        /// Of this round.
        under_way: u32,
        successes: u32,
        /// When the last trial began.
        last_ms: u64,
    },
}

/// A machine as workers share it.
pub(crate) struct Breaker {
    /// `None`: the backend has none.
    machine: Mutex<Option<BreakerMachine>>,
    /// See [`BreakerMachine::trial_ms`].
    trial_ms: AtomicU64,
    /// 0: the backend has none.
    max_failures: AtomicU32,
}

impl BreakerState {
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The name in the admin API, in metrics and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl BreakerMachine {
    pub fn new(rules: BreakerRules) -> Self {
        Self {
            rules,
            state: State::Closed,
            round: 0,
            since_ms: 0,
            openings: 0,
            reason: "".into(),
        }
    }

    /// Other rules: they hold for what is under way, too.
    pub fn set_rules(&mut self, rules: BreakerRules) {
        self.rules = rules;
    }

    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// An attempt that is no trial failed, as the `row`th in a row.
    pub fn on_failure(&mut self, now_ms: u64, row: u32) -> Option<BreakerChange> {
        if self.state != State::Closed || row < self.rules.max_failures {
            return None;
        }
        Some(self.open(now_ms, &format!("{row} failures in a row")))
    }

    /// Begins a trial, if one may begin.
    pub fn begin_trial(&mut self, now_ms: u64) -> Option<Trial> {
        let was = self.state;
        if was == State::Closed || now_ms < self.trial_ms() {
            return None;
        }
        let max = self.trials_max();
        let (under_way, successes) = match was {
            State::HalfOpen {
                under_way,
                successes,
                ..
            } if under_way < max => (under_way + 1, successes),
            // As many as may be, and none ended in time: they are lost, and what they say later is not heard.
            State::HalfOpen { successes, .. } => {
                self.round = self.round.wrapping_add(1);
                (1, successes)
            }
            State::Closed | State::Open { .. } => {
                self.round = self.round.wrapping_add(1);
                (1, 0)
            }
        };
        self.state = State::HalfOpen {
            under_way,
            successes,
            last_ms: now_ms,
        };
        let is_first = matches!(was, State::Open { .. });
        if is_first {
            self.since_ms = now_ms;
            self.reason = "its timeout has passed".into();
        }
        Some(Trial {
            round: self.round,
            is_first,
        })
    }

    /// A trial ended so.
    pub fn on_trial(
        &mut self,
        now_ms: u64,
        trial: Trial,
        outcome: Outcome,
    ) -> Option<BreakerChange> {
        let threshold = self.rules.success_threshold;
        let successes = self.leave(trial)?;
        match outcome {
            Outcome::Failure => Some(self.open(now_ms, "a trial failed")),
            Outcome::Success if *successes + 1 < threshold => {
                *successes += 1;
                None
            }
            Outcome::Success => {
                self.state = State::Closed;
                Some(self.change(now_ms, "trials succeeded"))
            }
        }
    }

    /// A trial ended and says nothing: its client went away, or it was not made.
    pub fn forget_trial(&mut self, trial: Trial) {
        self.leave(trial);
    }

    fn trials_max(&self) -> u32 {
        if planted::has(Bug::AdmitsEveryTrial) {
            return u32::MAX;
        }
        self.rules.max_concurrent_requests
    }

    /// When a trial may begin: 0 = at once, or it needs none.
    pub fn trial_ms(&self) -> u64 {
        match self.state {
            State::Closed => 0,
            State::Open { since_ms } => since_ms.saturating_add(self.rules.timeout_ms),
            State::HalfOpen { under_way, .. } if under_way < self.trials_max() => 0,
            State::HalfOpen { last_ms, .. } => last_ms.saturating_add(self.rules.timeout_ms),
        }
    }

    pub fn record(&self) -> BreakerRecord {
        BreakerRecord {
            state: self.state(),
            since_ms: self.since_ms,
            trial_ms: self.trial_ms(),
            openings: self.openings,
            reason: Arc::clone(&self.reason),
        }
    }

    /// Takes a trial out of those under way; how many have succeeded. `None`: it is not of this round.
    fn leave(&mut self, trial: Trial) -> Option<&mut u32> {
        match &mut self.state {
            State::HalfOpen {
                under_way,
                successes,
                ..
            } if trial.round == self.round => {
                *under_way = under_way.saturating_sub(1);
                Some(successes)
            }
            _ => None,
        }
    }

    fn open(&mut self, now_ms: u64, reason: &str) -> BreakerChange {
        self.openings = self.openings.saturating_add(1);
        self.state = State::Open { since_ms: now_ms };
        self.change(now_ms, reason)
    }

    fn change(&mut self, now_ms: u64, reason: &str) -> BreakerChange {
        self.since_ms = now_ms;
        self.reason = reason.into();
        BreakerChange {
            to: self.state(),
            reason: Arc::clone(&self.reason),
        }
    }
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self::with(None)
    }

    /// Another one in the same state.
    pub(crate) fn copy(&self) -> Self {
        Self::with(self.machine.lock().clone())
    }

    fn with(machine: Option<BreakerMachine>) -> Self {
        let rules = machine.as_ref().map(|machine| machine.rules);
        Self {
            trial_ms: AtomicU64::new(machine.as_ref().map_or(0, BreakerMachine::trial_ms)),
            max_failures: AtomicU32::new(rules.map_or(0, |rules| rules.max_failures)),
            machine: Mutex::new(machine),
        }
    }

    pub(crate) fn record(&self) -> Option<BreakerRecord> {
        self.machine.lock().as_ref().map(BreakerMachine::record)
    }

    /// Gives the backend a breaker, other rules, or takes it away. What it knows is kept.
    pub(crate) fn set_rules(&self, rules: Option<BreakerRules>, tell: impl FnOnce(bool)) {
        let mut machine = self.machine.lock();
        match (&mut *machine, rules) {
            (Some(machine), Some(rules)) => machine.set_rules(rules),
            (machine, rules) => *machine = rules.map(BreakerMachine::new),
        }
        let max_failures = rules.map_or(0, |rules| rules.max_failures);
        self.max_failures.store(max_failures, Ordering::Relaxed);
        self.show(machine.as_ref(), tell);
    }

    /// Whether a pick at `now_ms` may begin a trial. Promises nothing.
    pub(crate) fn may_begin(&self, now_ms: u64) -> bool {
        now_ms >= self.trial_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn begin_trial(&self, now_ms: u64) -> Option<Trial> {
        if !self.may_begin(now_ms) {
            return None;
        }
        let mut machine = self.machine.lock();
        let trial = machine.as_mut()?.begin_trial(now_ms);
        self.show(machine.as_ref(), drop);
        trial
    }

    pub(crate) fn forget_trial(&self, trial: Trial) {
        let mut machine = self.machine.lock();
        if let Some(machine) = machine.as_mut() {
            machine.forget_trial(trial);
        }
        self.show(machine.as_ref(), drop);
    }

    /// An attempt failed, as the `row`th in a row. One load unless that opens it. `tell` learns, under the lock,
    /// whether picks have to look at the breaker.
    pub(crate) fn on_failure(
        &self,
        now_ms: u64,
        row: u32,
        tell: impl FnOnce(bool),
    ) -> Option<BreakerChange> {
        let max_failures = self.max_failures.load(Ordering::Relaxed);
        if max_failures == 0 || row < max_failures {
            return None;
        }
        let mut machine = self.machine.lock();
        let change = machine.as_mut()?.on_failure(now_ms, row);
        self.show(machine.as_ref(), tell);
        change
    }

    pub(crate) fn on_trial(
        &self,
        now_ms: u64,
        trial: Trial,
        outcome: Outcome,
        tell: impl FnOnce(bool),
    ) -> Option<BreakerChange> {
        let mut machine = self.machine.lock();
        let change = machine.as_mut()?.on_trial(now_ms, trial, outcome);
        self.show(machine.as_ref(), tell);
        change
    }

    /// Relaxed: the moment guards no other memory, and whoever comes by it takes the lock.
    fn show(&self, machine: Option<&BreakerMachine>, tell: impl FnOnce(bool)) {
        let trial_ms = machine.map_or(0, BreakerMachine::trial_ms);
        self.trial_ms.store(trial_ms, Ordering::Relaxed);
        tell(machine.is_some_and(|machine| machine.state != State::Closed));
    }
}

#[cfg(test)]
mod tests;
