//! The backends of one pick, and what may be done with them: ask, take, and fall back.

use std::cell::Cell;
use std::ops::Deref;

use crate::backend::Backend;
use crate::breaker::Trial;
use crate::gate::{AdminState, Entry, GateState, Passed};
use crate::ramp::FULL_BITS;
use crate::rng::Rng;

use super::least_connections::tie_break;
use super::{Pick, PickRequest};

/// Positions are those in the pool view; only the eligible ones may be asked about.
pub(super) struct Candidates<'a, 'r, B> {
    backends: &'a [B],
    eligible: &'a [u32],
    request: &'a mut PickRequest<'r>,
    panic_threshold: f64,
    hash_decides: bool,
    ramps: Ramps,
    /// Whether the pool is in panic; counted when a backend is met that only its health keeps out.
    in_panic: Cell<Option<bool>>,
    /// Whether some backend was refused only because it is at its limit.
    saw_full: bool,
    /// Of the one that was taken, if it is one.
    trial: Option<Trial>,
}

impl<'a, 'r, B: Deref<Target = Backend>> Candidates<'a, 'r, B> {
    pub(super) fn new(
        backends: &'a [B],
        eligible: &'a [u32],
        policy: Policy,
        request: &'a mut PickRequest<'r>,
    ) -> Self {
        Self {
            backends,
            eligible,
            request,
            panic_threshold: policy.panic_threshold,
            hash_decides: policy.hash_decides,
            ramps: Ramps::default(),
            in_panic: Cell::new(None),
            saw_full: false,
            trial: None,
        }
    }

