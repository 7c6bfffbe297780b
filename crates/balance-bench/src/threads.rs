//! The threads of a load: how many there are, what each has to do, and what they have done so far.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

/// How often the progress is told.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// As many threads as were asked for, else one per core; each has at least one connection.
pub(crate) fn count(wanted: Option<u32>, connections: u32) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    wanted
        .map_or_else(cores, |wanted| wanted as usize)
        .min(connections as usize)
}

/// The part of `whole` that falls to one of `threads`.
pub(crate) fn share(whole: u64, thread: usize, threads: usize) -> u64 {
    let (thread, threads) = (thread as u64, threads as u64);
    whole / threads + u64::from(thread < whole % threads)
}

/// What one thread has done so far. On a cache line of its own: it is written all the time.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct Counts {
    completed: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    pub(crate) fn publish(&self, completed: u64, failed: u64) {
        self.completed.store(completed, Ordering::Relaxed);
        self.failed.store(failed, Ordering::Relaxed);
    }
}

/// The threads of one run.
pub(crate) struct Crew(Vec<Counts>);

impl Crew {
    pub(crate) fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| Counts::default()).collect())
    }

    /// Where a thread publishes what it has done.
    pub(crate) fn counts(&self, thread: usize) -> &Counts {
        &self.0[thread]
    }

    /// Runs each job on a thread of its own, to its end. `watch` is told the sums of all counts, a few times a second
    /// and at the end.
    ///
    /// # Errors
    /// The first error of a job, or one of them panicked.
    pub(crate) fn run<T: Send>(
        &self,
        jobs: impl IntoIterator<Item = impl FnOnce() -> io::Result<T> + Send>,
        mut watch: impl FnMut(u64, u64),
    ) -> io::Result<Vec<T>> {
        let watcher = &std::thread::current();
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for job in jobs {
                threads.push(scope.spawn(move || {
                    let result = job();
                    watcher.unpark();
                    result
                }));
            }
            let mut tell = || {
                watch(
                    self.sum(|each| &each.completed),
                    self.sum(|each| &each.failed),
                )
            };
            while threads.iter().any(|thread| !thread.is_finished()) {
                std::thread::park_timeout(WATCH_INTERVAL);
                tell();
            }
            tell();
            threads.into_iter().map(join).collect()
        })
    }

    fn sum(&self, count: fn(&Counts) -> &AtomicU64) -> u64 {
        let counts = self.0.iter().map(count);
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

fn join<T>(thread: ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    let panicked = |_| Err(io::Error::other("a thread of the load panicked"));
    thread.join().unwrap_or_else(panicked)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{Crew, count, share};

    #[test]
    fn shares_add_up() {
        for (whole, threads) in [(10, 3), (2, 4), (0, 1), (1_000_001, 7)] {
            let shares: Vec<u64> = (0..threads)
                .map(|thread| share(whole, thread, threads))
                .collect();
            assert_eq!(shares.iter().sum::<u64>(), whole, "{shares:?}");
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            assert!(most - least <= 1, "{shares:?}");
        }
        assert_eq!((count(Some(4), 2), count(Some(4), 100)), (2, 4));
        assert!(count(None, 100) >= 1);
    }

    #[test]
    fn results_come_in_order_and_counts_are_added() {
        let crew = Crew::new(3);
        let crew = &crew;
        let job = |thread: usize| {
            move || {
                crew.counts(thread).publish(thread as u64, 1);
                Ok(thread)
            }
        };
        let mut last = (0, 0);
        let results = crew.run((0..3).map(job), |completed, failed| {
            last = (completed, failed)
        });
        assert_eq!((results.unwrap(), last), (vec![0, 1, 2], (3, 3)));
    }

    #[test]
    fn an_error_is_that_of_the_run() {
        let job = |thread: usize| {
            move || match thread {
                1 => Err(io::ErrorKind::OutOfMemory.into()),
                thread => Ok(thread),
            }
        };
        let result = Crew::new(2).run((0..2).map(job), |_, _| {});
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    }
}
