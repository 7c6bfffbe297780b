//! `limits`, `shutdown` and `performance`: the bounds of the process.

use std::num::NonZeroUsize;
use std::time::Duration;

use balance_core::{Http2Limits, Limits};

use super::backend::count;
use crate::config::Shutdown;
use crate::diagnostics::{Diagnostic, Diagnostics, Severity};
use crate::table::{COUNT, DURATION, Key, Kind, POSITIVE_DURATION, Table};
use crate::value::Block;

pub(crate) static LIMITS: Table = Table {
    name: "limits",
    doc: "Bounds on what a client may ask for. Each has a default.",
    main: None,
    keys: &[
        Key::new(
            "head_bytes_max",
            Kind::Size {
                min: 1 << 10,
                max: 1 << 20,
            },
            "64KiB",
            "A request or response head. Above: 431.",
        ),
        Key::new(
            "fields_max",
            Kind::Integer {
                min: 1,
                max: Limits::FIELDS_CEILING as i64,
            },
            "100",
            "Header fields of one head. Above: 431.",
        ),
        Key::new(
            "target_bytes_max",
            Kind::Size {
                min: 64,
                max: 1 << 20,
            },
            "16KiB",
            "The request target. Above: 414.",
        ),
        Key::new(
            "body_bytes_max",
            Kind::Size {
                min: 0,
                max: u64::MAX,
            },
            "0",
            "A request body. Above: 413. 0 = unlimited.",
        ),
        Key::new(
            "connections_max",
            COUNT,
            "0",
            "Client connections of the process. Above: accepting waits. 0 = unlimited.",
        ),
        Key::new(
            "connections_per_ip_max",
            COUNT,
            "0",
            "Client connections from one address. Above: closed at once. 0 = unlimited.",
        ),
        Key::new(
            "lingering_bytes_max",
            Kind::Size {
                min: 0,
                max: 1 << 30,
            },
            "0",
            "What is read and thrown away of a request body after an early response, at most; in any case 5 s without a byte or 30 s in total end it. 0 = unlimited.",
        ),
        Key::new(
            "interim_responses_max",
            Kind::Integer { min: 0, max: 100 },
            "8",
            "Interim (1xx) responses of one exchange.",
        ),
        Key::new(
            "handshakes_max",
            Kind::Integer {
                min: 1,
                max: 1_000_000,
            },
            "8192",
            "TLS handshakes with clients in progress in the process. Above: closed at once.",
        ),
        Key::new(
            "handshake_timeout",
            POSITIVE_DURATION,
            "5s",
            "From an accepted connection to the end of its TLS handshake.",
        ),
        Key::new(
            "idle_upstream_max",
            COUNT,
            "4096",
            "Idle connections to all backends of the process; the oldest are closed first.",
        ),
        Key::new(
            "buffered_bytes_max",
            Kind::Size {
                min: 0,
                max: 1 << 40,
            },
            "512MiB",
            "Memory of the process for heads and for what receivers do not take, divided over the workers. From half on bodies are read in small pieces, from three quarters on new requests get 503. 0 = unlimited.",
        ),
        Key::new(
            "http2",
            Kind::Block(&HTTP2),
            "",
            "Of one HTTP/2 connection of a client.",
        ),
    ],
};

static HTTP2: Table = Table {
    name: "http2 limits",
    doc: "What one HTTP/2 connection of a client is held to. Frames are at most 16 KiB; a list of fields is bounded by `limits.head_bytes_max`.",
    main: None,
    keys: &[
        Key::new(
            "max_concurrent_streams",
            Kind::Integer {
                min: 1,
                max: 10_000,
            },
            "128",
            "Streams open at a time. Above: refused, and may be tried again.",
        ),
        Key::new(
            "stream_window",
            WINDOW,
            "256KiB",
            "What of one request body may be under way to a slower backend.",
        ),
        Key::new(
            "connection_window",
            WINDOW,
            "1MiB",
            "What of all request bodies may be.",
        ),
        Key::new(
            "resets_max",
            Kind::Integer {
                min: 1,
                max: 10_000,
            },
            "200",
            "Streams that are reset within `budget_window`, by the client or for its mistakes. Above: the connection ends.",
        ),
        Key::new(
            "idle_frames_max",
            Kind::Integer {
                min: 1,
                max: 1_000_000,
            },
            "1000",
            "Frames that make no progress within `budget_window`. Above: the connection ends.",
        ),
        Key::new(
            "budget_window",
            POSITIVE_DURATION,
            "10s",
            "How long resets and idle frames are counted, from the first one on.",
        ),
        Key::new(
            "continuations_max",
            Kind::Integer { min: 0, max: 1_000 },
            "32",
            "CONTINUATION frames of one head. Above: the connection ends.",
        ),
        Key::new(
            "requests_max",
            COUNT,
            "0",
            "Requests after which a connection takes no more; what is on its way is served. 0 = unlimited.",
        ),
    ],
};

