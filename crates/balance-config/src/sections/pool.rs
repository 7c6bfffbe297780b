//! `pools` and the top-level keys that are shorthand for the pool `default`.

use balance_core::{CircuitBreaker, ProxyVersion, RetryPolicy, UpstreamProtocol};

use super::backend::{self, BACKEND, BackendDraft, BalancerDraft, LOAD_BALANCER, count};
use super::health::{self, Connecting, HEALTH_CHECK};
use super::resilience::{self, RESILIENCE};
use super::retry;
use super::timeouts::{TIMEOUTS, TimeoutsLayer};
use super::tls::{self, UPSTREAM_TLS};
use crate::config::{PoolHealth, PoolLimits, UpstreamTls, Version};
use crate::diagnostics::{Diagnostic, Diagnostics, Place, Severity, Spanned};
use crate::layers::Layers;
use crate::table::{COUNT, DURATION, ENABLED, Key, Kind, POSITIVE_DURATION, Table};
use crate::value::{Block, Item};

pub(crate) static POOL: Table = Table {
    name: "pool",
    doc: "A named group of backends with one balancing policy.",
    main: None,
    keys: &[
        Key::required("backends", BACKENDS, "its backends, at least one")
            .example("[\"127.0.0.1:9001\"]"),
        Key::new(
            "load_balancer",
            Kind::Block(&LOAD_BALANCER),
            "round-robin",
            "How one is picked.",
        )
        .example("least-connections"),
        Key::new(
            "timeouts",
            Kind::Block(&TIMEOUTS),
            "",
            "Over those of the file.",
        ),
        Key::new(
            "limits",
            Kind::Block(&POOL_LIMITS),
            "",
            "What may be under way to the whole pool, and who may wait.",
        ),
        Key::new("health_check", Kind::Block(&HEALTH_CHECK), "", "Probes."),
        Key::new(
            "resilience",
            Kind::Block(&RESILIENCE),
            "",
            "Circuit breaker and retries.",
        ),
        Key::new(
            "sticky",
            Kind::Block(&STICKY),
            "",
            "Clients stay with a backend.",
        )
        .later("sticky sessions"),
        Key::new(
            "tls",
            Kind::Block(&UPSTREAM_TLS),
            "",
            "TLS towards the backends.",
        ),
        Key::new(
            "protocol",
            Kind::Choice(&["h1", "h2", "auto"], &[]),
            "h1",
            "What is spoken to the backends: HTTP/1.1, HTTP/2 (over TLS by ALPN, without TLS at once), or what a backend chooses by ALPN.",
        ),
        Key::new(
            "send_proxy",
            Kind::Choice(&["v1", "v2"], &[]),
            "",
            "Begin each connection to a backend with a PROXY header that names the client. Connections are then used again for the same client connection only.",
        ),
    ],
};

pub(crate) const BACKENDS: Kind = Kind::List(&Kind::Block(&BACKEND));

static POOL_LIMITS: Table = Table {
    name: "pool limits",
    doc: "What may be under way to the whole pool at once, and who may wait for it.",
    main: Some("max_connections"),
    keys: &[
        Key::new(
            "max_connections",
            COUNT,
            "0",
            "Requests and sessions under way to all its backends together, those of views included; streams of HTTP/2 count one each. 0 = unlimited.",
        ),
        Key::new(
            "queue",
            COUNT,
            "0",
            "Requests and sessions that may wait while all places are taken, first come first served. Above: 503, `queue_full`.",
        ),
        Key::new(
            "queue_timeout",
            POSITIVE_DURATION,
            "2s",
            "How long they wait at most. Then: 503, `queue_timeout`.",
        ),
    ],
};

static STICKY: Table = Table {
    name: "sticky",
    doc: "Clients stay with a backend.",
    main: Some("cookie"),
    keys: &[
        ENABLED,
        Key::new("cookie", Kind::Token, "balance", "The name of the cookie."),
        Key::new(
            "secret_file",
            Kind::Text,
            "",
            "A file with the key that signs it.",
        )
        .example("/etc/balance/sticky.key"),
        Key::new("ttl", DURATION, "1h", "How long it lasts."),
    ],
};

/// The pool that the top-level keys stand for.
pub(crate) const DEFAULT: &str = "default";
/// Names of this form are the views of routes.
pub(crate) const VIEW_PREFIX: &str = "route:";

/// `protocol` as written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Protocol {
    pub(crate) value: UpstreamProtocol,
    /// `None`: it is the default.
    pub(crate) place: Option<Place>,
}

/// A pool as written.
#[derive(Debug)]
pub(crate) struct PoolDraft {
    pub(crate) name: Spanned<String>,
    pub(crate) place: Place,
    pub(crate) backends: Vec<BackendDraft>,
    /// `backends` is a list with nothing in it; missing or wrong ones are reported already.
    pub(crate) is_empty: bool,
    pub(crate) balancer: BalancerDraft,
    pub(crate) limits: PoolLimits,
    pub(crate) send_proxy: Option<ProxyVersion>,
    pub(crate) tls: Option<UpstreamTls>,
    pub(crate) protocol: Protocol,
    pub(crate) timeouts: TimeoutsLayer,
    pub(crate) health: PoolHealth,
    pub(crate) breaker: Option<CircuitBreaker>,
    pub(crate) retry: Option<RetryPolicy>,
}

