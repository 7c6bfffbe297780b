//! Whether a backend may be picked: one word that every pick reads, and the machine behind it.
//!
//! ```text
//!                        failed connect                     until reached, one pick wins the CAS
//!   ┌──────────┐ ───────────────────────────► ┌───────────┐ ────────────────────────► ┌────────────┐
//!   │ Pickable │                              │ Resting   │                           │ HalfOpen   │ ──┐ deadline passed:
//!   │ fails =0 │ ◄─────────────────────────── │ until t   │ ◄──────────────────────── │ deadline d │ ◄─┘ the next pick is
//!   └──────────┘    success (fails := 0)      └───────────┘   failed connect (longer) └────────────┘     a new trial
//!        ▲                                                                                  │
//!        └───────────────────────────────── success (fails := 0) ───────────────────────────┘
//!
//!   Over all of it lies what the circuit breaker says: Closed, or not; over that what passive checks say: In, Ejected;
//!   over that what probes say: Healthy, Unhealthy; and over that what the operator wants: Enabled, Draining, Disabled.
//!   The machine keeps running beneath. Beside it all a backend that came back may be Ramping ([`Ramp`]).
//! ```
//!
//! - The word is `until_ms << 8 | ramping << 7 | broken << 6 | ejected << 5 | unhealthy << 4 | machine << 2 | admin`, and 0 exactly for
//!   "enabled, healthy, in, unbroken, at its full share and pickable": the path of such a backend is one relaxed load and one comparison.
//! - `broken` says that the breaker is not closed: whoever meets it asks the [`Breaker`], which may let a trial pass.
//! - A rest is 100 ms, doubling to 10 s with every failed trial. A failure reported *while* it rests does not
//!   lengthen it: when a backend dies, every attempt under way fails at once, and that is one event, not sixty.
//! - The end of a rest lets exactly one pick through, among all workers: whoever swaps the word. A trial that
//!   never reports (its client went away) is replaced after a deadline, so a backend always comes back.
//! - The mutex is taken for failures, for successes while the word is not plain pickable, and by control.
//!   Only the swap to HalfOpen happens outside it; therefore changes under the lock are CAS loops too.

use crate::breaker::{Breaker, BreakerChange, BreakerRecord, BreakerRules, Trial};
use crate::cache_line::CacheLine;
use crate::ramp::{FULL, Ramp, RampState};
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::tally::Outcome;

/// What the operator wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AdminState {
    #[default]
    Enabled,
    /// No new leases; what is in flight finishes.
    Draining,
    /// No new leases; control also closes its idle connections and stops probing it.
    Disabled,
}

impl AdminState {
    /// The name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }
}

/// What a gate says at one moment. Times are those of the caller's `now_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateState {
    Pickable,
    /// After a failed connect. From `until_ms` on, one pick may try it.
    Resting {
        until_ms: u64,
    },
    /// One trial is under way. From `until_ms` on it counts as lost and another may begin.
    HalfOpen {
        until_ms: u64,
    },
    /// Its probes fail. Only a pool in panic picks it.
    Unhealthy,
    /// Its traffic fails. Only a pool in panic picks it.
    Ejected,
    /// Its circuit breaker is not closed. A trial picks it.
    Broken,
    Draining,
    Disabled,
}

/// Whether a pick may choose a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Open,
    /// Open, and it has not its full share yet.
    Ramping,
    /// Only its health keeps it out: a pool in panic picks it.
    Unwell,
    Closed,
}

impl GateState {
    /// The name in the admin API and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pickable => "pickable",
            Self::Resting { .. } => "resting",
            Self::HalfOpen { .. } => "half_open",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
            Self::Broken => "circuit_open",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }
}

/// A rest that has just begun: what a log line about it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    pub rest_ms: u64,
    /// Failed connects in a row, as far as they were separate events.
    pub failures: u32,
}

/// How a gate was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a trial that is not ended counts as under way"]
pub enum Passed {
    Freely,
    /// Past a breaker that is half open: what comes of it decides.
    OnTrial(Trial),
}

/// What is remembered behind the word.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Machine {
    /// Invariant: 0 exactly while the machine's part of the word is `PICKABLE`.
    pub(crate) failures: u32,
    /// Rests ever begun.
    pub(crate) rests: u64,
}

