//! One backend as all workers share it: who it is, its gate and its leases.
//!
//! It outlives reloads: control finds it again by its [`BackendIdentity`]. What a configuration may change
//! without making it another backend (`max_connections`, what the operator wants) is settable; weights are compiled into
//! the pool views that use it, see [`Balancer`](crate::Balancer), and here is only what stands in for them.

use std::fmt;
use std::sync::Arc;

use balance_core::{BackendAddress, Weight};

use crate::breaker::{BreakerChange, BreakerRecord, BreakerRules, Trial};
use crate::ejection::EjectionRecord;
use crate::gate::{AdminState, Entry, Gate, GateState, Passed, Rest};
use crate::health::{Health, HealthRecord};
use crate::lease::Leases;
use crate::places::Full;
use crate::queue::Queue;
use crate::ramp::RampState;
use crate::sync::Mutex;
use crate::tally::{Outcome, Tallied, Tallies, Tally};

/// What makes two backends of two configurations the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackendIdentity {
    /// The pool that defines it. A route's view of a pool uses the same object.
    pub pool: String,
    pub name: String,
    pub address: BackendAddress,
}

/// Everything about a backend at one moment, for the admin API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendState {
    pub gate: GateState,
    pub admin: AdminState,
    /// Whether a pick at this moment might choose it: a rest that has ended counts as pickable.
    pub is_pickable: bool,
    /// How long it still rests, or its trial may still take. 0 otherwise.
    pub rest_left_ms: u64,
    /// Failed connects in a row, as far as they were separate events.
    pub failures: u32,
    /// Rests ever begun.
    pub rests: u64,
    pub in_flight: u32,
    /// 0 = unlimited.
    pub max_connections: u32,
    /// `None`: it has its full share.
    pub ramp: Option<RampState>,
}

/// The shared state of one backend. Held as `Arc` by snapshots.
pub struct Backend {
    identity: BackendIdentity,
    gate: Gate,
    leases: Leases,
    /// `None` while nobody probes it.
    health: Mutex<Option<HealthRecord>>,
    tallies: Tallies,
    /// `None` while nobody judges its traffic.
    ejection: Mutex<Option<EjectionRecord>>,
    /// Read when a pool view is compiled, never by a pick.
    weight: Mutex<Option<RunWeight>>,
    /// Who waits for a place at it, or at others of its pool.
    queue: Arc<Queue>,
}

/// A weight that was set at run time.
#[derive(Clone, Copy, Debug)]
struct RunWeight {
    weight: Weight,
    /// What the configuration said then.
    instead_of: Weight,
}

impl Backend {
    /// A pickable backend without a limit, alone in its pool.
    pub fn new(identity: BackendIdentity) -> Self {
        Self::in_pool(identity, Arc::new(Queue::new()))
    }

    /// A pickable backend without a limit. `queue` is its pool's.
    pub fn in_pool(identity: BackendIdentity, queue: Arc<Queue>) -> Self {
        Self {
            identity,
            gate: Gate::new(),
            leases: Leases::new(),
            health: Mutex::new(None),
            tallies: Tallies::new(),
            ejection: Mutex::new(None),
            weight: Mutex::new(None),
            queue,
        }
    }

    /// Another one in the same state, that nobody shares.
    pub(crate) fn copy(&self) -> Self {
        Self {
            identity: self.identity.clone(),
            gate: self.gate.copy(),
            leases: self.leases.copy(),
            health: Mutex::new(self.health()),
            tallies: Tallies::new(),
            ejection: Mutex::new(self.ejection()),
            weight: Mutex::new(*self.weight.lock()),
            queue: Arc::new(Queue::new()), // nobody waits for a copy
        }
    }

    pub fn identity(&self) -> &BackendIdentity {
        &self.identity
    }

    /// Sets a weight in the place of the configured one, or takes it back. Holds for pool views that are compiled from
    /// now on, until the configuration says another weight than `configured`: who edits that file last is right.
    pub fn set_weight(&self, weight: Option<Weight>, configured: Weight) {
        *self.weight.lock() = weight.map(|weight| RunWeight {
            weight,
            instead_of: configured,
        });
    }

    /// What it weighs where the configuration says `configured`.
    pub fn weight(&self, configured: Weight) -> Weight {
        match *self.weight.lock() {
            Some(set) if set.instead_of == configured => set.weight,
            _ => configured,
        }
    }

