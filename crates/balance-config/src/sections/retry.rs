//! `resilience.retry`, in `defaults`, at the top and in pools: when failed attempts are repeated.

use std::time::Duration;

use balance_core::{Backoff, RetryConditions, RetryPolicy};

use crate::check::shown;
use crate::diagnostics::{Diagnostic, Diagnostics, Severity};
use crate::layers::Layers;
use crate::table::{ENABLED, Key, Kind, POSITIVE_COUNT, POSITIVE_DURATION, Table};
use crate::value::Block;

pub(crate) static RETRY: Table = Table {
    name: "retry",
    doc: "Repeats attempts that failed.",
    main: Some("max_attempts"),
    keys: &[
        ENABLED,
        Key::new(
            "max_attempts",
            POSITIVE_COUNT,
            "3",
            "Attempts of one exchange, the first one included.",
        )
        .refuse(&[(
            "0",
            "1 is the first attempt alone; `enabled: false` switches retries off",
        )]),
        Key::new(
            "initial_delay",
            POSITIVE_DURATION,
            "100ms",
            "Before the first retry, less what `jitter` takes away.",
        ),
        Key::new(
            "max_delay",
            POSITIVE_DURATION,
            "10s",
            "No delay is longer than this.",
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
        Key::new(
            "jitter",
            Kind::Share,
            "1.0",
            "The random share of a delay. 1: anything from nothing to the whole, so that clients which failed together come back apart.",
        ),
        Key::new(
            "on",
            Kind::OneOrMany(&Kind::Text),
            "[connect-failure, reset, timeout, 502, 503, 504]",
            "What is repeated: those words, `protocol-error`, `5xx` (500, 502, 503, 504), 429, any status from 500 on, or the name of a cause.",
        )
        .example("[connection_refused, 503]"),
        Key::new(
            "per_try",
            POSITIVE_DURATION,
            "",
            "From the start of an attempt to the head of its response. By default only the deadlines of `timeouts` hold.",
        )
        .example("2s"),
        Key::new(
            "budget",
            Kind::Share,
            "20%",
            "Retries among the live requests of the pool, at most; 3 at once always may be.",
        ),
        Key::new(
            "methods",
            Kind::OneOrMany(&Kind::Token),
            "GET, HEAD, OPTIONS, TRACE, PUT, DELETE",
            "Methods that may be sent again after a backend has got them. Naming POST or PATCH says that your backends bear it.",
        )
        .example("[GET, HEAD]"),
        Key::new(
            "body_bytes_max",
            Kind::Size {
                min: 0,
                max: 1 << 30,
            },
            "64KiB",
            "Request bodies up to this size are kept until the response begins. Larger ones are not sent again.",
        ),
        Key::new(
            "hedge_after",
            POSITIVE_DURATION,
            "",
            "When a second attempt starts beside the first.",
        )
        .later("hedging"),
    ],
};

/// What the layers say about one pool; `None`: its failed attempts are not repeated.
pub(crate) fn read(layers: &Layers<'_>, diagnostics: &mut Diagnostics) -> Option<RetryPolicy> {
    if !layers.is_enabled() {
        return None;
    }
    let defaults = RetryPolicy::default();
    let number = |key: &str| layers.nearest(|block| block.number(key)).copied();
    let duration =
        |key: &str| -> Option<Duration> { layers.nearest(|block| block.duration(key)).copied() };
    let listing = |key: &str| layers.nearest(|block| block.has(key).then_some(block));
    Some(RetryPolicy {
        max_attempts: layers
            .nearest(|block| block.integer("max_attempts"))
            .and_then(|count| u32::try_from(*count).ok())
            .unwrap_or(defaults.max_attempts),
        backoff: read_backoff(layers, diagnostics),
        on: match listing("on") {
            Some(block) => read_conditions(block, diagnostics),
            None => defaults.on,
        },
        per_try: duration("per_try").unwrap_or(defaults.per_try),
        budget: number("budget").unwrap_or(defaults.budget),
        methods: listing("methods").map(read_methods),
        body_bytes_max: layers
            .nearest(|block| block.size("body_bytes_max"))
            .and_then(|bytes| usize::try_from(*bytes).ok())
            .unwrap_or(defaults.body_bytes_max),
    })
}

fn read_backoff(layers: &Layers<'_>, diagnostics: &mut Diagnostics) -> Backoff {
    let defaults = Backoff::default();
    let number = |key: &str| layers.nearest(|block| block.number(key)).copied();
    let duration = |key: &'static str| {
        layers.nearest(|block| Some((*block.duration(key)?, block.key_place(key))))
    };
    let (initial, max) = (duration("initial_delay"), duration("max_delay"));
    let initial_delay = initial.map_or(defaults.initial, |(delay, _)| delay);
    let max_delay = max.map_or(defaults.max, |(delay, _)| delay);
    if max_delay < initial_delay
        && let Some((_, place)) = max.or(initial)
    {
        let message = format!(
            "`max_delay` ({max_delay:?}) is shorter than `initial_delay` ({initial_delay:?})"
        );
        let mut diagnostic = Diagnostic::new(Severity::Error, place, message)
            .with_help("delays begin with `initial_delay` and grow up to `max_delay`");
        if let (Some(_), Some((_, initial))) = (max, initial) {
            diagnostic = diagnostic.with_related(initial, "`initial_delay` is here");
        }
        diagnostics.push(diagnostic);
    }
    Backoff {
        initial: initial_delay,
        max: max_delay,
        multiplier: number("multiplier").unwrap_or(defaults.multiplier),
        jitter: number("jitter").unwrap_or(defaults.jitter),
    }
}

fn read_conditions(block: &Block, diagnostics: &mut Diagnostics) -> RetryConditions {
    let mut conditions = RetryConditions::NONE;
    for item in block.list("on") {
        let Some(word) = item.text() else {
            continue; // reported
        };
        if conditions.add(word).is_ok() {
            continue;
        }
        let (message, help) = match word.parse::<u16>() {
            Ok(status @ 100..500) => (
                format!("`on`: status {status} is no failure that another attempt mends"),
                Some("429, and statuses from 500 on".to_owned()),
            ),
            _ => (
                format!("`on`: nothing is called `{}`", shown(word)),
                diagnostics
                    .suggest("conditions", word, RetryConditions::words)
                    .or_else(|| Some(KNOWN_CONDITIONS.to_owned())),
            ),
        };
        let mut diagnostic = Diagnostic::new(Severity::Error, &item.place, message);
        diagnostic.help = help;
        diagnostics.push(diagnostic);
    }
    conditions
}

fn read_methods(block: &Block) -> Vec<String> {
    let items = block.list("methods").iter();
    items
        .filter_map(|item| Some(item.text()?.to_owned()))
        .collect()
}

const KNOWN_CONDITIONS: &str = "connect-failure, reset, timeout, protocol-error, 5xx, 429, a status from 500 on, or a cause like connection_refused";
