//! What a pool does about backends that fail: settings that a configuration has and the data path follows.

use std::time::Duration;

/// The circuit breaker of each backend of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// Failures in a row that open it. At least 1.
    pub max_failures: u32,
    /// How long it stays open.
    pub timeout: Duration,
    /// Trials that must succeed before it closes. At least 1.
    pub success_threshold: u32,
    /// Trials under way at once while it is half open. At least 1.
    pub max_concurrent_requests: u32,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            max_failures: 5,
            timeout: Duration::from_secs(60),
            success_threshold: 1,
            max_concurrent_requests: 1,
        }
    }
}
