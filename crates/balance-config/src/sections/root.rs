//! The keys of the file itself.

use super::backend::LOAD_BALANCER;
use super::health::HEALTH_CHECK;
use super::http::{CONNECTION_POOL, HTTP};
use super::limits::{LIMITS, PERFORMANCE, SHUTDOWN};
use super::listener::{LISTEN, LISTENER, MODE, TRUSTED_PROXIES};
use super::pool::{BACKENDS, POOL};
use super::resilience::RESILIENCE;
use super::route::ROUTE;
use super::security::SECURITY;
use super::telemetry::{ADMIN, LOGGING, METRICS, PROFILING, TRACING};
use super::timeouts::TIMEOUTS;
use super::tls::TLS;
use super::transform::TRANSFORM;
use crate::check::ROOT_NAME;
use crate::table::{ENABLED, Key, Kind, Table};

pub(crate) static ROOT: Table = Table {
    name: ROOT_NAME,
    doc: "A configuration. The keys of the original format stand for the listener `main`, the pool `default` and routes.",
    main: None,
    keys: &[
        Key::new(
            "version",
            Kind::Integer { min: 1, max: 2 },
            "",
            "2: unknown keys are errors, prefixes end on segment borders, and what no route matches is 404.",
        ).example("2"),
        Key::new(
            "include",
            Kind::OneOrMany(&Kind::Text),
            "",
            "Files whose keys belong here too, like `conf.d/*.yaml`, relative to this file.",
        ).example("conf.d/*.yaml"),
        Key::new(
            "mode",
            MODE,
            "by what the file says",
            "http, if `http`, `transform`, `routes` or a health check's path appears; else tcp.",
        ),
        Key::new(
            "listen",
            LISTEN,
            "",
            "The listener `main`: `:8080`, `127.0.0.1:80`, `unix:/run/x.sock`.",
        ),
        TRUSTED_PROXIES,
        Key::new("backends", BACKENDS, "", "The pool `default`.").example("[\"127.0.0.1:9001\"]"),
        Key::new(
            "load_balancer",
            Kind::Block(&LOAD_BALANCER),
            "round-robin",
            "How a backend of `default` is picked.",
        ).example("least-connections"),
        Key::new("timeouts", Kind::Block(&TIMEOUTS), "", "Deadlines."),
        Key::new("tls", Kind::Block(&TLS), "", "TLS of the listener `main`."),
        Key::new("health_check", Kind::Block(&HEALTH_CHECK), "", "Probes."),
        Key::new(
            "resilience",
            Kind::Block(&RESILIENCE),
            "",
            "Circuit breaker and retries.",
        ),
        Key::new(
            "http",
            Kind::Block(&HTTP),
            "",
            "How HTTP is read, routed and forwarded.",
        ),
        Key::new(
            "connection_pool",
            Kind::Block(&CONNECTION_POOL),
            "",
            "Idle connections to backends.",
        ),
        Key::new(
            "transform",
            Kind::Block(&TRANSFORM),
            "",
            "Edits of everything that passes.",
        ),
        Key::new(
            "security",
            Kind::Block(&SECURITY),
            "",
            "Protection against clients.",
        ),
        Key::new(
            "limits",
            Kind::Block(&LIMITS),
            "",
            "Bounds on what a client may ask for.",
        ),
        Key::new("metrics", Kind::Block(&METRICS), "", "Prometheus metrics.").example("\":9090\""),
        Key::new(
            "logging",
            Kind::Block(&LOGGING),
            "",
            "What is logged and how.",
        ),
        Key::new("tracing", Kind::Block(&TRACING), "", "Spans over OTLP.").later("tracing"),
        Key::new("admin", Kind::Block(&ADMIN), "", "The admin listener.").example("\"127.0.0.1:9090\""),
        Key::new("profiling", Kind::Block(&PROFILING), "", "Profiles.").example("\":6060\""),
        Key::new(
            "performance",
            Kind::Block(&PERFORMANCE),
            "",
            "Threads and copying.",
        ),
        Key::new(
            "shutdown",
            Kind::Block(&SHUTDOWN),
            "",
            "How the process ends.",
        ).example("20s"),
        Key::new(
            "via_name",
            Kind::Token,
            "random per start",
            "Our name in Via.",
        ).example("edge-1"),
        Key::new("xds", Kind::Block(&XDS), "", "Configuration over xDS.").later("xDS"),
        Key::new(
            "defaults",
            Kind::Block(&DEFAULTS),
            "",
            "Inherited by pools and routes.",
        ),
        Key::new(
            "listeners",
            Kind::List(&Kind::Block(&LISTENER)),
            "",
            "Several listeners.",
        ),
        Key::new(
            "pools",
            Kind::Map(&Kind::Block(&POOL)),
            "",
            "Several pools by name.",
        ),
        Key::new(
            "routes",
            Kind::List(&Kind::Block(&ROUTE)),
            "",
            "Routes in the full form.",
        ),
    ],
};

static DEFAULTS: Table = Table {
    name: "defaults",
    doc: "Inherited by pools and routes.",
    main: None,
    keys: &[
        Key::new("timeouts", Kind::Block(&TIMEOUTS), "", "Deadlines."),
        Key::new("health_check", Kind::Block(&HEALTH_CHECK), "", "Probes."),
        Key::new(
            "resilience",
            Kind::Block(&RESILIENCE),
            "",
            "Circuit breaker and retries.",
        ),
    ],
};

static XDS: Table = Table {
    name: "xds",
    doc: "Configuration over xDS.",
    main: None,
    keys: &[
        ENABLED,
        Key::new("node_id", Kind::Text, "", "Our name at the server.").example("balance-1"),
        Key::new("address", Kind::Text, "", "The server.").example("\"xds:18000\""),
    ],
};
