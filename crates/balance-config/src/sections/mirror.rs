//! `mirror` of a route: copies of its requests to a second pool.

use std::time::Duration;

use super::backend::count;
use crate::diagnostics::Spanned;
use crate::table::{Key, Kind, POSITIVE_DURATION, Table};
use crate::value::Block;

pub(crate) static MIRROR: Table = Table {
    name: "mirror",
    doc: "Where copies go, and how many. The answers are thrown away; the exchange never waits for its copy.",
    main: Some("pool"),
    keys: &[
        Key::required(
            "pool",
            Kind::Text,
            "the name of a pool, not one that the route itself sends to",
        )
        .example("shadow"),
        Key::new(
            "sample",
            Kind::Share,
            "100%",
            "How many of the requests are copied, drawn at random.",
        )
        .example("10%"),
        Key::new(
            "body_bytes_max",
            Kind::Size {
                min: 0,
                max: BODY_BYTES_LARGEST,
            },
            "64KiB",
            "A request with a larger body is not copied: a part of it would be another request.",
        ),
        Key::new(
            "in_flight_max",
            Kind::Integer {
                min: 1,
                max: 100_000,
            },
            "100",
            "Copies under way at once, over the whole process. Each holds at most one head and `body_bytes_max`.",
        ),
        Key::new(
            "timeout",
            POSITIVE_DURATION,
            "10s",
            "For one copy, from connecting to the last byte of the answer.",
        ),
    ],
};

/// A mirror as written; its pool is not resolved.
#[derive(Debug)]
pub(crate) struct MirrorDraft {
    pub(crate) pool: Spanned<String>,
    pub(crate) sample: f64,
    pub(crate) body_bytes_max: usize,
    pub(crate) in_flight_max: u32,
    pub(crate) timeout: Duration,
}

/// Reads a `mirror`; `None` when its pool is missing, which is reported.
pub(crate) fn read(block: &Block) -> Option<MirrorDraft> {
    let body_bytes_max = block.size("body_bytes_max").copied();
    Some(MirrorDraft {
        pool: block.spanned_text("pool")?,
        sample: block.number("sample").copied().unwrap_or(1.0),
        body_bytes_max: body_bytes_max
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(BODY_BYTES_DEFAULT),
        in_flight_max: count(block, "in_flight_max").unwrap_or(IN_FLIGHT_DEFAULT),
        timeout: block
            .duration("timeout")
            .copied()
            .unwrap_or(TIMEOUT_DEFAULT),
    })
}

const BODY_BYTES_DEFAULT: usize = 64 * 1024;
/// Times `in_flight_max` it is held in memory.
const BODY_BYTES_LARGEST: u64 = 16 * 1024 * 1024;
const IN_FLIGHT_DEFAULT: u32 = 100;
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