/// Reads an entry of `pools`, over what it inherits.
pub(crate) fn read(
    name: &Spanned<String>,
    block: &Block,
    defaults: Option<&Block>,
    version: Version,
    diagnostics: &mut Diagnostics,
) -> PoolDraft {
    let limits = block.block("limits");
    let send_proxy = match block.text("send_proxy") {
        Some("v1") => Some(ProxyVersion::V1),
        Some(_) => Some(ProxyVersion::V2),
        None => None,
    };
    let tls = tls::read_upstream(block, "tls");
    let protocol = read_protocol(block);
    let connecting = Connecting {
        send_proxy,
        has_tls: tls.is_some(),
        protocol: protocol.value,
    };
    PoolDraft {
        name: name.clone(),
        place: name.place.clone(),
        backends: backend::read_all(block.list("backends"), version),
        is_empty: block.is_empty_list("backends"),
        balancer: backend::read_balancer(block.block("load_balancer")),
        limits: limits.map_or_else(PoolLimits::default, |limits| {
            read_limits(limits, block, diagnostics)
        }),
        send_proxy,
        tls,
        protocol,
        timeouts: TimeoutsLayer::read(block.block("timeouts"), diagnostics),
        health: read_health(&[defaults, Some(block)], connecting, diagnostics),
        breaker: read_breaker(&[defaults, Some(block)]),
        retry: read_retry(&[defaults, Some(block)], diagnostics),
    }
}

/// The pool `default` of the top-level keys; `None` without `backends`.
pub(crate) fn read_default(
    root: &Block,
    version: Version,
    diagnostics: &mut Diagnostics,
) -> Option<PoolDraft> {
    let place = root.field("backends")?.key_place.clone();
    let tls = root
        .enabled_block("tls")
        .and_then(|tls| tls::read_upstream(tls, "backend"));
    let connecting = Connecting {
        send_proxy: None,
        has_tls: tls.is_some(),
        protocol: UpstreamProtocol::Http1,
    };
    let owners = [root.block("defaults"), Some(root)];
    Some(PoolDraft {
        name: Spanned::new(DEFAULT.to_owned(), place.clone()),
        place,
        backends: backend::read_all(root.list("backends"), version),
        is_empty: root.is_empty_list("backends"),
        balancer: backend::read_balancer(root.block("load_balancer")),
        limits: PoolLimits::default(),
        send_proxy: None,
        tls,
        protocol: Protocol::default(),
        timeouts: TimeoutsLayer::default(),
        health: read_health(&owners, connecting, diagnostics),
        breaker: read_breaker(&owners),
        retry: read_retry(&owners, diagnostics),
    })
}

/// Keys that would do nothing are told.
fn read_limits(limits: &Block, pool: &Block, diagnostics: &mut Diagnostics) -> PoolLimits {
    let max_connections = count(limits, "max_connections").unwrap_or(0);
    let queue = count(limits, "queue").unwrap_or(0);
    let is_limited = |item: &Item| {
        let backend = item.block();
        backend.is_some_and(|backend| count(backend, "max_connections").unwrap_or(0) != 0)
    };
    if queue != 0 && max_connections == 0 && !pool.list("backends").iter().any(is_limited) {
        diagnostics.push(
            Diagnostic::new(
                Severity::Warning,
                limits.key_place("queue"),
                "nobody ever waits in this queue: neither the pool nor a backend has `max_connections`",
            )
            .with_help("set `max_connections` beside it"),
        );
    }
    if queue == 0 && limits.has("queue_timeout") {
        diagnostics.push(
            Diagnostic::new(
                Severity::Warning,
                limits.key_place("queue_timeout"),
                "without `queue` nobody waits: `queue_timeout` has no effect",
            )
            .with_help("say how many may wait: `queue: 100`"),
        );
    }
    PoolLimits {
        max_connections,
        queue,
        queue_timeout: limits
            .duration("queue_timeout")
            .copied()
            .unwrap_or(PoolLimits::default().queue_timeout),
    }
}

fn read_breaker(owners: &[Option<&Block>]) -> Option<CircuitBreaker> {
    resilience::read_breaker(&Layers::under(owners, "resilience"))
}

fn read_protocol(pool: &Block) -> Protocol {
    let Some(name) = pool.text("protocol") else {
        return Protocol::default();
    };
    Protocol {
        value: match name {
            "h2" => UpstreamProtocol::Http2,
            "auto" => UpstreamProtocol::Auto,
            _ => UpstreamProtocol::Http1,
        },
        place: Some(pool.key_place("protocol").clone()),
    }
}

fn read_health(
    owners: &[Option<&Block>],
    connecting: Connecting,
    diagnostics: &mut Diagnostics,
) -> PoolHealth {
    let layers = Layers::under(owners, "health_check");
    health::read(&layers, connecting, diagnostics)
}

fn read_retry(owners: &[Option<&Block>], diagnostics: &mut Diagnostics) -> Option<RetryPolicy> {
    let layers = Layers::under(owners, "resilience").inner("retry");
    retry::read(&layers, diagnostics)
}
