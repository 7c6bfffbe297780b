//! `resilience`, in `defaults` and in pools: circuit breakers, and retries (known and checked; switching them on is an
//! error as long as nothing acts on them).

use balance_core::CircuitBreaker;

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
        Key::new("retry", Kind::Block(&RETRY), "", "Repeats attempts that failed.").later(
            "configured retries (a failed connect goes to another backend without any configuration)",
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

static RETRY: Table = Table {
    name: "retry",
    doc: "Repeats attempts that failed.",
    main: None,
    keys: &[
        ENABLED,
        Key::new(
            "max_attempts",
            POSITIVE_COUNT,
            "3",
            "The first one included.",
        ),
        Key::new(
            "initial_delay",
            POSITIVE_DURATION,
            "100ms",
            "Before the second attempt.",
        ),
        Key::new(
            "max_delay",
            POSITIVE_DURATION,
            "10s",
            "Never longer than this.",
        ),
        Key::new(
            "multiplier",
            Kind::Number {
                min: 1.0,
                max: 100.0,
            },
            "2.0",
            "From one delay to the next.",
        ),
        Key::new("jitter", Kind::Share, "0.1", "The random share of a delay."),
        Key::new(
            "on",
            Kind::OneOrMany(&Kind::Text),
            "",
            "Causes and statuses that are repeated.",
        )
        .example("[connection_refused, 503]"),
        Key::new(
            "per_try",
            POSITIVE_DURATION,
            "",
            "The deadline of one attempt.",
        ),
        Key::new(
            "budget",
            Kind::Share,
            "20%",
            "Retries among live requests, at most.",
        ),
        Key::new(
            "methods",
            Kind::OneOrMany(&Kind::Token),
            "",
            "Methods that may be repeated; by default the idempotent ones.",
        )
        .example("[GET, HEAD]"),
        Key::new(
            "body_bytes_max",
            Kind::Size {
                min: 0,
                max: 1 << 30,
            },
            "64KiB",
            "Larger bodies are not kept for a retry.",
        ),
        Key::new(
            "hedge_after",
            POSITIVE_DURATION,
            "",
            "When a second attempt starts beside the first.",
        ),
    ],
};