const WINDOW: Kind = Kind::Size {
    min: Http2Limits::WINDOW_MIN as u64,
    max: Http2Limits::WINDOW_MAX as u64,
};

pub(crate) static SHUTDOWN: Table = Table {
    name: "shutdown",
    doc: "How the process ends.",
    main: Some("limit"),
    keys: &[
        Key::new(
            "delay",
            DURATION,
            "0",
            "Between failing readiness and the drain.",
        ),
        Key::new(
            "limit",
            DURATION,
            "as `timeouts.drain`",
            "How long the drain may take.",
        )
        .example("20s"),
    ],
};

pub(crate) static PERFORMANCE: Table = Table {
    name: "performance",
    doc: "Threads and copying.",
    main: None,
    keys: &[
        Key::new(
            "worker_threads",
            Kind::Integer { min: 0, max: 1024 },
            "one per core",
            "Data-path threads. 0 = one per core.",
        )
        .example("4"),
        Key::new(
            "zero_copy",
            Kind::Bool,
            "true",
            "Let TCP bytes pass inside the kernel.",
        ),
    ],
};

/// Of [`LIMITS`]: idle upstream connections of the process.
const IDLE_UPSTREAM_MAX: usize = 4096;

/// Of [`LIMITS`]: what the process may hold for peers that are not ready.
const BUFFERED_BYTES_MAX: usize = 512 << 20;

/// Reads `limits` and `security.connection_protection`; where both say something, the smaller wins.
pub(crate) fn read(
    block: Option<&Block>,
    protection: Option<&Block>,
    diagnostics: &mut Diagnostics,
) -> Limits {
    let defaults = Limits::default();
    let mut number = |key: &str, other: &str| -> Option<u64> {
        let own = block.and_then(|block| any_number(block, key));
        let theirs = protection
            .filter(|_| !other.is_empty())
            .and_then(|block| any_number(block, other));
        match (own, theirs, block, protection) {
            (Some(a), Some(b), Some(block), Some(protection)) if a != b => {
                let message = format!("`{other}` and `limits.{key}` differ: the smaller wins");
                diagnostics.push(
                    Diagnostic::new(Severity::Warning, protection.key_place(other), message)
                        .with_related(block.key_place(key), "the other one is here"),
                );
                // 0 is "unlimited", which is the larger one.
                Some(if a == 0 || b == 0 { a.max(b) } else { a.min(b) })
            }
            _ => own.or(theirs),
        }
    };
    let size = |value: Option<u64>, default: usize| {
        value.map_or(default, |value| {
            usize::try_from(value).unwrap_or(usize::MAX)
        })
    };
    Limits {
        head_bytes_max: size(
            number("head_bytes_max", "max_header_size"),
            defaults.head_bytes_max,
        ),
        fields_max: size(number("fields_max", ""), defaults.fields_max),
        target_bytes_max: size(number("target_bytes_max", ""), defaults.target_bytes_max),
        body_bytes_max: number("body_bytes_max", "max_request_size")
            .unwrap_or(defaults.body_bytes_max),
        connections_max: size(number("connections_max", ""), defaults.connections_max),
        connections_per_ip_max: size(
            number("connections_per_ip_max", "max_connections_per_ip"),
            defaults.connections_per_ip_max,
        ),
        lingering_bytes_max: number("lingering_bytes_max", "")
            .unwrap_or(defaults.lingering_bytes_max),
        interim_responses_max: block
            .and_then(|block| count(block, "interim_responses_max"))
            .unwrap_or(defaults.interim_responses_max),
        handshakes_max: block
            .and_then(|block| count(block, "handshakes_max"))
            .map_or(defaults.handshakes_max, |count| count as usize),
        handshake_timeout: block
            .and_then(|block| block.duration("handshake_timeout").copied())
            .unwrap_or(defaults.handshake_timeout),
        http2: read_http2(block.and_then(|block| block.block("http2"))),
    }
}

