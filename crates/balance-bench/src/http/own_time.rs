//! What a thread of the load uses itself: a load generator that is saturated measures itself.

use std::ops::Sub;
use std::time::Duration;

/// Time of the calling thread, as the scheduler counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnTime {
    pub(super) cpu: Duration,
    /// Ready to run while something else had the core.
    pub(super) waiting: Duration,
}

impl OwnTime {
    /// Zero where the kernel does not count it (CONFIG_SCHED_INFO).
    pub(super) fn now() -> Self {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let mut numbers = text.split_ascii_whitespace().map(str::parse::<u64>);
        let mut next = || Duration::from_nanos(numbers.next().and_then(Result::ok).unwrap_or(0));
        Self {
            cpu: next(),
            waiting: next(),
        }
    }
}

impl Sub for OwnTime {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            waiting: self.waiting.saturating_sub(before.waiting),
        }
    }
}
