//! `resilience`, in `defaults` and in pools: circuit breakers, and retries.

use balance_core::CircuitBreaker;

use super::retry::RETRY;
use crate::layers::Layers;
use crate::table::{ENABLED, Key, Kind, POSITIVE_COUNT, POSITIVE_DURATION, Table};

pub(crate) static RESILIENCE: Table = Table {
    name: "resilience",
    doc: "Circuit breaker and retries.",
    main: None,
    keys: &[
        Key::new(
            "circuit_breaker",
            Kind::Block(&CIRCUIT_BREAKER),
            "",
            "Stops sending to a backend that fails.",
        ),
        Key::new(
            "retry",
            Kind::Block(&RETRY),
            "",
            "Repeats attempts that failed.",
        ),
    ],
};

static CIRCUIT_BREAKER: Table = Table {
    name: "circuit_breaker",
    doc: "Stops sending to a backend that fails, each for itself; trials find out when it can go on.",
    main: None,
    keys: &[
        ENABLED,
        Key::new(
            "max_failures",
            POSITIVE_COUNT,
            "5",
            "Failures in a row, over all clients, that open it: connects, connections lost without an answer, timeouts, and answers of 500 and 502 to 599 without 505.",
        ),
        Key::new(
            "timeout",
            POSITIVE_DURATION,
            "60s",
            "How long it stays open before trials begin.",
        ),
        Key::new(
            "success_threshold",
            POSITIVE_COUNT,
            "1",
            "Trials that must succeed before it closes.",
        ),
        Key::new(
            "max_concurrent_requests",
            POSITIVE_COUNT,
            "1",
            "Trials under way at once while it is half open.",
        ),
    ],
};

/// What the layers of `resilience` say about the circuit breakers of one pool.
pub(crate) fn read_breaker(layers: &Layers<'_>) -> Option<CircuitBreaker> {
    let inner = layers.inner("circuit_breaker");
    if !inner.is_enabled() {
        return None;
    }
    let defaults = CircuitBreaker::default();
    let count = |key: &str, default: u32| {
        let written = inner.nearest(|block| block.integer(key)).copied();
        written
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(default)
    };
    Some(CircuitBreaker {
        max_failures: count("max_failures", defaults.max_failures),
        timeout: inner
            .nearest(|block| block.duration("timeout"))
            .copied()
            .unwrap_or(defaults.timeout),
        success_threshold: count("success_threshold", defaults.success_threshold),
        max_concurrent_requests: count("max_concurrent_requests", defaults.max_concurrent_requests),
    })
}