    /// Leases that may exist at once; 0 = unlimited. A lower limit takes nothing away: no new lease is given
    /// until enough are back.
    pub fn set_max_connections(&self, n: u32) {
        self.leases.set_max(n);
    }

    /// 0 = unlimited.
    pub fn max_connections(&self) -> u32 {
        self.leases.max()
    }

    /// Leased connections, sessions and streams of the whole process.
    pub fn in_flight(&self) -> u32 {
        self.leases.count()
    }

    /// Takes a place. Whoever gets `Ok` calls [`Backend::release`] once; [`lease`](crate::lease()) does both.
    ///
    /// # Errors
    /// `max_connections` places are taken.
    pub fn try_lease(&self) -> Result<(), Full> {
        self.leases.try_take()
    }

    /// Gives back a place taken by [`Backend::try_lease`] or by a pick, and calls whoever waits for it.
    pub fn release(&self) {
        self.leases.give_back();
        if self.leases.max() != 0 {
            self.queue.on_free_place();
        }
    }

    /// Whether `try_lease` would fail just now.
    pub fn is_full(&self) -> bool {
        self.leases.is_full()
    }

    /// One relaxed load.
    pub fn gate(&self) -> GateState {
        self.gate.state()
    }

    /// Whether a pick at `now_ms` may choose it: pickable, or at the end of a rest. One relaxed load.
    pub fn is_pickable(&self, now_ms: u64) -> bool {
        matches!(self.entry(now_ms), Entry::Open | Entry::Ramping)
    }

    pub(crate) fn entry(&self, now_ms: u64) -> Entry {
        self.gate.entry(now_ms)
    }

    /// What probes say, and holds from the next pick on. `None`: nobody probes it any more.
    pub fn set_health(&self, record: Option<HealthRecord>) {
        let is_healthy = record
            .as_ref()
            .is_none_or(|record| record.health != Health::Unhealthy);
        self.gate.set_healthy(is_healthy);
        *self.health.lock() = record;
    }

    /// What probes found, if it is probed.
    pub fn health(&self) -> Option<HealthRecord> {
        self.health.lock().clone()
    }

    /// What passive checks say, and holds from the next pick on. `None`: nobody judges it any more.
    pub fn set_ejection(&self, record: Option<EjectionRecord>) {
        let is_ejected = record.as_ref().is_some_and(|record| record.until_ms != 0);
        if !is_ejected {
            self.tallies.forget_row();
        }
        self.gate.set_ejected(is_ejected);
        *self.ejection.lock() = record;
    }

    /// What passive checks found, if its traffic is judged.
    pub fn ejection(&self) -> Option<EjectionRecord> {
        self.ejection.lock().clone()
    }

    /// A worker's own count of how its attempts end.
    pub fn open_tally(&self) -> Arc<Tally> {
        self.tallies.open()
    }

    /// An attempt of the worker with this tally ended so, and perhaps it was a trial. One relaxed load of what is
    /// shared, unless something fails. Returns what that does to the breaker: log it.
    ///
    /// Whoever has a lease reports by [`Lease::on_outcome`](crate::Lease::on_outcome), which knows about trials.
    pub fn on_outcome(
        &self,
        tally: &Tally,
        outcome: Outcome,
        trial: Option<Trial>,
        now_ms: u64,
    ) -> Option<BreakerChange> {
        let row = self.tallies.count(tally, outcome);
        match (trial, outcome) {
            (None, Outcome::Success) => None,
            (None, Outcome::Failure) => self.gate.on_failed_attempt(now_ms, row),
            (Some(trial), outcome) => self.gate.on_trial(now_ms, trial, outcome),
        }
    }

    /// A trial ended and says nothing.
    pub fn forget_trial(&self, trial: Trial) {
        self.gate.forget_trial(trial);
    }

    /// How long it takes to its full share when it comes back; 0 = no time.
    pub fn set_slow_start(&self, slow_start_ms: u64) {
        self.gate.set_slow_start(slow_start_ms);
    }

    /// It came back: from its probes' or passive checks' or breaker's or operator's verdict, or as a new one in a pool that
    /// serves. Returns how long it takes to its full share, if it takes time: log that. The end of a rest is known here.
    pub fn begin_ramp(&self, now_ms: u64) -> Option<u64> {
        self.gate.begin_ramp(now_ms)
    }

