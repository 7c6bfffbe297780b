//! The balancing policy of one pool view: compiled once, immutable, one file per algorithm.
//!
//! Every algorithm only proposes positions; [`Candidates`] says whether a proposed backend can be had and leases
//! it. What is the same for all of them is decided here: what happens when nothing is left.
//!
//! **Last resort.** When every backend that is left rests (its last connect failed), the one whose rest ends first
//! is picked all the same, and any number of requests may do so. A rest is a hint to prefer others, based on one
//! failed connect; turning it into an answer of 503 would make a pool of one backend worse than no balancing: a
//! refused connect costs microseconds, and the first request after a restart should succeed. What an operator has
//! drained or disabled is never picked, and past a breaker that is not closed only its trials go.
//!
//! **Slow start.** A backend that has not its full share yet is passed over as often as that says; when nothing else is left
//! the algorithm is asked once more, and takes it as any other.
//!
//! **Panic.** Unhealthy backends are not picked, and a pool without healthy ones answers 503, unless it has a panic
//! threshold: below that share of healthy backends health is not looked at. The count is made only by a pick that meets
//! a backend which its health alone keeps out, so a healthy pool pays nothing for it.

mod bounded_consistent_hash;
mod candidates;
mod consistent_hash;
mod least_connections;
mod power_of_two;
mod random;
mod rehearsal;
mod ring;
mod round_robin;
mod weighted_least_connections;
mod weighted_round_robin;

use std::ops::Deref;
use std::sync::Arc;

use balance_core::{Algorithm, Weight};

use crate::backend::Backend;
use crate::breaker::Trial;
use crate::cursor::Cursor;
use crate::hash::hash_key;
use crate::rng::Rng;
use crate::tried::TriedSet;

use bounded_consistent_hash::BoundedConsistentHash;
use candidates::{Candidates, Policy};
use consistent_hash::ConsistentHash;
use least_connections::LeastConnections;
use power_of_two::PowerOfTwo;
use random::Random;
use round_robin::RoundRobin;
use weighted_least_connections::WeightedLeastConnections;
use weighted_round_robin::WeightedRoundRobin;

pub use rehearsal::{NoBackend, Rehearsal};

/// What a pool view says about one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Places it on a ring. Equal for the same backend in every configuration, on every machine.
    pub key: u64,
    /// Weighted and hash algorithms use it, and send nothing to a weight of 0. The others ignore it.
    pub weight: Weight,
}

impl Member {
    /// The member named `name`. Its address plays no part, so that moving a backend moves no keys.
    pub fn new(name: &str, weight: Weight) -> Self {
        Self {
            key: hash_key(name.as_bytes()),
            weight,
        }
    }
}

/// The outside of one pick.
pub struct PickRequest<'a> {
    /// The clock that the backends' gates are fed with.
    pub now_ms: u64,
    /// The hash of the key, see [`hash_key`] and [`hash_ip`](crate::hash_ip). Only for hash algorithms.
    pub hash: u64,
    /// The worker's generator.
    pub random: &'a mut Rng,
    /// What this exchange has tried, as positions in the same pool view.
    pub tried: &'a TriedSet,
}

/// What a pick comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a picked backend is leased: adopt the lease"]
pub enum Pick {
    /// The backend at this position. Its place **is taken**: guard it with [`Lease::adopt`](crate::Lease::adopt).
    Picked(usize),
    /// As `Picked`, past a breaker that is half open: guard it with
    /// [`Lease::adopt_trial`](crate::Lease::adopt_trial), and report how it ends.
    OnTrial(usize, Trial),
    /// Some backend may be picked, but all such are at their `max_connections`: wait for one.
    Full,
    /// No backend is left, and some are out only because their breakers are not closed.
    Broken,
    /// No backend is left: all are tried, drained, disabled, unhealthy, ejected or without weight.
    Unavailable,
}

/// A compiled policy. The cursor is shared between workers and outlives it; everything else is its own.
#[derive(Debug)]
pub struct Balancer {
    algorithm: Algorithm,
    strategy: Strategy,
    /// The positions that may get traffic, ascending.
    eligible: Box<[u32]>,
    members: usize,
    /// Below this share of healthy backends all are used. 0 = never.
    panic_threshold: f64,
}

