//! Every interleaving of gates and leases, by the model checker.
//! `RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p balance-lb --release --test loom`
#![cfg(loom)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a model stops at the first wrong interleaving"
)]

#[path = "loom/queue.rs"]
mod queue;

use balance_core::{Algorithm, BackendAddress, Weight};
use balance_lb::{
    AdminState, Backend, BackendIdentity, Balancer, BreakerRules, Cursor, GateState, Lease, Member,
    Outcome, Passed, Pick, PickRequest, Rng, Trial, TriedSet, lease,
};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

fn backend() -> Arc<Backend> {
    Arc::new(Backend::new(BackendIdentity {
        pool: "p".to_owned(),
        name: "a".to_owned(),
        address: BackendAddress::parse("127.0.0.1:9001").unwrap(),
    }))
}

/// A backend whose rest ends at `REST_END`.
fn rested() -> Arc<Backend> {
    let backend = backend();
    assert!(backend.on_connect_failure(0, 0).is_some());
    backend
}

/// Runs `tasks` at once, each on its own thread, and returns what they return.
fn together<T: Send + 'static>(
    tasks: impl IntoIterator<Item = Box<dyn FnOnce() -> T + Send>>,
) -> Vec<T> {
    let threads: Vec<_> = tasks
        .into_iter()
        .map(|task| thread::spawn(move || task()))
        .collect();
    threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect()
}

fn on<T: 'static>(
    backend: &Arc<Backend>,
    act: impl FnOnce(&Backend) -> T + Send + 'static,
) -> Box<dyn FnOnce() -> T + Send> {
    let backend = Arc::clone(backend);
    Box::new(move || act(&backend))
}

/// Whatever happened: pickable without failures, or out of traffic with some and sure to come back.
fn assert_legal(backend: &Backend) {
    let state = backend.snapshot_state(REST_END);
    match state.gate {
        GateState::Pickable => assert_eq!(state.failures, 0),
        GateState::Resting { .. } | GateState::HalfOpen { .. } => assert!(state.failures > 0),
        other => panic!("{other:?}"),
    }
    assert!(backend.try_enter(FAR).is_some(), "it never comes back");
    if state.failures > 0 {
        assert!(backend.try_enter(FAR).is_none(), "two trials at once");
    }
}

#[test]
fn one_of_three_picks_makes_the_trial() {
    loom::model(|| {
        let backend = rested();
        let entered = together((0..3).map(|_| on(&backend, |it| it.try_enter(REST_END).is_some())));
        assert_eq!(entered.iter().filter(|entered| **entered).count(), 1);
        assert_legal(&backend);
    });
}

#[test]
fn a_lost_trial_is_replaced_by_one() {
    loom::model(|| {
        let backend = rested();
        assert!(backend.try_enter(REST_END).is_some());
        let entered =
            together((0..2).map(|_| on(&backend, |it| it.try_enter(FAR - 1_000_000).is_some())));
        assert_eq!(entered.iter().filter(|entered| **entered).count(), 1);
        assert_legal(&backend);
    });
}

#[test]
fn a_failure_and_a_success_of_a_trial_end_in_a_legal_state() {
    loom::model(|| {
        let backend = rested();
        assert!(backend.try_enter(REST_END).is_some());
        together([
            on(&backend, |it| {
                it.on_connect_failure(REST_END, 0);
            }),
            on(&backend, |it| {
                it.on_success();
            }),
        ]);
        assert_legal(&backend);
    });
}

#[test]
fn two_failures_of_one_moment_count_once() {
    loom::model(|| {
        let backend = backend();
        let rests = together((0..2).map(|_| on(&backend, |it| it.on_connect_failure(0, 0))));
        assert_eq!(rests.iter().flatten().count(), 1);
        assert_eq!(backend.snapshot_state(0).failures, 1);
        assert_legal(&backend);
    });
}

#[test]
fn a_trial_beginning_amid_a_failure_and_a_success_is_legal() {
    loom::model(|| {
        let backend = rested();
        together([
            on(&backend, |it| {
                let _ = it.try_enter(REST_END);
            }),
            on(&backend, |it| {
                it.on_connect_failure(REST_END, 0);
            }),
            on(&backend, |it| {
                it.on_success();
            }),
        ]);
        assert_legal(&backend);
    });
}

#[test]
fn a_drain_is_never_lost_and_lets_no_second_trial_through() {
    loom::model(|| {
        let backend = rested();
        let entered = together([
            on(&backend, |it| it.try_enter(REST_END).is_some()),
            on(&backend, |it| {
                it.set_admin_state(AdminState::Draining);
                it.set_admin_state(AdminState::Enabled);
                it.try_enter(REST_END).is_some()
            }),
        ]);
        assert_eq!(entered.iter().filter(|entered| **entered).count(), 1);
        together([
            on(&backend, |it| {
                it.on_success();
            }),
            on(&backend, |it| it.set_admin_state(AdminState::Draining)),
        ]);
        assert_eq!(backend.gate(), GateState::Draining);
        assert!(backend.try_enter(FAR).is_none());
    });
}

