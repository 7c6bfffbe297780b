use std::sync::Arc;

use balance_core::{Algorithm, BackendAddress, Weight};

use super::{Balancer, Member, Pick, PickRequest};
use crate::{
    AdminState, Backend, BackendIdentity, BreakerRules, BreakerState, Cursor, Health, HealthRecord,
    Lease, Outcome, Rng, TriedSet,
};

/// A pool view with its backends and the outside of its picks.
struct Pool {
    backends: Vec<Backend>,
    balancer: Balancer,
    random: Rng,
    now_ms: u64,
}

impl Pool {
    fn new(algorithm: Algorithm, weights: &[u32]) -> Self {
        let names: Vec<String> = (0..weights.len()).map(|i| format!("b{i}")).collect();
        let members: Vec<Member> = names
            .iter()
            .zip(weights)
            .map(|(name, weight)| Member::new(name, Weight(*weight)))
            .collect();
        let backend = |name: &String| {
            Backend::new(BackendIdentity {
                pool: "p".to_owned(),
                name: name.clone(),
                address: BackendAddress::parse("127.0.0.1:9001").unwrap(),
            })
        };
        Self {
            backends: names.iter().map(backend).collect(),
            balancer: Balancer::compile(algorithm, &members, Arc::new(Cursor::new())),
            random: Rng::new(7),
            now_ms: 0,
        }
    }

    fn pick(&mut self, hash: u64, tried: &TriedSet) -> Pick {
        let backends: Vec<&Backend> = self.backends.iter().collect();
        self.balancer.pick(
            &backends,
            &mut PickRequest {
                now_ms: self.now_ms,
                hash,
                random: &mut self.random,
                tried,
            },
        )
    }

    /// Picks and gives back `n` times; how often each had it.
    fn spread(&mut self, n: u32) -> Vec<u32> {
        let mut counts = vec![0; self.backends.len()];
        for _ in 0..n {
            let hash = self.random.next_u64();
            match self.pick(hash, &TriedSet::new()) {
                Pick::Picked(index) => {
                    counts[index] += 1;
                    drop(Lease::adopt(&self.backends[index]));
                }
                other => panic!("{other:?}"),
            }
        }
        counts
    }

    /// Picks without giving back.
    fn hold(&mut self, n: u32) -> Vec<u32> {
        for _ in 0..n {
            let hash = self.random.next_u64();
            assert!(matches!(self.pick(hash, &TriedSet::new()), Pick::Picked(_)));
        }
        self.backends.iter().map(Backend::in_flight).collect()
    }
}

pub(super) fn unhealthy() -> HealthRecord {
    HealthRecord {
        health: Health::Unhealthy,
        since_ms: 0,
        reason: "it refuses".into(),
        probes: 1,
        failed_probes: 1,
    }
}

fn tried(indices: &[usize]) -> TriedSet {
    let mut set = TriedSet::new();
    for index in indices {
        set.insert(*index);
    }
    set
}

fn algorithms() -> impl Iterator<Item = Algorithm> {
    Algorithm::ALL.iter().map(|(_, algorithm)| *algorithm)
}

/// Four alike, of which the first began so many ms ago what takes it a second.
fn ramping(algorithm: Algorithm, elapsed_ms: u64) -> Pool {
    let mut pool = Pool::new(algorithm, &[1; 4]);
    pool.now_ms = 10_000;
    pool.backends[0].set_slow_start(1_000);
    pool.backends[0].begin_ramp(pool.now_ms - elapsed_ms);
    pool
}

#[test]
fn a_backend_that_ramps_gets_its_part_of_its_share_under_every_algorithm() {
    for algorithm in algorithms() {
        let full = ramping(algorithm, 1_000).spread(8_000)[0];
        for (elapsed_ms, percent) in [(0, 10), (500, 50), (900, 90)] {
            let count = ramping(algorithm, elapsed_ms).spread(8_000)[0];
            // Its part of what it would get, or of a pool in which it weighs so much: the others get the rest alike, or
            // in their turns.
            let (least, most) = (full * percent / 100, full * 4 * percent / (300 + percent));
            assert!(
                count + least / 4 >= least && count <= most + most / 4,
                "{algorithm:?} at {percent} %: {count} of {full}"
            );
        }
    }
}

