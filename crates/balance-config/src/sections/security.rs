//! `security`: what protects against clients. Connection protection is another spelling of `limits` and
//! of the head deadline; the rest is known and not there yet.

use std::time::Duration;

use crate::table::{COUNT, ENABLED, Key, Kind, POSITIVE_DURATION, Table};
use crate::value::Block;

pub(crate) static SECURITY: Table = Table {
    name: "security",
    doc: "Protection against clients.",
    main: None,
    keys: &[
        Key::new(
            "rate_limit",
            Kind::Block(&RATE_LIMIT),
            "",
            "Requests per client and time.",
        )
        .later("rate limits"),
        Key::new(
            "connection_protection",
            Kind::Block(&CONNECTION_PROTECTION),
            "",
            "Bounds on one client's connections and requests.",
        ),
        Key::new(
            "ip_blocklist",
            Kind::Block(&IP_BLOCKLIST),
            "",
            "Addresses that are refused.",
        )
        .later("`ip_blocklist`"),
    ],
};

pub(crate) static RATE_LIMIT: Table = Table {
    name: "rate_limit",
    doc: "Requests per client and time.",
    main: None,
    keys: &[
        ENABLED,
        Key::new(
            "type",
            Kind::Choice(&["token-bucket", "sliding-window", "fixed-window"], &[]),
            "token-bucket",
            "How requests are counted.",
        ),
        Key::new("key", Kind::HashKey, "source-ip", "What is counted apart."),
        Key::new(
            "requests_per_second",
            Kind::Number { min: 0.0, max: 1e9 },
            "100",
            "The rate.",
        ),
        Key::new("burst_size", COUNT, "", "What may come at once.").example("200"),
        Key::new("window_size", POSITIVE_DURATION, "1m", "Of a window."),
        Key::new("max_requests", COUNT, "", "In a window.").example("6000"),
    ],
};

static CONNECTION_PROTECTION: Table = Table {
    name: "connection_protection",
    doc: "Bounds on one client's connections and requests.",
    main: None,
    keys: &[
        ENABLED,
        Key::new(
            "max_connections_per_ip",
            COUNT,
            "0",
            "As `limits.connections_per_ip_max`.",
        ),
        Key::new(
            "max_connection_rate",
            Kind::Number { min: 0.0, max: 1e9 },
            "0",
            "New connections per second.",
        )
        .later("`max_connection_rate`"),
        Key::new(
            "read_timeout",
            POSITIVE_DURATION,
            "10s",
            "As `timeouts.head`.",
        ),
        Key::new(
            "max_request_size",
            Kind::Size {
                min: 0,
                max: u64::MAX,
            },
            "0",
            "As `limits.body_bytes_max`.",
        ),
        Key::new(
            "max_header_size",
            Kind::Size {
                min: 1 << 10,
                max: 1 << 20,
            },
            "64KiB",
            "As `limits.head_bytes_max`.",
        ),
    ],
};

static IP_BLOCKLIST: Table = Table {
    name: "ip_blocklist",
    doc: "Addresses that are refused.",
    main: None,
    keys: &[
        ENABLED,
        Key::new("blocked_ips", Kind::List(&Kind::Network), "", "Addresses."),
        Key::new(
            "blocked_cidrs",
            Kind::List(&Kind::Network),
            "",
            "Blocks of addresses.",
        ),
    ],
};

/// `connection_protection` when it is in force.
pub(crate) fn connection_protection(security: Option<&Block>) -> Option<&Block> {
    security?.enabled_block("connection_protection")
}

/// The head deadline that it asks for.
pub(crate) fn head_timeout(security: Option<&Block>) -> Option<Duration> {
    connection_protection(security)?
        .duration("read_timeout")
        .copied()
}
