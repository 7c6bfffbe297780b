//! A pool under fire, in simulated time: clients, origins that crash, flap, slow down, fail, hang and recover, drains, weights and
//! reloads, against the machines as they are: gates, leases, balancers, probes, ejections, breakers and retries.
//!
//! ```text
//!   clients ──► exchange: pick ──► lease ──► connect ──► answer ──► told to the machines ──► one answer
//!                  ▲                                        └── failed: Retries decides ──┐
//!                  └──────────────────────── delay ◄──────────────────────────────────────┘
//!   scenario ──► origins, drains, weights, reloads   every 100 ms: judge        every 500 ms: probes
//! ```
//!
//! Everything is drawn from one seed, and nothing else is: a seed that fails fails again. What is checked is counted here a
//! second time, by other means than the machines count it ([`world::Books`]):
//!
//! - each request gets exactly one answer, within its deadline;
//! - what a backend has got is not sent again, unless it is idempotent;
//! - retries under way stay within the budget, and attempts within their limit;
//! - at recovery a breaker lets as many trials pass as it may and no more, whoever waits; a backend that its operator drains, or gives no weight, gets nothing new;
//! - nobody is turned away while a backend is there, also one in its slow start;
//! - when it is over nothing is in flight, no retry is under way, and all backends get traffic again.

mod exchange;
mod scenario;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::planted::{self, Bug};
use world::World;

/// Plays a seed.
///
/// # Errors
/// What went wrong first, and when.
fn play(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    planted::with(bug, || World::new(seed).run())
}

/// The first seed from `from` on, of so many, that goes wrong. Threads take turns.
fn first_failure(from: u64, count: u64, bug: Option<Bug>) -> Option<(u64, String)> {
    let next = AtomicU64::new(from);
    let end = from.saturating_add(count);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let failures = thread::scope(|scope| {
        let play_on = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    return None;
                }
                if let Err(problem) = play(seed, bug) {
                    next.store(end, Ordering::Relaxed);
                    return Some((seed, problem));
                }
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(play_on)).collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().expect("a seed panics"));
        ended.collect::<Vec<_>>()
    });
    failures.into_iter().flatten().min_by_key(|(seed, _)| *seed)
}

/// A number of the environment: `ci/long` plays more seeds, and whoever looks for a failure one.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn whatever_fails_the_rules_hold() {
    let from = number("BALANCE_SIMULATION_SEED", 0);
    let count = number("BALANCE_SIMULATION_COUNT", 2_000);
    if let Some((seed, problem)) = first_failure(from, count, None) {
        panic!("{problem}\nagain: BALANCE_SIMULATION_SEED={seed} BALANCE_SIMULATION_COUNT=1");
    }
}

#[test]
fn planted_bugs_are_found() {
    for bug in Bug::ALL {
        let found = first_failure(0, 1_000, Some(bug));
        let (seed, problem) = found.unwrap_or_else(|| panic!("{bug:?} is not found"));
        assert_eq!(
            play(seed, Some(bug)),
            Err(problem),
            "{bug:?}: it fails again"
        );
    }
}

#[test]
fn a_seed_plays_the_same_each_time() {
    let trace = |seed| {
        let mut world = World::new(seed);
        world.run().unwrap();
        world.books.sum()
    };
    let sums: Vec<String> = (0..4).map(trace).collect();
    assert_eq!(sums, (0..4).map(trace).collect::<Vec<_>>());
    assert_ne!(sums[0], sums[1]);
}

/// A simulation in which nothing happens checks nothing.
#[test]
fn all_that_is_checked_happens() {
    let mut totals = [0; world::Books::COUNTS];
    for seed in 0..80 {
        let mut world = World::new(seed);
        world.run().unwrap();
        for (total, count) in totals.iter_mut().zip(world.books.counts()) {
            *total += count.1;
        }
    }
    let names = World::new(0).books.counts().map(|(name, _)| name);
    for (name, total) in names.into_iter().zip(totals) {
        assert!(total > 50, "{name}: {total}");
    }
}
