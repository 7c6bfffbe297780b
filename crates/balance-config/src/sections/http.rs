//! `http` and `connection_pool`: how HTTP is read, forwarded and kept alive.

use balance_core::{IdleSettings, PathPolicy, ProtocolSettings, UnderscorePolicy};

use super::backend::count;
use super::route::FLAT_ROUTE;
use crate::config::Mode;
use crate::diagnostics::Diagnostics;
use crate::table::{COUNT, DURATION, ENABLED, Key, Kind, Table};
use crate::value::Block;

pub(crate) static HTTP: Table = Table {
    name: "http",
    doc: "How HTTP is read, routed and forwarded.",
    main: None,
    keys: &[
        Key::new(
            "enable_http2",
            Kind::Bool,
            "true",
            "Speak HTTP/2 with clients: by ALPN under TLS, by prior knowledge in the clear.",
        ),
        Key::new("enable_websocket", Kind::Bool, "true", "Let upgrades pass."),
        Key::new(
            "max_idle_conns_per_host",
            COUNT,
            "100",
            "Idle connections kept to each backend, in the whole process. 0 = no reuse.",
        ),
        Key::new(
            "idle_conn_timeout",
            DURATION,
            "90s",
            "How long an idle connection to a backend is kept.",
        ),
        Key::new(
            "routes",
            Kind::List(&Kind::Block(&FLAT_ROUTE)),
            "",
            "Routes in the original form, with the match beside the action.",
        ),
        Key::new(
            "underscores_in_headers",
            Kind::Choice(&["drop", "pass", "reject"], &[]),
            "drop",
            "What becomes of fields with `_` in their name; some applications take it for `-`.",
        ),
        Key::new(
            "abort_on_close",
            Kind::Bool,
            "false",
            "Whether a client that closes its sending side while it waits ends the exchange.",
        ),
        Key::new(
            "paths",
            Kind::Choice(&["safe", "off", "reject"], &[]),
            "safe",
            "`safe` refuses dot segments, `%2f`, `%5c` and `%00`; `reject` also `//` and `;`; `off` nothing.",
        ),
    ],
};

pub(crate) static CONNECTION_POOL: Table = Table {
    name: "connection_pool",
    doc: "The original name of the idle connections to backends (http mode).",
    main: None,
    keys: &[
        ENABLED,
        Key::new(
            "max_size",
            COUNT,
            "100",
            "As `http.max_idle_conns_per_host`; the smaller wins.",
        ),
        Key::new(
            "max_idle_time",
            DURATION,
            "90s",
            "As `http.idle_conn_timeout`; the smaller wins.",
        ),
    ],
};

/// Reads what `http` says about messages.
pub(crate) fn read_protocol(http: Option<&Block>) -> ProtocolSettings {
    let defaults = ProtocolSettings::default();
    let Some(http) = http else { return defaults };
    ProtocolSettings {
        paths: match http.text("paths") {
            Some("off") => PathPolicy::Off,
            Some("reject") => PathPolicy::Reject,
            Some(_) => PathPolicy::Safe,
            None => defaults.paths,
        },
        underscores_in_headers: match http.text("underscores_in_headers") {
            Some("pass") => UnderscorePolicy::Pass,
            Some("reject") => UnderscorePolicy::Reject,
            Some(_) => UnderscorePolicy::Drop,
            None => defaults.underscores_in_headers,
        },
        enable_http2: *http.bool("enable_http2").unwrap_or(&defaults.enable_http2),
        enable_websocket: *http
            .bool("enable_websocket")
            .unwrap_or(&defaults.enable_websocket),
        abort_on_close: *http
            .bool("abort_on_close")
            .unwrap_or(&defaults.abort_on_close),
    }
}

/// Reads the two families of keys for idle connections; where both are written, the smaller wins.
pub(crate) fn read_idle(
    http: Option<&Block>,
    pool: Option<&Block>,
    mode: Mode,
    diagnostics: &mut Diagnostics,
) -> IdleSettings {
    let defaults = IdleSettings::default();
    let pool = pool.filter(|pool| pool.is_enabled());
    if let Some(pool) = pool
        && mode == Mode::Tcp
    {
        let message =
            "`connection_pool` has no effect in tcp mode: a session has its own connection";
        diagnostics.warning(&pool.place, message);
    }
    let pool = pool.filter(|_| mode == Mode::Http);
    let conns = |block: Option<&Block>, key: &str| block.and_then(|block| count(block, key));
    let time =
        |block: Option<&Block>, key: &str| block.and_then(|block| block.duration(key).copied());
    let clash = |other: &str, key: &str, diagnostics: &mut Diagnostics| {
        if let Some(pool) = pool {
            let message = format!("`{key}` and `http.{other}` differ: the smaller wins");
            diagnostics.warning(pool.key_place(key), message);
        }
    };
    let max = match (
        conns(http, "max_idle_conns_per_host"),
        conns(pool, "max_size"),
    ) {
        (Some(a), Some(b)) if a != b => {
            clash("max_idle_conns_per_host", "max_size", diagnostics);
            Some(a.min(b))
        }
        (a, b) => a.or(b),
    };
    let timeout = match (time(http, "idle_conn_timeout"), time(pool, "max_idle_time")) {
        (Some(a), Some(b)) if a != b => {
            clash("idle_conn_timeout", "max_idle_time", diagnostics);
            // 0 means "kept for ever", which is the longer one.
            Some(if a.is_zero() || b.is_zero() {
                a.max(b)
            } else {
                a.min(b)
            })
        }
        (a, b) => a.or(b),
    };
    IdleSettings {
        max_idle_conns_per_host: max.map_or(defaults.max_idle_conns_per_host, |max| max as usize),
        idle_conn_timeout: timeout.unwrap_or(defaults.idle_conn_timeout),
    }
}