#[test]
fn by_load_a_backend_that_ramps_holds_its_part() {
    for algorithm in [
        Algorithm::LeastConnections,
        Algorithm::WeightedLeastConnections,
        Algorithm::PowerOfTwoChoices,
    ] {
        let held = ramping(algorithm, 250).hold(400);
        let others = held[1..].iter().sum::<u32>() / 3;
        assert!(
            held[0] > 0 && held[0] <= others / 4 + 4,
            "{algorithm:?}: {held:?}"
        );
    }
}

#[test]
fn whoever_ramps_is_better_than_nobody() {
    for algorithm in algorithms() {
        let mut pool = ramping(algorithm, 0);
        for backend in &pool.backends {
            backend.set_slow_start(1_000);
            backend.begin_ramp(10_000);
        }
        let counts = pool.spread(4_000);
        assert!(
            counts.iter().all(|count| *count > 500),
            "{algorithm:?}: {counts:?}"
        );

        // The others are full, drained or tried: it never waits and never fails.
        let mut pool = ramping(algorithm, 0);
        pool.backends[1].set_max_connections(1);
        pool.backends[1].try_lease().unwrap();
        pool.backends[2].set_admin_state(AdminState::Draining);
        for hash in 0..64 {
            let picked = pool.pick(hash << 58, &tried(&[3]));
            assert_eq!(picked, Pick::Picked(0), "{algorithm:?}");
        }
    }
}

#[test]
fn under_a_hash_a_key_moves_to_the_backend_that_ramps_once() {
    for algorithm in [Algorithm::ConsistentHash, Algorithm::BoundedConsistentHash] {
        let mut pool = ramping(algorithm, 0);
        for key in 0..200_u64 {
            let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let owners: Vec<usize> = (10_000..=11_000)
                .step_by(50)
                .map(|now_ms| {
                    pool.now_ms = now_ms;
                    let Pick::Picked(index) = pool.pick(hash, &TriedSet::new()) else {
                        panic!("nobody");
                    };
                    pool.backends[index].release();
                    index
                })
                .collect();
            let mut moves = owners.clone();
            moves.dedup();
            assert!(
                moves.len() == 1 || (moves.len() == 2 && moves[1] == 0),
                "{owners:?}"
            );
            pool.backends[0].begin_ramp(10_000);
        }
    }
}

fn assert_near(counts: &[u32], expected: &[u32], percent: u32) {
    for (count, expected) in counts.iter().zip(expected) {
        let allowed = expected * percent / 100;
        assert!(
            count.abs_diff(*expected) <= allowed,
            "{counts:?}, expected {expected:?}"
        );
    }
}

#[test]
fn every_pick_takes_exactly_one_place() {
    for algorithm in algorithms() {
        let mut pool = Pool::new(algorithm, &[1, 2, 3]);
        let held = pool.hold(50);
        assert_eq!(held.iter().sum::<u32>(), 50, "{algorithm:?}");
    }
}

#[test]
fn no_pick_takes_a_tried_a_drained_or_a_disabled_backend() {
    for algorithm in algorithms() {
        let mut pool = Pool::new(algorithm, &[1; 5]);
        pool.backends[1].set_admin_state(AdminState::Draining);
        pool.backends[3].set_admin_state(AdminState::Disabled);
        for hash in 0..200 {
            let hash = crate::hash_key(&u64::to_le_bytes(hash));
            let pick = pool.pick(hash, &tried(&[0, 2]));
            assert_eq!(pick, Pick::Picked(4), "{algorithm:?}");
        }
        assert_eq!(
            pool.pick(0, &tried(&[0, 2, 4])),
            Pick::Unavailable,
            "{algorithm:?}"
        );
        assert_eq!(pool.backends[1].in_flight(), 0);
    }
}

#[test]
fn a_pool_at_its_limits_is_full_and_not_unavailable() {
    for algorithm in algorithms() {
        let mut pool = Pool::new(algorithm, &[1; 3]);
        for backend in &pool.backends {
            backend.set_max_connections(2);
        }
        assert_eq!(pool.hold(6), [2, 2, 2], "{algorithm:?}");
        assert_eq!(pool.pick(0, &TriedSet::new()), Pick::Full, "{algorithm:?}");
        // A resting backend is no way round the others' limits while those may still be had.
        pool.backends[0].on_connect_failure(0, 0);
        assert_eq!(pool.pick(0, &TriedSet::new()), Pick::Full, "{algorithm:?}");
        pool.backends[2].release();
        assert_eq!(pool.pick(0, &TriedSet::new()), Pick::Picked(2));
    }
}

