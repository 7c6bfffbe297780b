//! Numbers with one writing thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that one thread writes and any thread may read.
///
/// Adding is a relaxed load and a relaxed store: a plain `mov`, not a locked instruction. Two writers would
/// lose counts (nothing worse), which is why the handles that lead here cannot leave their thread.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at 0.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `n`. Only the owning thread may.
    #[inline]
    pub fn add(&self, n: u64) {
        let value = self.0.load(Ordering::Relaxed);
        self.0.store(value.wrapping_add(n), Ordering::Relaxed);
    }

    /// Adds 1. Only the owning thread may.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// The value, from any thread; at most a moment old.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down, that one thread writes and any thread may read.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    /// A gauge at 0.
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Only the owning thread may.
    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value, from any thread; at most a moment old.
    #[inline]
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::Counter;

    #[test]
    fn a_reader_sees_every_count_of_the_writer() {
        let counter = Arc::new(Counter::new());
        let written = Arc::clone(&counter);
        let writer = thread::spawn(move || (0..10_000).for_each(|_| written.increment()));
        let mut before = 0;
        while !writer.is_finished() {
            let now = counter.value();
            assert!(now >= before, "a counter never goes back");
            before = now;
        }
        writer.join().unwrap();
        assert_eq!(counter.value(), 10_000);
    }
}