    /// The positions that may get traffic. Never empty while an algorithm runs.
    pub(super) fn eligible(&self) -> &'a [u32] {
        self.eligible
    }

    pub(super) fn hash(&self) -> u64 {
        self.request.hash
    }

    pub(super) fn random(&mut self) -> &mut Rng {
        self.request.random
    }

    pub(super) fn in_flight(&self, index: usize) -> u32 {
        self.backends[index].in_flight()
    }

    /// What is in flight, as a backend at its full share would feel it.
    pub(super) fn load(&self, index: usize) -> u64 {
        let in_flight = u64::from(self.in_flight(index));
        if !self.ramps.were_met {
            return in_flight;
        }
        let share = self.backends[index].share(self.request.now_ms);
        (in_flight << FULL_BITS) / u64::from(share)
    }

    /// Whether it is untried and its gate would let this pick through.
    pub(super) fn is_pickable(&mut self, index: usize) -> bool {
        !self.request.tried.contains(index)
            && match self.backends[index].entry(self.request.now_ms) {
                Entry::Open => true,
                Entry::Ramping => self.is_its_turn(index),
                Entry::Unwell => self.is_in_panic(),
                Entry::Closed => false,
            }
    }

    /// Whether a backend that ramps gets this pick: as often as its share says. The same within a pick, however often an
    /// algorithm asks.
    fn is_its_turn(&mut self, index: usize) -> bool {
        self.ramps.were_met = true;
        if self.ramps.are_ignored {
            return true;
        }
        let share = self.backends[index].share(self.request.now_ms);
        let salt = match (self.hash_decides, self.ramps.salt) {
            (true, _) => self.request.hash,
            (false, Some(salt)) => salt,
            (false, None) => self.request.random.next_u64(),
        };
        self.ramps.salt = Some(salt);
        let drawn = tie_break(index, salt) >> (u64::BITS - FULL_BITS);
        let is_its_turn = drawn < u64::from(share);
        self.ramps.passed_over |= !is_its_turn;
        is_its_turn
    }

    /// When nothing was taken: whether there were some that ramp and were passed over. They are not any more.
    pub(super) fn has_passed_over(&mut self) -> bool {
        self.ramps.are_ignored = true;
        std::mem::take(&mut self.ramps.passed_over)
    }

    fn is_in_panic(&self) -> bool {
        if let Some(known) = self.in_panic.get() {
            return known;
        }
        let indices = self.eligible.iter().map(|index| *index as usize);
        let in_panic = is_in_panic(
            indices.map(|index| &*self.backends[index]),
            self.panic_threshold,
        );
        self.in_panic.set(Some(in_panic));
        in_panic
    }

    /// Whether it could be taken just now. Notes that it is full, if that is what stands in the way.
    pub(super) fn is_open(&mut self, index: usize) -> bool {
        if !self.is_pickable(index) {
            return false;
        }
        let is_full = self.backends[index].is_full();
        self.saw_full |= is_full;
        !is_full
    }

    /// Leases it and passes its gate. In this order: a trial that finds no place would be lost until its deadline.
    pub(super) fn take(&mut self, index: usize) -> bool {
        if !self.is_pickable(index) {
            return false;
        }
        let backend = &self.backends[index];
        if backend.try_lease().is_err() {
            self.saw_full = true;
            return false;
        }
        // Whoever is unwell was let through above by the panic of its pool.
        let entered = match backend.try_enter(self.request.now_ms) {
            None if self.in_panic.get() == Some(true) => {
                backend.try_enter_unwell(self.request.now_ms)
            }
            entered => entered,
        };
        match entered {
            Some(Passed::Freely) => {}
            Some(Passed::OnTrial(trial)) => self.trial = Some(trial),
            None => backend.release(), // another worker was faster and makes the trial
        }
        entered.is_some()
    }

    /// What taking this one comes to.
    pub(super) fn picked(&self, index: usize) -> Pick {
        match self.trial {
            None => Pick::Picked(index),
            Some(trial) => Pick::OnTrial(index, trial),
        }
    }

    /// Takes the first eligible one that can be had, from the `start`th on and round to it.
    pub(super) fn take_any_from(&mut self, start: usize) -> Option<usize> {
        let (before, from) = self.eligible.split_at(start.min(self.eligible.len()));
        let mut order = from.iter().chain(before).map(|index| *index as usize);
        order.find(|index| self.take(*index))
    }

    /// Takes the first eligible one that can be had, from a random one on.
    pub(super) fn take_any(&mut self) -> Option<usize> {
        let start = self.request.random.below(self.eligible.len());
        self.take_any_from(start)
    }

    /// How many could be taken just now.
    pub(super) fn count_open(&mut self) -> usize {
        let eligible = self.eligible;
        eligible
            .iter()
            .filter(|index| self.is_open(**index as usize))
            .count()
    }

    /// The `n`th of those that could be taken. `None` if there are fewer by now.
    pub(super) fn nth_open(&mut self, n: usize) -> Option<usize> {
        let eligible = self.eligible;
        eligible
            .iter()
            .map(|index| *index as usize)
            .filter(|index| self.is_open(*index))
            .nth(n)
    }

    /// Takes the open one with the smallest rank.
    ///
    /// Another worker may be faster between the look and the lease. Then it looks again, and after a few rounds
    /// takes what it gets: this pool is so busy that the difference between its backends is noise.
    pub(super) fn take_least<R: Ord>(
        &mut self,
        mut rank: impl FnMut(&Self, usize) -> R,
    ) -> Option<usize> {
        for _ in 0..LOOKS_MAX {
            let mut least: Option<(R, usize)> = None;
            for index in self.eligible.iter().map(|index| *index as usize) {
                if self.is_open(index) {
                    let rank = rank(self, index);
                    if least.as_ref().is_none_or(|(smallest, _)| rank < *smallest) {
                        least = Some((rank, index));
                    }
                }
            }
            let (_, index) = least?;
            if self.take(index) {
                return Some(index);
            }
        }
        self.take_any()
    }

    /// When nothing could be taken: wait if something was only full, else try what rests.
    pub(super) fn last_resort(self) -> Pick {
        if self.saw_full {
            return Pick::Full;
        }
        let untried = |index: &usize| !self.request.tried.contains(*index);
        let indices = self.eligible.iter().map(|index| *index as usize);
        let mut resting: Option<(u64, usize)> = None;
        let (mut saw_full, mut saw_broken) = (false, false);
        for index in indices.filter(untried) {
            let backend = &self.backends[index];
            let until_ms = match backend.gate() {
                GateState::Resting { until_ms } | GateState::HalfOpen { until_ms } => until_ms,
                // It came back since it was asked.
                GateState::Pickable => 0,
                // In panic it rests too, or it would have been taken: after those that only rest.
                GateState::Unhealthy | GateState::Ejected if self.is_in_panic() => u64::MAX,
                GateState::Broken => {
                    saw_broken = true;
                    continue;
                }
                GateState::Unhealthy
                | GateState::Ejected
                | GateState::Draining
                | GateState::Disabled => continue,
            };
            if backend.is_full() {
                saw_full = true;
            } else if resting.is_none_or(|(earliest_ms, _)| until_ms < earliest_ms) {
                resting = Some((until_ms, index));
            }
        }
        match resting {
            Some((_, index)) if self.backends[index].try_lease().is_ok() => Pick::Picked(index),
            Some(_) => Pick::Full,
            None if saw_full => Pick::Full,
            None if saw_broken => Pick::Broken,
            None => Pick::Unavailable,
        }
    }
}

/// What holds for all picks of a pool view.
#[derive(Clone, Copy)]
pub(super) struct Policy {
    pub(super) panic_threshold: f64,
    /// Under a hash algorithm the key decides what chance does elsewhere.
    pub(super) hash_decides: bool,
}

/// What a pick knows of backends that have not their full share yet.
#[derive(Default)]
struct Ramps {
    were_met: bool,
    passed_over: bool,
    are_ignored: bool,
    /// Decides whose turn it is, with the position; drawn when the first is met.
    salt: Option<u64>,
}

/// Whether less than this share of the backends that the operator lets be picked is healthy.
pub(super) fn is_in_panic<'b>(backends: impl Iterator<Item = &'b Backend>, threshold: f64) -> bool {
    if threshold <= 0.0 {
        return false;
    }
    let (mut well, mut all) = (0_u32, 0_u32);
    for backend in backends.filter(|one| one.admin_state() == AdminState::Enabled) {
        all += 1;
        well += u32::from(backend.is_well());
    }
    f64::from(well) < threshold * f64::from(all)
}

const LOOKS_MAX: usize = 4;
