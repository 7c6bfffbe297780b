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
        self.us_at(Instant::now())
    }

    /// Microseconds from the start to `now`.
    pub(crate) fn us_at(&self, now: Instant) -> u64 {
        let elapsed = now.duration_since(self.start);
        // Not `as_micros`, whose 128 bits cost a call on every exchange. 2^64 µs are half a million years.
        elapsed.as_secs() * 1_000_000 + u64::from(elapsed.subsec_micros())
    }

    /// Milliseconds since the start.
    pub fn now_ms(&self) -> u64 {
        self.now_us() / 1000
    }
}

/// A duration in whole milliseconds, rounded up: a deadline is never early.
pub(crate) fn millis(duration: Duration) -> u64 {
    let rest_ms = u64::from(duration.subsec_nanos().div_ceil(1_000_000));
    duration
        .as_secs()
        .saturating_mul(1000)
        .saturating_add(rest_ms)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::millis;

    #[test]
    fn milliseconds_are_rounded_up() {
        for (duration, expected) in [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1), 1),
            (Duration::from_millis(1), 1),
            (Duration::from_micros(1_999_001), 2_000),
            (Duration::new(3, 999_999_999), 4_000),
            (Duration::MAX, u64::MAX),
        ] {
            assert_eq!(millis(duration), expected, "{duration:?}");
        }
    }
}