#[test]
fn a_resting_backend_is_left_alone_while_another_can_be_had() {
    for algorithm in algorithms() {
        let mut pool = Pool::new(algorithm, &[1; 3]);
        pool.backends[1].on_connect_failure(0, 0);
        let counts = pool.spread(300);
        assert_eq!(counts[1], 0, "{algorithm:?}");
        assert!(counts[0] > 60 && counts[2] > 60, "{algorithm:?} {counts:?}");
    }
}

#[test]
fn after_its_rest_one_trial_and_after_a_success_all_traffic_again() {
    for algorithm in algorithms() {
        let mut pool = Pool::new(algorithm, &[1; 3]);
        pool.backends[1].on_connect_failure(0, 0);
        pool.now_ms = 100;
        assert_eq!(pool.spread(300)[1], 1, "{algorithm:?}");
        pool.backends[1].on_success();
        assert!(pool.spread(300)[1] > 60, "{algorithm:?}");
    }
}

#[test]
fn when_all_rest_the_one_that_ends_first_is_the_last_resort() {
    for algorithm in algorithms() {
        let mut pool = Pool::new(algorithm, &[1; 3]);
        for (index, now_ms) in [(0, 30), (1, 10), (2, 20)] {
            pool.backends[index].on_connect_failure(now_ms, 0);
        }
        pool.now_ms = 50;
        assert_eq!(pool.pick(0, &tried(&[])), Pick::Picked(1), "{algorithm:?}");
        assert_eq!(pool.pick(0, &tried(&[1])), Pick::Picked(2), "{algorithm:?}");
        assert_eq!(pool.pick(0, &tried(&[1, 2])), Pick::Picked(0));
        assert_eq!(pool.pick(0, &tried(&[0, 1, 2])), Pick::Unavailable);
    }
}

#[test]
fn a_lone_backend_that_rests_may_be_tried_by_every_request() {
    for algorithm in algorithms() {
        let mut pool = Pool::new(algorithm, &[1]);
        pool.backends[0].on_connect_failure(0, 0);
        for now_ms in [0, 99, 100, 101, 5_000] {
            pool.now_ms = now_ms;
            assert_eq!(pool.pick(0, &tried(&[])), Pick::Picked(0), "{algorithm:?}");
        }
        pool.backends[0].set_max_connections(5);
        assert_eq!(pool.pick(0, &tried(&[])), Pick::Full, "{algorithm:?}");
    }
}

#[test]
fn an_empty_pool_and_one_without_weight_are_unavailable() {
    for algorithm in algorithms() {
        assert_eq!(
            Pool::new(algorithm, &[]).pick(0, &tried(&[])),
            Pick::Unavailable
        );
        let by_weight = algorithm.uses_weights();
        let pick = Pool::new(algorithm, &[0, 0]).pick(0, &tried(&[]));
        assert_eq!(pick == Pick::Unavailable, by_weight, "{algorithm:?}");
    }
}

#[test]
fn a_weight_of_zero_gets_nothing_even_as_last_resort() {
    for algorithm in algorithms().filter(|algorithm| algorithm.uses_weights()) {
        let mut pool = Pool::new(algorithm, &[1, 0, 2]);
        assert_eq!(pool.spread(500)[1], 0, "{algorithm:?}");
        for backend in &pool.backends {
            backend.on_connect_failure(0, 0);
        }
        assert_eq!(pool.pick(0, &tried(&[0, 2])), Pick::Unavailable);
    }
}

#[test]
fn round_robin_is_exact_and_stays_even_round_a_dead_backend() {
    let mut pool = Pool::new(Algorithm::RoundRobin, &[1; 4]);
    assert_eq!(pool.spread(4_000), [1_000; 4]);
    pool.backends[2].set_admin_state(AdminState::Draining);
    assert_eq!(pool.spread(3_000), [1_000, 1_000, 0, 1_000]);
}

#[test]
fn weighted_round_robin_is_exact() {
    let mut pool = Pool::new(Algorithm::WeightedRoundRobin, &[50, 30, 20]);
    assert_eq!(pool.spread(1_000), [500, 300, 200]);
}

#[test]
fn weighted_round_robin_keeps_the_proportions_round_a_dead_backend() {
    let mut pool = Pool::new(Algorithm::WeightedRoundRobin, &[5, 3, 2]);
    pool.backends[0].set_admin_state(AdminState::Disabled);
    assert_near(&pool.spread(5_000), &[0, 3_000, 2_000], 1);
}