fn read_http2(block: Option<&Block>) -> Http2Limits {
    let defaults = Http2Limits::default();
    let number = |key: &str, default: u32| {
        let number = block.and_then(|block| any_number(block, key));
        number.map_or(default, |number| u32::try_from(number).unwrap_or(u32::MAX))
    };
    Http2Limits {
        max_concurrent_streams: number("max_concurrent_streams", defaults.max_concurrent_streams),
        stream_window: number("stream_window", defaults.stream_window),
        connection_window: number("connection_window", defaults.connection_window),
        resets_max: number("resets_max", defaults.resets_max),
        idle_frames_max: number("idle_frames_max", defaults.idle_frames_max),
        budget_window: block
            .and_then(|block| block.duration("budget_window").copied())
            .unwrap_or(defaults.budget_window),
        continuations_max: number("continuations_max", defaults.continuations_max),
        requests_max: number("requests_max", defaults.requests_max),
    }
}

/// Reads the process-wide cap of idle upstream connections.
pub(crate) fn read_idle_upstream_max(block: Option<&Block>) -> usize {
    block
        .and_then(|block| count(block, "idle_upstream_max"))
        .map_or(IDLE_UPSTREAM_MAX, |count| count as usize)
}

/// Reads how much the process may hold for peers that are not ready.
pub(crate) fn read_buffered_bytes_max(block: Option<&Block>) -> usize {
    block
        .and_then(|block| any_number(block, "buffered_bytes_max"))
        .map_or(BUFFERED_BYTES_MAX, |bytes| {
            usize::try_from(bytes).unwrap_or(usize::MAX)
        })
}

/// Reads `shutdown`; the limit is the drain deadline unless it is given.
pub(crate) fn read_shutdown(block: Option<&Block>, drain: Duration) -> Shutdown {
    let duration = |key: &str| block.and_then(|block| block.duration(key).copied());
    Shutdown {
        delay: duration("delay").unwrap_or(Duration::ZERO),
        limit: duration("limit").unwrap_or(drain),
    }
}

/// Reads `performance`: the worker threads and whether bytes stay in the kernel.
pub(crate) fn read_performance(block: Option<&Block>) -> (Option<NonZeroUsize>, bool) {
    let threads = block.and_then(|block| count(block, "worker_threads"));
    let zero_copy = block.and_then(|block| block.bool("zero_copy").copied());
    (
        threads.and_then(|threads| NonZeroUsize::new(threads as usize)),
        zero_copy.unwrap_or(true),
    )
}

fn any_number(block: &Block, key: &str) -> Option<u64> {
    let integer = block
        .integer(key)
        .and_then(|number| u64::try_from(*number).ok());
    integer.or_else(|| block.size(key).copied())
}

#[cfg(test)]
mod tests {
    use super::{BUFFERED_BYTES_MAX, IDLE_UPSTREAM_MAX, LIMITS};
    use crate::scalar::parse_size;
    use balance_core::Limits;

    #[test]
    fn the_table_shows_the_real_defaults() {
        let defaults = Limits::default();
        for (key, value) in [
            ("head_bytes_max", defaults.head_bytes_max as u64),
            ("fields_max", defaults.fields_max as u64),
            ("target_bytes_max", defaults.target_bytes_max as u64),
            ("body_bytes_max", defaults.body_bytes_max),
            ("connections_max", defaults.connections_max as u64),
            (
                "connections_per_ip_max",
                defaults.connections_per_ip_max as u64,
            ),
            ("lingering_bytes_max", defaults.lingering_bytes_max),
            (
                "interim_responses_max",
                u64::from(defaults.interim_responses_max),
            ),
            ("idle_upstream_max", IDLE_UPSTREAM_MAX as u64),
            ("buffered_bytes_max", BUFFERED_BYTES_MAX as u64),
        ] {
            assert_eq!(
                parse_size(LIMITS.key(key).unwrap().default).unwrap(),
                value,
                "{key}"
            );
        }
    }
}
