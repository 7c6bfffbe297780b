//! `resilience`: circuit breaker and retries. Known and checked; switching them on is an error as long as nothing acts
//! on them.

use crate::table::{ENABLED, Key, Kind, POSITIVE_COUNT, POSITIVE_DURATION, Table};

pub(crate) static RESILIENCE: Table = Table {
    name: "resilience",
    doc: "Circuit breaker and retries.",
    main: None,
    keys: &[
        Key::new("circuit_breaker", Kind::Block(&CIRCUIT_BREAKER), "", "Stops sending to a pool that fails.")
            .later("circuit breakers"),
        Key::new("retry", Kind::Block(&RETRY), "", "Repeats attempts that failed.").later(
            "configured retries (a failed connect goes to another backend without any configuration)",
        ),
    ],
};

static CIRCUIT_BREAKER: Table = Table {
    name: "circuit_breaker",
    doc: "Stops sending to a backend that fails.",
    main: None,
    keys: &[
        ENABLED,
        Key::new(
            "max_failures",
            POSITIVE_COUNT,
            "5",
            "Failures in a row that open it.",
        ),
        Key::new(
            "timeout",
            POSITIVE_DURATION,
            "60s",
            "How long it stays open.",
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
            "Trials while it is half open.",
        ),
    ],
};

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