#[test]
fn least_connections_evens_out_and_spreads_an_idle_pool() {
    let mut pool = Pool::new(Algorithm::LeastConnections, &[1; 4]);
    for _ in 0..6 {
        pool.backends[0].try_lease().unwrap();
    }
    assert_eq!(pool.hold(18), [6; 4]);

    let mut idle = Pool::new(Algorithm::LeastConnections, &[1; 5]);
    assert_near(&idle.spread(20_000), &[4_000; 5], 6);
}

#[test]
fn weighted_least_connections_fills_in_proportion() {
    let mut pool = Pool::new(Algorithm::WeightedLeastConnections, &[1, 2, 5]);
    assert!(matches!(pool.pick(0, &tried(&[])), Pick::Picked(2)));
    assert_eq!(pool.hold(799), [100, 200, 500]);
}

#[test]
fn random_is_even_round_a_dead_backend_too() {
    let mut pool = Pool::new(Algorithm::Random, &[1; 4]);
    assert_near(&pool.spread(40_000), &[10_000; 4], 4);
    pool.backends[0].set_admin_state(AdminState::Draining);
    assert_near(&pool.spread(30_000), &[0, 10_000, 10_000, 10_000], 4);
}

#[test]
fn power_of_two_stays_near_even_and_prefers_the_less_loaded() {
    let mut pool = Pool::new(Algorithm::PowerOfTwoChoices, &[1; 10]);
    let held = pool.hold(10_000);
    // The theory's bound on the gap is ln ln n / ln 2 ≈ 1.2 above the average; 10 is generous.
    assert!(held.iter().all(|n| n.abs_diff(1_000) <= 10), "{held:?}");

    let mut pair = Pool::new(Algorithm::PowerOfTwoChoices, &[1, 1]);
    pair.backends[0].try_lease().unwrap();
    assert_eq!(pair.spread(100), [0, 100]);
}

#[test]
fn consistent_hash_follows_the_weights() {
    let mut pool = Pool::new(Algorithm::ConsistentHash, &[1, 1, 2]);
    // 150 points leave a spread of about 1/√150 = 8 % between equals; 25 % is three times that.
    assert_near(&pool.spread(40_000), &[10_000, 10_000, 20_000], 25);
}

#[test]
fn bounded_consistent_hash_keeps_every_backend_below_the_bound() {
    let mut pool = Pool::new(Algorithm::BoundedConsistentHash, &[1; 8]);
    let mut most_above = 0.0_f64;
    for n in 1..=2_000_u32 {
        // Four keys only: without the bound, at most four backends would get anything.
        let hash = crate::hash_key(&[u8::try_from(n % 4).unwrap()]);
        assert!(matches!(pool.pick(hash, &tried(&[])), Pick::Picked(_)));
        let most = pool.backends.iter().map(Backend::in_flight).max().unwrap();
        let bound = (1.25 * f64::from(n) / 8.0).ceil();
        most_above = most_above.max(f64::from(most) - bound);
    }
    assert!(most_above <= 0.0, "{most_above}");
}

#[test]
fn bounded_consistent_hash_without_load_is_consistent_hash() {
    let mut bounded = Pool::new(Algorithm::BoundedConsistentHash, &[1, 2, 3, 4]);
    let mut plain = Pool::new(Algorithm::ConsistentHash, &[1, 2, 3, 4]);
    for n in 0..1_000_u64 {
        let hash = crate::hash_key(&n.to_le_bytes());
        let picks = [&mut bounded, &mut plain].map(|pool| {
            let pick = pool.pick(hash, &TriedSet::new());
            if let Pick::Picked(index) = pick {
                pool.backends[index].release();
            }
            pick
        });
        assert_eq!(picks[0], picks[1]);
    }
}

/// A pool of four of which so many are unhealthy.
fn sick_pool(algorithm: Algorithm, unhealthy_count: usize, panic_threshold: f64) -> Pool {
    let mut pool = Pool::new(algorithm, &[1; 4]);
    pool.balancer = pool.balancer.with_panic_threshold(panic_threshold);
    for backend in &pool.backends[..unhealthy_count] {
        backend.set_health(Some(unhealthy()));
    }
    pool
}

#[test]
fn unhealthy_backends_get_nothing_until_they_are_well() {
    for algorithm in algorithms() {
        let mut pool = sick_pool(algorithm, 3, 0.0);
        assert_eq!(pool.spread(40), [0, 0, 0, 40], "{algorithm:?}");
        pool.backends[3].set_health(Some(unhealthy()));
        assert_eq!(
            pool.pick(0, &TriedSet::new()),
            Pick::Unavailable,
            "{algorithm:?}: no threshold, no panic"
        );
        pool.backends[0].set_health(None);
        assert_eq!(pool.spread(40), [40, 0, 0, 0], "{algorithm:?}");
    }
}