pub(crate) struct Gate {
    word: CacheLine<AtomicU64>,
    machine: Mutex<Machine>,
    breaker: Breaker,
    ramp: Ramp,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            word: CacheLine(AtomicU64::new(OPEN)),
            machine: Mutex::new(Machine::default()),
            breaker: Breaker::new(),
            ramp: Ramp::new(),
        }
    }

    /// Another one in the same state. Its two parts are read one after the other: while it changes, the copy may be
    /// one that never was.
    pub(crate) fn copy(&self) -> Self {
        let machine = self.machine();
        Self {
            word: CacheLine(AtomicU64::new(self.load())),
            machine: Mutex::new(machine),
            breaker: self.breaker.copy(),
            ramp: self.ramp.copy(),
        }
    }

    pub(crate) fn state(&self) -> GateState {
        decode(self.load())
    }

    pub(crate) fn machine(&self) -> Machine {
        *self.machine.lock()
    }

    /// Whether a pick at `now_ms` may choose it. Promises nothing: [`Gate::try_enter`] decides.
    pub(crate) fn entry(&self, now_ms: u64) -> Entry {
        let word = self.load();
        if word == OPEN {
            return Entry::Open;
        }
        if word & BROKEN != 0 && !self.breaker.may_begin(now_ms) {
            return Entry::Closed;
        }
        // A trial finds out, whatever its share would be.
        let is_ramping = word & RAMPING != 0 && word & BROKEN == 0 && machine_of(word) == PICKABLE;
        let word = word & !(BROKEN | RAMPING);
        if is_open(word, now_ms) {
            if is_ramping {
                Entry::Ramping
            } else {
                Entry::Open
            }
        } else if is_open(word & !UNWELL, now_ms) {
            Entry::Unwell
        } else {
            Entry::Closed
        }
    }

    /// Passes the gate. After a rest, the one caller that gets through makes the trial.
    pub(crate) fn try_enter(&self, now_ms: u64) -> Option<Passed> {
        self.pass(now_ms, 0)
    }

    /// As [`Gate::try_enter`], whatever probes and passive checks say.
    pub(crate) fn try_enter_unwell(&self, now_ms: u64) -> Option<Passed> {
        self.pass(now_ms, UNWELL)
    }

    fn pass(&self, now_ms: u64, ignored: u64) -> Option<Passed> {
        let word = self.load();
        if word == OPEN {
            return Some(Passed::Freely);
        }
        if !is_open(word & !(ignored | BROKEN | RAMPING), now_ms) {
            return None;
        }
        let passed = match word & BROKEN {
            0 => Passed::Freely,
            _ => Passed::OnTrial(self.breaker.begin_trial(now_ms)?),
        };
        if machine_of(word) == PICKABLE {
            return Some(passed); // nothing to win: what stands in the way is ignored
        }
        // Nobody else can have put the same word back: every new one has a later time in it.
        let trial = encode(HALF_OPEN, now_ms.saturating_add(TRIAL_MS), kept_of(word));
        let won = self.swap(word, trial).is_ok();
        if let (false, Passed::OnTrial(trial)) = (won, passed) {
            self.breaker.forget_trial(trial);
        }
        won.then_some(passed)
    }

    /// The moment at which a backend that rests or is on trial may be picked again.
    /// `None` if it is pickable, or kept out by the operator.
    pub(crate) fn rests_until(&self) -> Option<u64> {
        match self.state() {
            GateState::Resting { until_ms } | GateState::HalfOpen { until_ms } => Some(until_ms),
            GateState::Pickable
            | GateState::Unhealthy
            | GateState::Ejected
            | GateState::Broken
            | GateState::Draining
            | GateState::Disabled => None,
        }
    }

    pub(crate) fn on_failure(&self, now_ms: u64, jitter: u64) -> Option<Rest> {
        let mut machine = self.machine.lock();
        let mut word = self.load();
        loop {
            if machine_of(word) == RESTING && now_ms < until_of(word) {
                return None;
            }
            let failures = machine.failures.saturating_add(1);
            let rest_ms = rest_ms(failures, jitter);
            let next = encode(RESTING, now_ms.saturating_add(rest_ms), kept_of(word));
            match self.swap(word, next) {
                Ok(()) => {
                    machine.failures = failures;
                    machine.rests = machine.rests.saturating_add(1);
                    return Some(Rest { rest_ms, failures });
                }
                Err(seen) => word = seen,
            }
        }
    }

    /// Returns whether this success ended a rest or a trial.
    pub(crate) fn on_success(&self) -> bool {
        if machine_of(self.load()) == PICKABLE {
            return false;
        }
        let mut machine = self.machine.lock();
        let mut word = self.load();
        while machine_of(word) != PICKABLE {
            // One failed connect may be chance. Whoever failed trials too was down, and is back since its trial began.
            let is_ramping = machine.failures > 1
                && machine_of(word) == HALF_OPEN
                && self.ramp.slow_start_ms() != 0;
            let ramping = if is_ramping { RAMPING } else { 0 };
            match self.swap(word, encode(PICKABLE, 0, kept_of(word) | ramping)) {
                Ok(()) => {
                    if is_ramping {
                        self.ramp.begin(until_of(word).saturating_sub(TRIAL_MS));
                    }
                    machine.failures = 0;
                    return true;
                }
                Err(seen) => word = seen,
            }
        }
        false
    }

    /// How long it takes to its full share when it comes back. 0 = no time.
    pub(crate) fn set_slow_start(&self, slow_start_ms: u64) {
        self.ramp.set_slow_start(slow_start_ms);
    }

    /// It came back for whatever reason. Returns how long it takes; `None`: no time.
    pub(crate) fn begin_ramp(&self, now_ms: u64) -> Option<u64> {
        let slow_start_ms = self.ramp.slow_start_ms();
        if slow_start_ms == 0 {
            return None;
        }
        let _machine = self.machine.lock();
        self.ramp.begin(now_ms);
        self.replace_flags(RAMPING, RAMPING);
        Some(slow_start_ms)
    }

    /// What it gets of its share, of [`FULL`].
    pub(crate) fn share(&self, now_ms: u64) -> u32 {
        if self.load() & RAMPING == 0 {
            return FULL;
        }
        let share = self.ramp.share(now_ms);
        if share == FULL {
            self.end_ramp(now_ms);
        }
        share
    }

    /// Under the lock, and looked at again: it may have come back once more.
    fn end_ramp(&self, now_ms: u64) {
        let _machine = self.machine.lock();
        if self.ramp.share(now_ms) == FULL {
            self.replace_flags(RAMPING, 0);
        }
    }

    /// `None`: it has its full share.
    pub(crate) fn ramp(&self, now_ms: u64) -> Option<RampState> {
        (self.share(now_ms) != FULL).then(|| self.ramp.state(now_ms))
    }

    pub(crate) fn set_admin_state(&self, state: AdminState) {
        let admin = match state {
            AdminState::Enabled => ADMIN_ENABLED,
            AdminState::Draining => ADMIN_DRAINING,
            AdminState::Disabled => ADMIN_DISABLED,
        };
        self.set_flags(ADMIN_MASK, admin);
    }

    /// What probes say.
    pub(crate) fn set_healthy(&self, is_healthy: bool) {
        self.set_flags(UNHEALTHY, if is_healthy { 0 } else { UNHEALTHY });
    }

    /// What passive checks say.
    pub(crate) fn set_ejected(&self, is_ejected: bool) {
        self.set_flags(EJECTED, if is_ejected { EJECTED } else { 0 });
    }

    pub(crate) fn set_breaker(&self, rules: Option<BreakerRules>) {
        self.breaker
            .set_rules(rules, |is_broken| self.set_broken(is_broken));
    }

    pub(crate) fn breaker(&self) -> Option<BreakerRecord> {
        self.breaker.record()
    }

    /// An attempt failed, as the `row`th in a row.
    pub(crate) fn on_failed_attempt(&self, now_ms: u64, row: u32) -> Option<BreakerChange> {
        self.breaker
            .on_failure(now_ms, row, |is_broken| self.set_broken(is_broken))
    }

    pub(crate) fn on_trial(
        &self,
        now_ms: u64,
        trial: Trial,
        outcome: Outcome,
    ) -> Option<BreakerChange> {
        self.breaker.on_trial(now_ms, trial, outcome, |is_broken| {
            self.set_broken(is_broken);
        })
    }

    pub(crate) fn forget_trial(&self, trial: Trial) {
        self.breaker.forget_trial(trial);
    }

    /// Under the breaker's lock, so that the flag never tells an older state.
    fn set_broken(&self, is_broken: bool) {
        self.set_flags(BROKEN, if is_broken { BROKEN } else { 0 });
    }

    /// Whether neither probes nor passive checks keep it out.
    pub(crate) fn is_well(&self) -> bool {
        self.load() & UNWELL == 0
    }

    fn set_flags(&self, mask: u64, flags: u64) {
        let _machine = self.machine.lock();
        self.replace_flags(mask, flags);
    }

    /// Under the lock.
    fn replace_flags(&self, mask: u64, flags: u64) {
        let mut word = self.load();
        while let Err(seen) = self.swap(word, word & !mask | flags) {
            word = seen;
        }
    }

    pub(crate) fn admin_state(&self) -> AdminState {
        match admin_of(self.load()) {
            ADMIN_ENABLED => AdminState::Enabled,
            ADMIN_DRAINING => AdminState::Draining,
            _ => AdminState::Disabled,
        }
    }

    /// Relaxed everywhere: the word guards no other memory, and what `Machine` holds is behind the mutex.
    fn load(&self) -> u64 {
        self.word.0.load(Ordering::Relaxed)
    }

    fn swap(&self, from: u64, to: u64) -> Result<(), u64> {
        self.word
            .0
            .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed)
            .map(drop)
    }
}

