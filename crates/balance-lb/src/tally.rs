//! How attempts at a backend ended, counted where nothing is shared: what passive checks judge by.
//!
//! Each worker has its own [`Tally`] of a backend, so that counting an answer writes to no line that another worker
//! reads often. Only failures, and the first success after one, touch what all share: the run of failures.

use std::sync::{Arc, Weak};

use crate::cache_line::CacheLine;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering};

/// How an attempt ended, as far as it says something about the backend. A client that went away says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    Failure,
}

/// The counts of one worker. Written by it alone: load and store, no atomic addition.
#[derive(Default)]
pub struct Tally(CacheLine<Counts>);

#[derive(Default)]
struct Counts {
    outcomes: AtomicU64,
    failures: AtomicU64,
    timed: AtomicU64,
    took_us: AtomicU64,
}

/// Everything that is known of a backend's attempts.
pub(crate) struct Tallies {
    /// Failures in a row, over all workers.
    row: CacheLine<AtomicU32>,
    /// The longest row since it was last asked for.
    longest_row: AtomicU32,
    /// Whether somebody wants to know how long answers take.
    is_timed: AtomicBool,
    workers: Mutex<Vec<Weak<Tally>>>,
}

/// What happened at a backend up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallied {
    /// Totals. They fall when a worker lets go of the backend.
    pub outcomes: u64,
    pub failures: u64,
    /// Failures in a row since the last call.
    pub longest_row: u32,
    /// Answers whose time was taken, and all their times. Totals too.
    pub timed: u64,
    pub took_us: u64,
}

impl Tally {
    fn count(&self, outcome: Outcome) {
        add(&self.0.0.outcomes, 1);
        if outcome == Outcome::Failure {
            add(&self.0.0.failures, 1);
        }
    }

    /// An answer took so long. Where [`Backend::is_timed`](crate::Backend::is_timed).
    pub fn on_answer(&self, took_us: u64) {
        add(&self.0.0.timed, 1);
        add(&self.0.0.took_us, took_us);
    }
}

/// The cell has one writer.
fn add(cell: &AtomicU64, count: u64) {
    cell.store(
        cell.load(Ordering::Relaxed).wrapping_add(count),
        Ordering::Relaxed,
    );
}

impl Tallies {
    pub(crate) fn new() -> Self {
        Self {
            row: CacheLine(AtomicU32::new(0)),
            longest_row: AtomicU32::new(0),
            is_timed: AtomicBool::new(false),
            workers: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn open(&self) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        let mut workers = self.workers.lock();
        workers.retain(|worker| worker.strong_count() > 0);
        workers.push(Arc::downgrade(&tally));
        tally
    }

    /// Returns the failures in a row.
    pub(crate) fn count(&self, tally: &Tally, outcome: Outcome) -> u32 {
        tally.count(outcome);
        match outcome {
            // A load alone while all is well.
            Outcome::Success if self.row.0.load(Ordering::Relaxed) == 0 => 0,
            Outcome::Success => {
                self.row.0.store(0, Ordering::Relaxed);
                0
            }
            Outcome::Failure => {
                let row = self.row.0.fetch_add(1, Ordering::Relaxed).saturating_add(1);
                self.longest_row.fetch_max(row, Ordering::Relaxed);
                row
            }
        }
    }

    /// Takes the longest row along: one that was judged is not judged again.
    pub(crate) fn take(&self) -> Tallied {
        let workers = self.workers.lock();
        let mut tallied = Tallied {
            longest_row: self.longest_row.swap(0, Ordering::Relaxed),
            ..Tallied::default()
        };
        for worker in workers.iter().filter_map(Weak::upgrade) {
            tallied.outcomes += worker.0.0.outcomes.load(Ordering::Relaxed);
            tallied.failures += worker.0.0.failures.load(Ordering::Relaxed);
            tallied.timed += worker.0.0.timed.load(Ordering::Relaxed);
            tallied.took_us = tallied
                .took_us
                .wrapping_add(worker.0.0.took_us.load(Ordering::Relaxed));
        }
        tallied
    }

    pub(crate) fn set_timed(&self, is_timed: bool) {
        self.is_timed.store(is_timed, Ordering::Relaxed);
    }

    pub(crate) fn is_timed(&self) -> bool {
        self.is_timed.load(Ordering::Relaxed)
    }

    /// A backend that comes back begins with a clean slate.
    pub(crate) fn forget_row(&self) {
        self.row.0.store(0, Ordering::Relaxed);
        self.longest_row.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Tallied, Tallies};

    #[test]
    fn workers_count_apart_and_fail_in_one_row() {
        let tallies = Tallies::new();
        let workers = [tallies.open(), tallies.open()];
        for (worker, outcome) in [
            (0, Outcome::Failure),
            (1, Outcome::Failure),
            (0, Outcome::Failure),
            (1, Outcome::Success),
            (1, Outcome::Failure),
        ] {
            tallies.count(&workers[worker], outcome);
        }
        let expected = Tallied {
            outcomes: 5,
            failures: 4,
            longest_row: 3,
            ..Tallied::default()
        };
        assert_eq!(tallies.take(), expected);
        assert_eq!(tallies.take().longest_row, 0, "it was told already");
        tallies.count(&workers[0], Outcome::Failure);
        assert_eq!(tallies.take().longest_row, 2, "the row goes on");
        workers[0].on_answer(30);
        workers[1].on_answer(12);
        let timed = tallies.take();
        assert_eq!((timed.timed, timed.took_us), (2, 42));
        drop(workers);
        assert_eq!(tallies.take(), Tallied::default());
    }
}