    /// What it gets of its share; see [`crate::ramp::FULL`].
    pub(crate) fn share(&self, now_ms: u64) -> u32 {
        self.gate.share(now_ms)
    }

    /// Gives it a circuit breaker, other rules, or takes it away (then it is picked again, if nothing else keeps it
    /// out). What the breaker knows is kept.
    pub fn set_breaker(&self, rules: Option<BreakerRules>) {
        self.gate.set_breaker(rules);
    }

    /// How its breaker stands, if it has one.
    pub fn breaker(&self) -> Option<BreakerRecord> {
        self.gate.breaker()
    }

    /// Whether workers take the time of answers ([`Tally::on_answer`]): somebody judges by it.
    pub fn set_timed(&self, is_timed: bool) {
        self.tallies.set_timed(is_timed);
    }

    /// One relaxed load.
    pub fn is_timed(&self) -> bool {
        self.tallies.is_timed()
    }

    /// How attempts ended up to now. For the one judge: it takes the row of failures along.
    pub fn take_tallied(&self) -> Tallied {
        self.tallies.take()
    }

    /// Whether it counts as healthy for its pool's panic threshold.
    pub(crate) fn is_well(&self) -> bool {
        self.gate.is_well()
    }

    /// A connection could not be established (refused, timed out, name not resolved, handshake failed) after all
    /// its addresses were tried. Returns the rest that begins, if this failure begins one: log that, not each failure.
    ///
    /// `jitter` is any random number.
    pub fn on_connect_failure(&self, now_ms: u64, jitter: u64) -> Option<Rest> {
        self.gate.on_failure(now_ms, jitter)
    }

    /// A connection was established, or an answer came. One relaxed load unless the backend rests or is on trial.
    /// Returns whether it came back through this: log that.
    pub fn on_success(&self) -> bool {
        self.gate.on_success()
    }

    /// Drains, disables or enables it. What is in flight goes on.
    pub fn set_admin_state(&self, state: AdminState) {
        self.gate.set_admin_state(state);
    }

    pub fn admin_state(&self) -> AdminState {
        self.gate.admin_state()
    }

    /// For the admin API and metrics. The parts are read one after the other, not at one instant.
    pub fn snapshot_state(&self, now_ms: u64) -> BackendState {
        let machine = self.gate.machine();
        let rest_left_ms = self
            .gate
            .rests_until()
            .map_or(0, |until_ms| until_ms.saturating_sub(now_ms));
        BackendState {
            gate: self.gate(),
            admin: self.admin_state(),
            is_pickable: self.is_pickable(now_ms),
            rest_left_ms,
            failures: machine.failures,
            rests: machine.rests,
            in_flight: self.in_flight(),
            max_connections: self.max_connections(),
            ramp: self.gate.ramp(now_ms),
        }
    }

    /// Passes the gate. For whoever chooses a backend without a [`Balancer`](crate::Balancer), whose picks do this
    /// themselves: take a lease first, then enter. At the end of a rest exactly one caller among all workers gets
    /// through, and its attempt is the trial; it reports by `on_success` or `on_connect_failure`.
    pub fn try_enter(&self, now_ms: u64) -> Option<Passed> {
        self.gate.try_enter(now_ms)
    }

    /// As [`Backend::try_enter`], for a pool in panic.
    pub(crate) fn try_enter_unwell(&self, now_ms: u64) -> Option<Passed> {
        self.gate.try_enter_unwell(now_ms)
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("identity", &self.identity)
            .field("gate", &self.gate())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use balance_core::{BackendAddress, Weight};

    use super::{Backend, BackendIdentity};

    #[test]
    fn a_weight_of_run_time_holds_until_the_configuration_says_another() {
        let backend = Backend::new(BackendIdentity {
            pool: "p".to_owned(),
            name: "a".to_owned(),
            address: BackendAddress::parse("127.0.0.1:9001").unwrap(),
        });
        let weights = || [2, 3].map(|configured| backend.weight(Weight(configured)).0);
        assert_eq!(weights(), [2, 3]);
        backend.set_weight(Some(Weight(0)), Weight(2));
        assert_eq!(weights(), [0, 3]);
        backend.set_weight(Some(Weight(7)), Weight(3));
        assert_eq!(weights(), [2, 7]);
        backend.set_weight(None, Weight(3));
        assert_eq!(weights(), [2, 3]);
    }
}