#[test]
fn a_pool_in_panic_uses_all_of_its_backends() {
    for algorithm in algorithms() {
        for (unhealthy_count, is_in_panic) in [(0, false), (2, false), (3, true), (4, true)] {
            let mut pool = sick_pool(algorithm, unhealthy_count, 0.5);
            let backends: Vec<&Backend> = pool.backends.iter().collect();
            assert_eq!(pool.balancer.is_in_panic(&backends), is_in_panic);
            let counts = pool.spread(400);
            let left_out = counts.iter().filter(|count| **count == 0).count();
            let expected = if is_in_panic { 0 } else { unhealthy_count };
            assert_eq!(left_out, expected, "{algorithm:?}: {counts:?}");
        }
    }
}

#[test]
fn who_is_drained_counts_neither_as_healthy_nor_as_sick() {
    let mut pool = sick_pool(Algorithm::RoundRobin, 1, 0.5);
    for backend in &pool.backends[2..] {
        backend.set_admin_state(AdminState::Draining);
    }
    assert_eq!(pool.spread(10), [0, 10, 0, 0], "one of two is half of them");
}

#[test]
fn in_panic_a_sick_backend_that_refuses_rests_as_any_other() {
    let mut pool = sick_pool(Algorithm::RoundRobin, 4, 0.5);
    pool.backends[0].on_connect_failure(0, 0);
    assert_eq!(pool.spread(9), [0, 3, 3, 3]);
    for backend in &pool.backends[1..] {
        backend.on_connect_failure(0, 0);
    }
    assert!(matches!(pool.pick(0, &TriedSet::new()), Pick::Picked(_)));
    pool.now_ms = 100;
    assert_eq!(pool.pick(0, &tried(&[1, 2, 3])), Pick::Picked(0));
    assert!(
        pool.backends[0].try_enter_unwell(100).is_none(),
        "one trial at a time"
    );
}

/// Opens at the first failure, for a second.
pub(super) const BREAKER: BreakerRules = BreakerRules {
    max_failures: 1,
    timeout_ms: 1_000,
    success_threshold: 1,
    max_concurrent_requests: 1,
};

/// Its breaker opens at `now_ms`.
pub(super) fn break_at(backend: &Backend, now_ms: u64) {
    backend.set_breaker(Some(BREAKER));
    let change = backend.on_outcome(&backend.open_tally(), Outcome::Failure, None, now_ms);
    assert!(change.is_some());
}

#[test]
fn a_broken_backend_gets_its_trials_and_nothing_else() {
    for (_, algorithm) in Algorithm::ALL.iter().copied() {
        let mut pool = Pool::new(algorithm, &[1, 1]);
        break_at(&pool.backends[0], 0);
        assert_eq!(pool.hold(6), [0, 6], "{algorithm:?}");
        assert_eq!(pool.pick(0, &tried(&[1])), Pick::Broken, "{algorithm:?}");
        pool.backends[1].set_admin_state(AdminState::Draining);
        assert_eq!(pool.pick(0, &tried(&[])), Pick::Broken, "{algorithm:?}");
        assert_eq!(
            pool.pick(0, &tried(&[0])),
            Pick::Unavailable,
            "{algorithm:?}"
        );

        pool.now_ms = 1_000;
        let Pick::OnTrial(0, trial) = pool.pick(0, &tried(&[])) else {
            panic!("{algorithm:?}: no trial");
        };
        assert_eq!(pool.pick(0, &tried(&[])), Pick::Broken, "{algorithm:?}");
        // One whose client went away lets another one try.
        drop(Lease::adopt_trial(&pool.backends[0], trial));
        assert_eq!(pool.backends[0].in_flight(), 0, "{algorithm:?}");
        let Pick::OnTrial(0, trial) = pool.pick(0, &tried(&[])) else {
            panic!("{algorithm:?}: no other trial");
        };
        let tally = pool.backends[0].open_tally();
        let lease = Lease::adopt_trial(&pool.backends[0], trial);
        let change = lease.on_outcome(&tally, Outcome::Success, 1_001).unwrap();
        assert_eq!(change.to, BreakerState::Closed);
        drop(lease);
        assert_eq!(pool.pick(0, &tried(&[])), Pick::Picked(0), "{algorithm:?}");
    }
}