impl Balancer {
    /// Compiles `members`, which stand in the order of the backends that [`Balancer::pick`] will be given.
    pub fn compile(algorithm: Algorithm, members: &[Member], cursor: Arc<Cursor>) -> Self {
        let by_weight = algorithm.uses_weights();
        let eligible: Box<[u32]> = (0_u32..)
            .zip(members)
            .filter(|(_, member)| !by_weight || member.weight.0 > 0)
            .map(|(index, _)| index)
            .collect();
        let strategy = match algorithm {
            Algorithm::RoundRobin => Strategy::RoundRobin(RoundRobin::compile(cursor)),
            Algorithm::WeightedRoundRobin => {
                Strategy::WeightedRoundRobin(WeightedRoundRobin::compile(members, cursor))
            }
            Algorithm::LeastConnections => Strategy::LeastConnections(LeastConnections),
            Algorithm::WeightedLeastConnections => {
                Strategy::WeightedLeastConnections(WeightedLeastConnections::compile(members))
            }
            Algorithm::ConsistentHash => Strategy::ConsistentHash(ConsistentHash::compile(members)),
            Algorithm::BoundedConsistentHash => {
                Strategy::BoundedConsistentHash(BoundedConsistentHash::compile(members))
            }
            Algorithm::Random => Strategy::Random(Random),
            Algorithm::PowerOfTwoChoices => Strategy::PowerOfTwo(PowerOfTwo),
        };
        Self {
            algorithm,
            strategy,
            eligible,
            members: members.len(),
            panic_threshold: 0.0,
        }
    }

    /// With this share, 0 to 1, of healthy backends as the least below which health is not looked at; 0 = never.
    #[must_use]
    pub fn with_panic_threshold(self, share: f64) -> Self {
        Self {
            panic_threshold: share,
            ..self
        }
    }

    /// Whether picks do not look at health just now.
    pub fn is_in_panic<B: Deref<Target = Backend>>(&self, backends: &[B]) -> bool {
        let indices = self.eligible.iter().map(|index| *index as usize);
        candidates::is_in_panic(indices.map(|index| &*backends[index]), self.panic_threshold)
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// How many backends it was compiled for.
    pub fn len(&self) -> usize {
        self.members
    }

    pub fn is_empty(&self) -> bool {
        self.members == 0
    }

    /// Chooses a backend that is pickable and untried, and takes a place at it.
    ///
    /// `backends` are those that it was compiled for, in the same order.
    pub fn pick<B: Deref<Target = Backend>>(
        &self,
        backends: &[B],
        request: &mut PickRequest<'_>,
    ) -> Pick {
        debug_assert_eq!(backends.len(), self.members, "compiled for other backends");
        let policy = Policy {
            panic_threshold: self.panic_threshold,
            hash_decides: self.algorithm.needs_hash(),
        };
        let mut candidates = Candidates::new(backends, &self.eligible, policy, request);
        let mut picked = self.choose(&mut candidates);
        if picked.is_none() && candidates.has_passed_over() {
            picked = self.choose(&mut candidates);
        }
        match picked {
            Some(index) => candidates.picked(index),
            None => candidates.last_resort(),
        }
    }

    fn choose<B: Deref<Target = Backend>>(
        &self,
        candidates: &mut Candidates<'_, '_, B>,
    ) -> Option<usize> {
        match self.eligible.len() {
            0 => None,
            1 => candidates.take_any_from(0), // and no write to the shared cursor
            _ => self.strategy.pick(candidates),
        }
    }
}

#[derive(Clone, Debug)]
enum Strategy {
    RoundRobin(RoundRobin),
    WeightedRoundRobin(WeightedRoundRobin),
    LeastConnections(LeastConnections),
    WeightedLeastConnections(WeightedLeastConnections),
    ConsistentHash(ConsistentHash),
    BoundedConsistentHash(BoundedConsistentHash),
    Random(Random),
    PowerOfTwo(PowerOfTwo),
}

impl Strategy {
    fn pick<B: Deref<Target = Backend>>(
        &self,
        candidates: &mut Candidates<'_, '_, B>,
    ) -> Option<usize> {
        match self {
            Self::RoundRobin(it) => it.pick(candidates),
            Self::WeightedRoundRobin(it) => it.pick(candidates),
            Self::LeastConnections(it) => it.pick(candidates),
            Self::WeightedLeastConnections(it) => it.pick(candidates),
            Self::ConsistentHash(it) => it.pick(candidates),
            Self::BoundedConsistentHash(it) => it.pick(candidates),
            Self::Random(it) => it.pick(candidates),
            Self::PowerOfTwo(it) => it.pick(candidates),
        }
    }
}

#[cfg(test)]
mod tests;