fn encode(machine: u64, until_ms: u64, flags: u64) -> u64 {
    // 56 bits of milliseconds are 2 million years; a caller's absurd clock must still not reach the flags.
    (until_ms.min(UNTIL_MAX_MS) << UNTIL_SHIFT) | (machine << MACHINE_SHIFT) | flags
}

fn decode(word: u64) -> GateState {
    let until_ms = until_of(word);
    match admin_of(word) {
        ADMIN_ENABLED => {}
        ADMIN_DRAINING => return GateState::Draining,
        _ => return GateState::Disabled,
    }
    match machine_of(word) {
        _ if word & UNHEALTHY != 0 => GateState::Unhealthy,
        _ if word & EJECTED != 0 => GateState::Ejected,
        _ if word & BROKEN != 0 => GateState::Broken,
        PICKABLE => GateState::Pickable,
        RESTING => GateState::Resting { until_ms },
        _ => GateState::HalfOpen { until_ms },
    }
}

fn is_open(word: u64, now_ms: u64) -> bool {
    // A pickable machine has 0 as its time, so one comparison covers it and both ways to wait.
    word == OPEN || (flags_of(word) == 0 && now_ms >= until_of(word))
}

/// What keeps it out whatever the machine says.
fn flags_of(word: u64) -> u64 {
    word & (ADMIN_MASK | UNWELL | BROKEN)
}

