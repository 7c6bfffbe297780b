//! What picks would come to, without making them: for whoever asks where a request would go.
//!
//! The picks are those of [`Balancer::pick`], on copies of everything that a pick changes (gates, leases, the
//! cursor). So an answer can only differ from what happens next by what happens in between, and by chance where the
//! algorithm draws.

use std::ops::Deref;
use std::sync::Arc;

use crate::backend::Backend;
use crate::cursor::Cursor;
use crate::rng::Rng;
use crate::tried::TriedSet;

use super::{Balancer, Pick, PickRequest, Strategy};

/// What one exchange would try, if every connect failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsal {
    /// Positions in the pool view. The first is the pick; each further one is where the exchange would go if
    /// those before it could not be reached.
    pub order: Vec<usize>,
    /// Why there is no further one; `None` where only the number that was asked for ends it.
    pub end: Option<NoBackend>,
}

/// Why a pick comes to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBackend {
    /// See [`Pick::Full`].
    Full,
    /// See [`Pick::Broken`].
    Broken,
    /// See [`Pick::Unavailable`].
    Unavailable,
}

impl Balancer {
    /// Plays the picks of one exchange, at most `picks_max`, and changes nothing that others see. It copies the
    /// pool: not for the path of a request.
    ///
    /// `backends` are those that it was compiled for, in the same order.
    pub fn rehearse<B: Deref<Target = Backend>>(
        &self,
        backends: &[B],
        now_ms: u64,
        hash: u64,
        random: &mut Rng,
        picks_max: usize,
    ) -> Rehearsal {
        let copies: Vec<Box<Backend>> = backends
            .iter()
            .map(|backend| Box::new(backend.copy()))
            .collect();
        let balancer = self.with_own_cursor();
        let mut tried = TriedSet::new();
        let mut order = Vec::new();
        while order.len() < picks_max {
            let pick = balancer.pick(
                &copies,
                &mut PickRequest {
                    now_ms,
                    hash,
                    random,
                    tried: &tried,
                },
            );
            let end = match pick {
                Pick::Picked(index) | Pick::OnTrial(index, _) => {
                    order.push(index);
                    tried.insert(index);
                    copies[index].release();
                    copies[index].on_connect_failure(now_ms, 0);
                    continue;
                }
                Pick::Full => NoBackend::Full,
                Pick::Broken => NoBackend::Broken,
                Pick::Unavailable => NoBackend::Unavailable,
            };
            return Rehearsal {
                order,
                end: Some(end),
            };
        }
        Rehearsal { order, end: None }
    }

    /// Whether the backend at this position may get traffic at all: algorithms that use weights send nothing to a
    /// weight of 0.
    pub fn is_eligible(&self, index: usize) -> bool {
        self.eligible
            .iter()
            .any(|eligible| *eligible as usize == index)
    }

    fn with_own_cursor(&self) -> Self {
        let mut strategy = self.strategy.clone();
        match &mut strategy {
            Strategy::RoundRobin(it) => detach(it.cursor_mut()),
            Strategy::WeightedRoundRobin(it) => detach(it.cursor_mut()),
            Strategy::LeastConnections(_)
            | Strategy::WeightedLeastConnections(_)
            | Strategy::ConsistentHash(_)
            | Strategy::BoundedConsistentHash(_)
            | Strategy::Random(_)
            | Strategy::PowerOfTwo(_) => {}
        }
        Self {
            algorithm: self.algorithm,
            strategy,
            eligible: self.eligible.clone(),
            members: self.members,
            panic_threshold: self.panic_threshold,
        }
    }
}

