//! `health_check`, in `defaults` and in pools: probes of backends.

use std::time::Duration;

use balance_core::{
    ExpectedStatus, HealthCheck, HttpProbe, PassiveChecks, Probe, ProxyVersion, UpstreamProtocol,
};

use crate::check::shown;
use crate::config::PoolHealth;
use crate::diagnostics::Diagnostics;
use crate::layers::Layers;
use crate::table::{ENABLED, Key, Kind, POSITIVE_COUNT, POSITIVE_DURATION, Table};
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
            "From one probe to the next, give or take a tenth.",
        ),
        Key::new(
            "fast_interval",
            POSITIVE_DURATION,
            "a fifth of `interval`",
            "The same while probes contradict the state; never longer than `interval`.",
        )
        .example("1s"),
        Key::new(
            "timeout",
            POSITIVE_DURATION,
            "3s",
            "How long a probe may take, connecting included.",
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
            "What a probe does: connect, or ask. Where the pool has `tls`, both do so under TLS; `https` demands that it has.",
        ),
        Key::new("path", Kind::UrlPath, "/", "What an HTTP probe asks for."),
        Key::new("method", Kind::Token, "GET", "How it asks."),
        Key::new(
            "host",
            Kind::FieldValue,
            "the backend's address",
            "The Host header of an HTTP probe.",
        )
        .example("health.internal"),
        Key::new(
            "headers",
            Kind::Map(&Kind::FieldValue),
            "",
            "More fields of an HTTP probe.",
        )
        .example("{ User-Agent: balance }"),
        Key::new(
            "expected_status",
            Kind::OneOrMany(&Kind::Integer { min: 100, max: 599 }),
            "200 to 399",
            "Statuses that count as healthy.",
        )
        .example("[200, 204]"),
        Key::new(
            "expected_body",
            Kind::Text,
            "",
            "A text that the body of an HTTP probe must contain, in its first 64 KiB.",
        )
        .example("ok"),
        Key::new(
            "panic_threshold",
            Kind::Share,
            "0%",
            "Below this share of healthy backends all are used; 0: never, and without healthy ones the answer is 503.",
        ),
        Key::new(
            "max_ejected",
            Kind::Share,
            "30%",
            "The share of a pool that passive checks may take out at once: at least one backend, and never all.",
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
            "latency_factor",
            Kind::Number {
                min: 1.5,
                max: 1000.0,
            },
            "",
            "So many times as long as is usual in the pool (its median backend), on average over the window, ejects. By default slowness does not.",
        )
        .example("5"),
        Key::new(
            "window",
            POSITIVE_DURATION,
            "1m",
            "Over which the share and the average are taken; fewer than 20 attempts in it are not judged.",
        ),
        Key::new(
            "ejection_time",
            POSITIVE_DURATION,
            "30s",
            "Of the first ejection; each further one in a row lasts twice as long, up to ten times this.",
        ),
    ],
};

/// What connections to the pool begin with, those of probes included.
#[derive(Clone, Copy)]
pub(crate) struct Connecting {
    pub(crate) send_proxy: Option<ProxyVersion>,
    pub(crate) has_tls: bool,
    pub(crate) protocol: UpstreamProtocol,
}

/// What the layers say about one pool.
pub(crate) fn read(
    layers: &Layers<'_>,
    connecting: Connecting,
    diagnostics: &mut Diagnostics,
) -> PoolHealth {
    if !layers.is_enabled() {
        return PoolHealth::default();
    }
    PoolHealth {
        check: Some(read_check(layers, connecting, diagnostics)),
        panic_threshold: layers
            .nearest(|block| block.number("panic_threshold"))
            .copied()
            .unwrap_or(0.0),
        passive: read_passive(layers),
    }
}

fn read_passive(layers: &Layers<'_>) -> Option<PassiveChecks> {
    let inner = layers.inner("passive_checks");
    if !inner.is_enabled() {
        return None;
    }
    let defaults = PassiveChecks::default();
    let duration = |key: &str| inner.nearest(|block| block.duration(key)).copied();
    Some(PassiveChecks {
        consecutive_failures: inner
            .nearest(|block| block.integer("consecutive_failures"))
            .and_then(|count| u32::try_from(*count).ok())
            .unwrap_or(defaults.consecutive_failures),
        error_rate_threshold: inner
            .nearest(|block| block.number("error_rate_threshold"))
            .copied()
            .unwrap_or(defaults.error_rate_threshold),
        latency_factor: inner
            .nearest(|block| block.number("latency_factor"))
            .copied()
            .unwrap_or(defaults.latency_factor),
        window: duration("window").unwrap_or(defaults.window),
        ejection_time: duration("ejection_time").unwrap_or(defaults.ejection_time),
        max_ejected: layers
            .nearest(|block| block.number("max_ejected"))
            .copied()
            .unwrap_or(defaults.max_ejected),
    })
}