/// What stays when the machine changes.
fn kept_of(word: u64) -> u64 {
    flags_of(word) | word & RAMPING
}

fn admin_of(word: u64) -> u64 {
    word & ADMIN_MASK
}

fn machine_of(word: u64) -> u64 {
    (word >> MACHINE_SHIFT) & MACHINE_MASK
}

fn until_of(word: u64) -> u64 {
    word >> UNTIL_SHIFT
}

/// 100, 200, 400 … 10,000 ms, less up to a quarter, so that many proxies do not come back in step.
/// `jitter` is any random number; it never lengthens a rest beyond the maximum.
fn rest_ms(failures: u32, jitter: u64) -> u64 {
    let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
    let full = (REST_FIRST_MS << doublings).min(REST_MAX_MS);
    full - jitter % (full / 4 + 1)
}

/// Long enough for a process to be restarted by its supervisor, short enough to go unnoticed.
const REST_FIRST_MS: u64 = 100;
const REST_MAX_MS: u64 = 10_000;
/// 100 ms doubled 7 times is above the maximum; more would only risk the shift.
const DOUBLINGS_MAX: u32 = 7;
/// As long as the default `timeouts.connect`: a trial that is still connecting then is about to fail.
const TRIAL_MS: u64 = 5_000;

const ADMIN_MASK: u64 = 0b11;
const ADMIN_ENABLED: u64 = 0;
const ADMIN_DRAINING: u64 = 1;
const ADMIN_DISABLED: u64 = 2;
const MACHINE_SHIFT: u32 = 2;
const MACHINE_MASK: u64 = 0b11;
const PICKABLE: u64 = 0;
const RESTING: u64 = 1;
const HALF_OPEN: u64 = 2;
const UNHEALTHY: u64 = 1 << 4;
const EJECTED: u64 = 1 << 5;
const UNWELL: u64 = UNHEALTHY | EJECTED;
/// The breaker is not closed.
const BROKEN: u64 = 1 << 6;
/// It has not its full share yet.
const RAMPING: u64 = 1 << 7;
const UNTIL_SHIFT: u32 = 8;
const UNTIL_MAX_MS: u64 = u64::MAX >> UNTIL_SHIFT;
/// Enabled, healthy, in, unbroken, at its full share and pickable.
const OPEN: u64 = 0;

#[cfg(test)]
mod tests;