fn detach(cursor: &mut Arc<Cursor>) {
    *cursor = Arc::new(cursor.copy());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use balance_core::{Algorithm, BackendAddress, Weight};

    use super::{NoBackend, Rehearsal};
    use crate::balancer::tests::{break_at, unhealthy};
    use crate::{
        AdminState, Backend, BackendIdentity, Balancer, Cursor, Lease, Member, Pick, PickRequest,
        Rng, TriedSet,
    };

    struct Pool {
        backends: Vec<Arc<Backend>>,
        balancer: Balancer,
        random: Rng,
        now_ms: u64,
    }

    impl Pool {
        fn new(algorithm: Algorithm, weights: &[u32]) -> Self {
            let members: Vec<Member> = (0..)
                .zip(weights)
                .map(|(n, weight)| Member::new(&format!("b{n}"), Weight(*weight)))
                .collect();
            let backend = |n| {
                Arc::new(Backend::new(BackendIdentity {
                    pool: "p".to_owned(),
                    name: format!("b{n}"),
                    address: BackendAddress::parse("127.0.0.1:9001").unwrap(),
                }))
            };
            Self {
                backends: (0..weights.len()).map(backend).collect(),
                balancer: Balancer::compile(algorithm, &members, Arc::new(Cursor::new())),
                random: Rng::new(7),
                now_ms: 1_000,
            }
        }

        fn rehearse(&self, hash: u64) -> Rehearsal {
            // The same numbers as the next pick will draw.
            let mut random = self.random.clone();
            self.balancer
                .rehearse(&self.backends, self.now_ms, hash, &mut random, 100)
        }

        fn pick(&mut self, hash: u64, tried: &TriedSet) -> Pick {
            self.balancer.pick(
                &self.backends,
                &mut PickRequest {
                    now_ms: self.now_ms,
                    hash,
                    random: &mut self.random,
                    tried,
                },
            )
        }

        /// What an exchange really goes through when every connect fails.
        fn exhaust(&mut self, hash: u64) -> Rehearsal {
            let mut tried = TriedSet::new();
            let mut order = Vec::new();
            loop {
                match self.pick(hash, &tried) {
                    Pick::Picked(index) | Pick::OnTrial(index, _) => {
                        drop(Lease::adopt(&*self.backends[index]));
                        self.backends[index].on_connect_failure(self.now_ms, 0);
                        tried.insert(index);
                        order.push(index);
                    }
                    Pick::Full => {
                        let end = Some(NoBackend::Full);
                        return Rehearsal { order, end };
                    }
                    Pick::Broken => {
                        let end = Some(NoBackend::Broken);
                        return Rehearsal { order, end };
                    }
                    Pick::Unavailable => {
                        let end = Some(NoBackend::Unavailable);
                        return Rehearsal { order, end };
                    }
                }
            }
        }

        fn states(&self) -> Vec<String> {
            let state = |backend: &Arc<Backend>| format!("{:?}", backend.snapshot_state(0));
            self.backends.iter().map(state).collect()
        }
    }

    /// A pool in a state drawn from `random`: loads, limits, rests, drains.
    fn any_pool(algorithm: Algorithm, random: &mut Rng) -> Pool {
        let size = 1 + random.below(6);
        let weights: Vec<u32> = (0..size).map(|_| random.below(4) as u32).collect();
        let mut pool = Pool::new(algorithm, &weights);
        let threshold = random.below(3) as f64 / 2.0;
        pool.balancer = pool.balancer.with_panic_threshold(threshold);
        for _ in 0..random.below(9) {
            if let Pick::Picked(index) = pool.pick(random.next_u64(), &TriedSet::new())
                && random.below(3) == 0
            {
                pool.backends[index].release();
            }
        }
        for backend in &pool.backends {
            match random.below(14) {
                0 => backend.set_admin_state(AdminState::Draining),
                1 => backend.set_max_connections(1),
                2 => drop(backend.on_connect_failure(950, 0)),
                3 => drop(backend.on_connect_failure(10, 0)),
                4 | 5 => backend.set_health(Some(unhealthy())),
                6 => break_at(backend, 500),
                7 => break_at(backend, 0), // it waits for a trial
                8 | 9 => {
                    backend.set_slow_start(1_000);
                    backend.begin_ramp(random.below(1_000) as u64);
                }
                _ => {}
            }
        }
        pool
    }

    #[test]
    fn a_rehearsal_is_what_happens_next_and_leaves_no_trace() {
        for seed in 0..400 {
            let mut random = Rng::new(seed);
            for algorithm in Algorithm::ALL.iter().map(|(_, algorithm)| *algorithm) {
                let mut pool = any_pool(algorithm, &mut random);
                let hash = random.next_u64();
                let before = pool.states();
                let rehearsal = pool.rehearse(hash);
                assert_eq!(pool.states(), before, "{algorithm:?}, seed {seed}");
                assert_eq!(pool.rehearse(hash), rehearsal, "{algorithm:?}, seed {seed}");
                assert_eq!(pool.exhaust(hash), rehearsal, "{algorithm:?}, seed {seed}");
            }
        }
    }

    #[test]
    fn no_more_picks_are_played_than_asked_for() {
        let pool = Pool::new(Algorithm::RoundRobin, &[1, 1, 1]);
        let mut random = Rng::new(1);
        let rehearsal = pool.balancer.rehearse(&pool.backends, 0, 0, &mut random, 2);
        assert_eq!(rehearsal.order, [0, 1]);
        assert_eq!(rehearsal.end, None);
    }

    #[test]
    fn a_weight_of_zero_is_told() {
        let weighted = Pool::new(Algorithm::WeightedRoundRobin, &[1, 0]);
        assert!(weighted.balancer.is_eligible(0) && !weighted.balancer.is_eligible(1));
        assert!(
            Pool::new(Algorithm::RoundRobin, &[1, 0])
                .balancer
                .is_eligible(1)
        );
    }
}