fn read_check(
    layers: &Layers<'_>,
    connecting: Connecting,
    diagnostics: &mut Diagnostics,
) -> HealthCheck {
    let duration =
        |key: &str| -> Option<Duration> { layers.nearest(|block| block.duration(key)).copied() };
    let count = |key: &str| {
        let count = layers.nearest(|block| block.integer(key))?;
        u32::try_from(*count).ok()
    };
    let kind = layers.nearest(|block| Some((kind(block)?, block)));
    if let Some(("https", block)) = kind
        && !connecting.has_tls
    {
        diagnostics.error_help(
            block.key_place("type"),
            "probes would speak TLS to backends that are reached without it",
            "add `tls` to the pool, or write `type: http`",
        );
    }
    let interval = duration("interval").unwrap_or(HealthCheck::INTERVAL);
    HealthCheck {
        probe: match kind {
            Some(("http" | "https", _)) => Probe::Http(read_http(layers, diagnostics)),
            _ => Probe::Tcp,
        },
        send_proxy: connecting.send_proxy,
        protocol: connecting.protocol,
        interval,
        fast_interval: duration("fast_interval").unwrap_or(interval / HealthCheck::FAST_DIVISOR),
        timeout: duration("timeout").unwrap_or(HealthCheck::TIMEOUT),
        healthy_threshold: count("healthy_threshold").unwrap_or(HealthCheck::HEALTHY_THRESHOLD),
        unhealthy_threshold: count("unhealthy_threshold")
            .unwrap_or(HealthCheck::UNHEALTHY_THRESHOLD),
    }
}

fn read_http(layers: &Layers<'_>, diagnostics: &mut Diagnostics) -> HttpProbe {
    let text = |key: &str| layers.nearest(|block| block.text(key)).map(str::to_owned);
    let with_headers = layers.nearest(|block| block.has("headers").then_some(block));
    let statuses = layers.nearest(|block| block.has("expected_status").then_some(block));
    let statuses: Option<Vec<u16>> = statuses.map(|block| {
        let items = block.list("expected_status").iter();
        let status = |number: &i64| u16::try_from(*number).ok();
        items
            .filter_map(|item| item.integer().and_then(status))
            .collect()
    });
    HttpProbe {
        method: text("method").unwrap_or_else(|| "GET".to_owned()),
        path: text("path").unwrap_or_else(|| "/".to_owned()),
        host: text("host"),
        headers: with_headers.map_or_else(Vec::new, |block| read_headers(block, diagnostics)),
        expected_status: match statuses {
            Some(statuses) if !statuses.is_empty() => ExpectedStatus::OneOf(statuses),
            _ => ExpectedStatus::Fine,
        },
        expected_body: text("expected_body"),
    }
}

fn read_headers(block: &Block, diagnostics: &mut Diagnostics) -> Vec<(String, String)> {
    let fields = block.fields("headers", diagnostics);
    for (name, item) in block.map("headers") {
        if RESERVED
            .iter()
            .any(|own| name.value.eq_ignore_ascii_case(own))
        {
            let message = format!("a probe sets `{}` itself", shown(&name.value));
            diagnostics.error_help(
                &item.place,
                message,
                "`host` sets Host; a probe has no body",
            );
        }
    }
    fields
}

/// What a probe does, where a block says so: by `type`, else by the presence of a path.
fn kind(block: &Block) -> Option<&str> {
    block
        .text("type")
        .or_else(|| block.has("path").then_some("http"))
}

/// They decide how the probe's message is framed and read.
const RESERVED: [&str; 4] = ["host", "connection", "content-length", "transfer-encoding"];

/// Whether probes ask for a path, which makes the mode http (config.md §3).
pub(crate) fn speaks_http(block: &Block) -> bool {
    kind(block).is_some_and(|kind| kind != "tcp")
}
