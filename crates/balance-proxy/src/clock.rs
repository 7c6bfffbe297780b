//! Time on the data path: milliseconds and microseconds since the process started, monotonic.

use std::time::{Duration, Instant};

/// One per process; every worker and control measure from the same start, so that what a backend's
/// shared state remembers means the same to all.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Microseconds since the start.
    pub fn now_us(&self) -> u64 {
        // 2^64 µs are half a million years.
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since the start.
    pub fn now_ms(&self) -> u64 {
        self.now_us() / 1000
    }
}

/// A duration in whole milliseconds, rounded up: a deadline is never early.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}
