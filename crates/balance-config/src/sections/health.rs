//! `health_check` and `resilience`: known and checked; switching them on is an error as long as nothing
//! acts on them.

use crate::table::{ENABLED, Key, Kind, POSITIVE_DURATION, Table};
use crate::value::Block;

pub(crate) static HEALTH_CHECK: Table = Table {
    name: "health_check",
    doc: "Probes of backends, and judging them by their traffic.",
    main: Some("path"),
    keys: &[
        ENABLED,
        Key::new(
            "interval",
            POSITIVE_DURATION,
            "10s",
            "From one probe to the next.",
        ),
        Key::new(
            "timeout",
            POSITIVE_DURATION,
            "3s",
            "How long a probe may take.",
        ),
        Key::new(
            "healthy_threshold",
            POSITIVE_COUNT,
            "2",
            "Successes in a row that bring a backend back.",
        ),
        Key::new(
            "unhealthy_threshold",
            POSITIVE_COUNT,
            "3",
            "Failures in a row that take it out.",
        ),
        Key::new(
            "type",
            Kind::Choice(&["tcp", "http", "https"], &[]),
            "tcp, or http with `path`",
            "What a probe does.",
        ),
        Key::new("path", Kind::UrlPath, "/", "What an HTTP probe asks for."),
        Key::new("method", Kind::Token, "GET", "How it asks."),
        Key::new(
            "expected_status",
            Kind::OneOrMany(&Kind::Integer { min: 100, max: 599 }),
            "200 to 399",
            "Statuses that count as healthy.",
        )
        .example("[200, 204]"),
        Key::new(
            "panic_threshold",
            Kind::Share,
            "50%",
            "Below this share of healthy backends all are used.",
        ),
        Key::new(
            "max_ejected",
            Kind::Share,
            "30%",
            "The share of a pool that passive checks may take out.",
        ),
        Key::new(
            "passive_checks",
            Kind::Block(&PASSIVE_CHECKS),
            "",
            "Judging a backend by its traffic.",
        ),
    ],
};

static PASSIVE_CHECKS: Table = Table {
    name: "passive_checks",
    doc: "Judging a backend by its traffic.",
    main: None,
    keys: &[
        ENABLED,
        Key::new(
            "error_rate_threshold",
            Kind::Share,
            "0.5",
            "The share of failures in a window that ejects.",
        ),
        Key::new(
            "consecutive_failures",
            POSITIVE_COUNT,
            "5",
            "Failures in a row that eject.",
        ),
        Key::new(
            "window",
            POSITIVE_DURATION,
            "1m",
            "Over which the share is taken.",
        ),
    ],
};

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

const POSITIVE_COUNT: Kind = Kind::Integer {
    min: 1,
    max: 1_000_000,
};

/// Whether probes ask for a path, which makes the mode http (config.md §3).
pub(crate) fn speaks_http(block: &Block) -> bool {
    match block.text("type") {
        Some(kind) => kind != "tcp",
        None => block.has("path"),
    }
}