#[test]
fn leases_never_exceed_the_limit_and_all_come_back() {
    loom::model(|| {
        let backend = backend();
        backend.set_max_connections(1);
        let holders = Arc::new(AtomicU32::new(0));
        let taken = together((0..2).map(|_| {
            let holders = Arc::clone(&holders);
            on(&backend, move |it| {
                let Ok(_lease) = lease(it) else {
                    return false;
                };
                assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                holders.fetch_sub(1, Ordering::SeqCst);
                true
            })
        }));
        assert!(taken.contains(&true));
        assert_eq!(backend.in_flight(), 0);
    });
}

#[test]
fn as_many_leases_as_there_are_places_all_succeed() {
    loom::model(|| {
        let backend = backend();
        backend.set_max_connections(2);
        let taken = together((0..3).map(|_| on(&backend, |it| it.try_lease().is_ok())));
        assert_eq!(taken.iter().filter(|taken| **taken).count(), 2);
        assert_eq!(backend.in_flight(), 2);
        backend.release();
        backend.release();
        assert_eq!(backend.in_flight(), 0);
    });
}

#[test]
fn picks_share_one_trial_and_give_back_every_place() {
    loom::model(|| {
        let backends = [rested(), backend()];
        let members = ["a", "b"].map(|name| Member::new(name, Weight::ONE));
        let cursor = std::sync::Arc::new(Cursor::new());
        let balancer = Arc::new(Balancer::compile(Algorithm::RoundRobin, &members, cursor));
        let picked = together((0..2).map(|_| -> Box<dyn FnOnce() -> usize + Send> {
            let backends = backends.clone();
            let balancer = Arc::clone(&balancer);
            Box::new(move || {
                let pick = balancer.pick(
                    &backends,
                    &mut PickRequest {
                        now_ms: REST_END,
                        hash: 0,
                        random: &mut Rng::new(1),
                        tried: &TriedSet::new(),
                    },
                );
                let Pick::Picked(index) = pick else {
                    panic!("{pick:?}");
                };
                drop(Lease::adopt(Arc::clone(&backends[index])));
                index
            })
        }));
        assert!(picked.iter().filter(|index| **index == 0).count() <= 1);
        assert!(backends.iter().all(|backend| backend.in_flight() == 0));
    });
}

/// A backend whose breaker is open until `REST_END`.
fn broken() -> Arc<Backend> {
    let backend = backend();
    backend.set_breaker(Some(BreakerRules {
        max_failures: 1,
        timeout_ms: REST_END,
        success_threshold: 1,
        max_concurrent_requests: 1,
    }));
    let tally = backend.open_tally();
    assert!(
        backend
            .on_outcome(&tally, Outcome::Failure, None, 0)
            .is_some()
    );
    backend
}

fn trial_of(passed: Option<Passed>) -> Option<Trial> {
    match passed? {
        Passed::Freely => None,
        Passed::OnTrial(trial) => Some(trial),
    }
}

#[test]
fn one_of_three_picks_makes_the_trial_of_a_breaker() {
    loom::model(|| {
        let backend = broken();
        let passed = together((0..3).map(|_| on(&backend, |it| it.try_enter(REST_END))));
        assert_eq!(passed.into_iter().filter_map(trial_of).count(), 1);
        assert_eq!(backend.gate(), GateState::Broken);
    });
}

#[test]
fn a_breaker_that_a_trial_closes_lets_everybody_through_whoever_else_fails() {
    loom::model(|| {
        let backend = broken();
        let tally = backend.open_tally();
        let trial = trial_of(backend.try_enter(REST_END));
        together([
            on(&backend, {
                let tally = std::sync::Arc::clone(&tally);
                move |it| drop(it.on_outcome(&tally, Outcome::Success, trial, REST_END))
            }),
            // A pick that comes meanwhile is refused or passes freely: the one trial is taken.
            on(&backend, |it| {
                assert_ne!(trial_of(it.try_enter(REST_END)).map(|_| ()), Some(()));
            }),
        ]);
        assert_eq!(backend.gate(), GateState::Pickable);
        assert_eq!(backend.try_enter(REST_END), Some(Passed::Freely));
    });
}

/// The first rest without jitter, begun at 0.
const REST_END: u64 = 100;
/// After every rest and every deadline.
const FAR: u64 = 100_000_000;
