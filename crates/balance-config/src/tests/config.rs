//! Good files: what they become.

use std::time::Duration;

use balance_core::{
    Algorithm, BackendId, Backoff, CircuitBreaker, ExpectedStatus, HashKey, HealthCheck,
    Http2Limits, HttpProbe, PassiveChecks, PathPolicy, PoolId, Probe, RetryConditions, RetryPolicy,
    RouteId, UpstreamProtocol, Weight,
};

use crate::{
    AccessLog, Action, Config, HeaderEdit, HostPattern, Listener, LogFormat, LogLevel,
    MemorySources, Mirror, Mode, PathMatch, PoolKind, RouteScope, Severity, Version, load,
};
use crate::{NamedMatch, ValueMatch};

/// A good file of three lines, to add to.
pub(super) const BASE: &str =
    "mode: http\nlisten: \":8080\"\nbackends: [{ name: a, address: \"127.0.0.1:9001\" }]\n";

/// Loads a file that must have no error.
pub(super) fn config(yaml: &str) -> Config {
    config_from(&MemorySources::file("b.yaml", yaml))
}

pub(super) fn config_from(sources: &MemorySources) -> Config {
    let loaded = load(sources, "b.yaml");
    let lines: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
    loaded
        .config
        .unwrap_or_else(|| panic!("{}", lines.join("\n")))
}

/// The notes of a file, without the file's name.
fn notes(yaml: &str) -> Vec<String> {
    told(yaml, Severity::Note)
}

fn told(yaml: &str, severity: Severity) -> Vec<String> {
    load(&MemorySources::file("b.yaml", yaml), "b.yaml")
        .diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == severity)
        .map(|diagnostic| diagnostic.to_string().replace("b.yaml:", ""))
        .collect()
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[test]
fn the_examples_load_without_a_word() {
    for (name, text) in [
        (
            "example.yaml",
            include_str!("../../../../config/example.yaml"),
        ),
        ("http.yaml", include_str!("../../../../config/http.yaml")),
        (
            "routing.yaml",
            include_str!("../../../../config/routing.yaml"),
        ),
        (
            "proxy-protocol.yaml",
            include_str!("../../../../config/proxy-protocol.yaml"),
        ),
        (
            "server-names.yaml",
            include_str!("../../../../config/server-names.yaml"),
        ),
        (
            "minimal.yaml",
            include_str!("../../../../config/minimal.yaml"),
        ),
    ] {
        let loaded = load(&MemorySources::file(name, text), name);
        let lines: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
        assert_eq!(lines, [""; 0], "{name}");
        assert!(loaded.config.is_some(), "{name}");
    }
}

/// Every key of the original format, switched off where the feature is not there yet.
#[test]
fn every_original_key_loads() {
    let config = config(include_str!("original.yaml"));
    assert_eq!(config.version, Version::V1);
    let [listener] = &config.listeners[..] else {
        panic!("one listener")
    };
    assert_eq!(
        (listener.name.as_str(), listener.mode),
        ("main", Mode::Http)
    );
    assert_eq!(listener.pool, Some(PoolId(0)));
    assert_eq!(listener.routes, RouteScope::All);
    assert_eq!(config.backends[0].max_connections, 1000);
    assert_eq!(config.pools[0].algorithm, Algorithm::BoundedConsistentHash);
    assert_eq!(
        config.pools[0].hash_key,
        HashKey::Header("x-user-id".to_owned())
    );
    assert_eq!(config.timeouts.connect, seconds(5));
    assert_eq!(config.timeouts.head, seconds(10));
    assert_eq!(config.idle.max_idle_conns_per_host, 10);
    assert_eq!(config.idle.idle_conn_timeout, seconds(90));
    assert_eq!(config.limits.connections_per_ip_max, 100);
    assert_eq!(config.limits.body_bytes_max, 10_485_760);
    assert_eq!(config.limits.head_bytes_max, 1_048_576);
    assert!(config.protocol.enable_http2 && config.protocol.enable_websocket && config.zero_copy);
    assert_eq!(config.worker_threads, None);
    assert_eq!(config.logging.access_log, AccessLog::Stdout);
    assert_eq!(
        config.admin.unwrap().listen.value,
        config.metrics.unwrap().listen.value
    );
    let route = &config.routes[0];
    assert_eq!(
        route.matches.hosts,
        [HostPattern::Under("example.com".to_owned())]
    );
    assert_eq!(route.matches.path, PathMatch::BytePrefix("/v1/".to_owned()));
    assert_eq!(
        route.matches.headers,
        [NamedMatch {
            name: "x-k".to_owned(),
            value: ValueMatch::Exact("v".to_owned())
        }]
    );
    assert_eq!(route.priority, 20);
    assert_eq!(route.action, Action::Forward(PoolId(1)));
    let view = &config.pools[1];
    assert_eq!(view.name, "route:api");
    assert_eq!(
        view.kind,
        PoolKind::View {
            of: PoolId(0),
            route: RouteId(0)
        }
    );
    assert_eq!(view.members, [BackendId(0)]);
    assert_eq!(route.transform.strip_prefix.as_deref(), Some("/v1"));
    assert_eq!(route.transform.request_headers.len(), 1);
}

#[test]
fn server_names_become_routes_of_their_listener_alone() {
    let config = config(
        "version: 2\n\
         listeners:\n\
         - { name: one, listen: ':1', mode: tcp, pool: p, tls: { sni: { routes: { '*': b, '*.example': 'n:9', '*.a.example': [a], x.example: ['a:1', '10.0.0.2:2', '10.0.0.9:9'] } } } }\n\
         - { name: two, listen: ':2', routes: [r] }\n\
         - { name: web, listen: ':3', mode: http, pool: p }\n\
         pools:\n  p: { backends: [ { name: a, address: '10.0.0.1:1' }, { name: b, address: '10.0.0.2:2' } ] }\n\
         routes:\n- { name: r, match: { sni: [s.example, '*.s.example'] }, pool: p, timeouts: { idle: 1s } }\n\
         - { name: h, match: { host: s.example }, pool: p }\n",
    );
    let [one, two, web] = &config.listeners[..] else {
        panic!("three listeners")
    };
    let names = |listener: &Listener| match &listener.routes {
        RouteScope::All => vec!["all"],
        RouteScope::Listed(listed) => {
            let names = listed
                .iter()
                .map(|id| config.routes[id.index()].name.as_str());
            names.collect()
        }
    };
    let expected = [
        "r",
        "sni:one:x.example",
        "sni:one:*.a.example",
        "sni:one:*.example",
        "sni:one:*",
    ];
    assert_eq!(names(one), expected);
    assert_eq!((names(two), names(web)), (vec!["r"], vec!["all"]));
    assert_eq!(two.mode, Mode::Tcp, "its route is one of sessions");
    // Where a route of the file decides by name, what it does not take goes nowhere unless a pool is written.
    assert_eq!((one.pool, two.pool), (config.pool("p"), None));
    let members = |route: &str| -> Vec<(&str, &str)> {
        let route = &config.routes[config.route(route).unwrap().index()];
        let Action::Forward(pool) = route.action else {
            panic!("a pool")
        };
        let members = config.pools[pool.index()].members.iter();
        let backend = |id: &BackendId| &config.backends[id.index()];
        members
            .map(backend)
            .map(|one| (one.pool.as_str(), one.name.as_str()))
            .collect()
    };
    let own = "route:sni:one:x.example";
    assert_eq!(
        members("sni:one:x.example"),
        [("p", "a"), ("p", "b"), (own, "10.0.0.9:9")]
    );
    assert_eq!(members("sni:one:*.a.example"), [("p", "a")]);
    assert_eq!(
        members("sni:one:*.example"),
        [("route:sni:one:*.example", "n:9")]
    );
    let route = &config.routes[config.route("r").unwrap().index()];
    assert_eq!(route.server_names.as_ref().map(Vec::len), Some(2));
    assert_eq!(route.timeouts.idle, seconds(1));
}

#[test]
fn the_full_form_resolves_names_and_order() {
    let config = config(include_str!("full.yaml"));
    assert_eq!(config.version, Version::V2);
    let [web, pg] = &config.listeners[..] else {
        panic!("two listeners")
    };
    assert_eq!(web.listen.len(), 2);
    assert_eq!(web.routes, RouteScope::Listed(vec![RouteId(1), RouteId(0)]));
    assert_eq!(web.pool, config.pool("site"));
    assert_eq!(web.trusted_proxies.len(), 2);
    assert_eq!((pg.mode, pg.pool), (Mode::Tcp, config.pool("postgres")));
    let names: Vec<&str> = config.pools.iter().map(|pool| pool.name.as_str()).collect();
    assert_eq!(names, ["api", "site", "postgres", "route:canary"]);
    let canary = &config.routes[config.route("canary").unwrap().index()];
    assert_eq!(
        canary.action,
        Action::Forward(config.pool("route:canary").unwrap())
    );
    assert_eq!(canary.matches.methods, ["GET", "HEAD"]);
    assert_eq!(
        canary.matches.path,
        PathMatch::SegmentPrefix("/v1/".to_owned())
    );
    assert_eq!(canary.tests.len(), 1);
    assert_eq!(canary.tests[0].expect[0].1.value, "api");
    assert_eq!(config.backends[0].weight, Weight(2));
    assert_eq!(config.backends[1].name, "10.0.1.11:8080");
    assert_eq!(config.pools[0].limits.max_connections, 1000);
    // defaults → top level → pool → route.
    assert_eq!(config.timeouts.connect, seconds(1));
    assert_eq!(config.timeouts.request, seconds(60));
    assert_eq!(config.pools[0].timeouts.connect, seconds(2));
    assert_eq!(canary.timeouts.connect, seconds(2));
    assert_eq!(canary.timeouts.request, seconds(5));
    assert_eq!(canary.timeouts.read, seconds(7));
    let Action::Redirect(redirect) = &config.routes[2].action else {
        panic!("a redirect")
    };
    assert_eq!(
        (redirect.scheme.as_deref(), redirect.status),
        (Some("https"), 308)
    );
    let Action::Respond(respond) = &config.routes[3].action else {
        panic!("a response")
    };
    assert_eq!((respond.status, respond.body.as_str()), (200, "ok"));
    assert_eq!(respond.headers[0].1, "text/plain; charset=utf-8");
    assert_eq!(config.protocol.paths, PathPolicy::Reject);
    assert_eq!(config.shutdown.limit, seconds(20));
    assert_eq!(config.shutdown.delay, seconds(1));
    assert_eq!(config.via_name.as_deref(), Some("edge-1"));
    assert_eq!(config.idle_upstream_max, 100);
    assert_eq!(config.buffered_bytes_max, 64 << 20);
    let http2 = Http2Limits {
        max_concurrent_streams: 50,
        stream_window: 128 * 1024,
        connection_window: 512 * 1024,
        resets_max: 20,
        idle_frames_max: 300,
        budget_window: seconds(4),
        continuations_max: 5,
        requests_max: 6_000,
    };
    assert_eq!(config.limits.http2, http2);
    assert_eq!(
        (config.logging.level, config.logging.format),
        (LogLevel::Warn, LogFormat::Json)
    );
    assert!(
        matches!(&config.logging.access_log, AccessLog::File(path) if path.value == "/var/log/a.log")
    );
    // The top-level edits come first, and of the prefixes the inner one wins.
    assert_eq!(
        canary.transform.response_headers,
        [
            HeaderEdit::Remove {
                name: "Server".to_owned()
            },
            HeaderEdit::Set {
                name: "X-Canary".to_owned(),
                value: "1".to_owned()
            },
        ]
    );
}

#[test]
fn a_share_of_a_split_has_its_own_deadlines() {
    let yaml = "
pools:
  a: { backends: [\"a:1\"], timeouts: { connect: 1s, request: 9s } }
  b: { backends: [\"b:1\"], timeouts: { connect: 2s, request: 0 } }
  shadow: { backends: [\"s:1\"] }
routes:
  - { name: r, split: [ { pool: b, weight: 95 }, { pool: a, weight: 5 } ], timeouts: { read: 7s }, mirror: shadow }
  - { name: m, pool: a, mirror: { pool: b, sample: 12.5%, body_bytes_max: 1KiB, in_flight_max: 3, timeout: 2s } }
";
    let config = config(&format!("{BASE}{yaml}"));
    let Action::Split(shares) = &config.routes[0].action else {
        panic!("a split");
    };
    let pool = |name| config.pool(name).unwrap();
    let seen: Vec<_> = shares
        .iter()
        .map(|share| {
            let timeouts = &share.timeouts;
            let deadlines = [timeouts.connect, timeouts.request, timeouts.read];
            (share.pool, share.weight, deadlines.map(|one| one.as_secs()))
        })
        .collect();
    assert_eq!(
        seen,
        [
            (pool("b"), Weight(95), [2, 0, 7]),
            (pool("a"), Weight(5), [1, 9, 7])
        ]
    );
    let defaults = Mirror {
        pool: pool("shadow"),
        sample: 1.0,
        body_bytes_max: 64 * 1024,
        in_flight_max: 100,
        timeout: seconds(10),
    };
    assert_eq!(config.routes[0].mirror, Some(defaults));
    let written = Mirror {
        pool: pool("b"),
        sample: 0.125,
        body_bytes_max: 1024,
        in_flight_max: 3,
        timeout: seconds(2),
    };
    assert_eq!(config.routes[1].mirror, Some(written));
}

/// The mistake has its own line, and a conclusion in its place would only distract from it.
#[test]
fn no_mode_is_concluded_where_a_wrong_one_is_written() {
    for file in [
        "mode: htpp\nlisten: \":80\"\nbackends: [\"a:1\"]\n",
        "listeners: [ { name: l, mode: htpp, listen: \":80\", pool: p } ]\npools: { p: { backends: [\"a:1\"] } }\n",
    ] {
        assert_eq!(notes(file), [""; 0], "{file}");
        assert_eq!(told(file, Severity::Error).len(), 1, "{file}");
    }
}

#[test]
fn the_mode_is_concluded_from_what_is_there() {
    let file = |more: &str| format!("listen: \":80\"\nbackends: [\"a:1\"]\n{more}");
    for (more, mode, note) in [
        (
            "",
            Mode::Tcp,
            "1:1: note: listener `main` has mode tcp, because nothing",
        ),
        (
            "http: {}\n",
            Mode::Http,
            "3:1: note: listener `main` has mode http, because `http` is there",
        ),
        (
            "http:\n",
            Mode::Tcp,
            "1:1: note: listener `main` has mode tcp",
        ),
        (
            "transform: {}\n",
            Mode::Http,
            "3:1: note: listener `main` has mode http, because `transform`",
        ),
        (
            "routes: []\n",
            Mode::Http,
            "3:1: note: listener `main` has mode http, because `routes`",
        ),
        (
            "health_check: { enabled: false, path: /h }\n",
            Mode::Http,
            "3:1: note: listener `main` has mode http, because the path",
        ),
        (
            "health_check: { enabled: false, path: /h, type: tcp }\n",
            Mode::Tcp,
            "1:1: note",
        ),
    ] {
        assert_eq!(config(&file(more)).listeners[0].mode, mode, "{more}");
        assert!(
            notes(&file(more))[0].starts_with(note),
            "{more}: {:?}",
            notes(&file(more))
        );
    }
    assert_eq!(notes(BASE), [""; 0]);
    // The shorthand is an error so far, and still decides the mode.
    assert!(notes(&file("health_check: /health\n"))[0].contains("mode http"));
}

#[test]
fn presence_is_enough_and_said_aloud() {
    let yaml = format!("{BASE}metrics: {{ listen: \":9090\" }}\n");
    assert_eq!(
        notes(&yaml),
        ["4:10: note: `metrics` is in force because it is present; `enabled: true` would say so"]
    );
    assert!(config(&yaml).metrics.is_some());
    assert_eq!(notes(&format!("{yaml}version: 2\n")), [""; 0]);
    assert_eq!(notes(&format!("{BASE}metrics: \":9090\"\n")), [""; 0]);
    let off = config(&format!("{BASE}metrics: {{ enabled: false }}\nadmin: ~\n"));
    assert!(off.metrics.is_none() && off.admin.is_none());
    let switched = config(&format!("{BASE}metrics: false\nadmin: true\ntls: false\n"));
    assert!(switched.metrics.is_none() && switched.admin.is_some());
}

#[test]
fn what_happens_when_no_route_matches() {
    let routes = "http: { routes: [ { name: r, host: a.example } ] }\n";
    let pool_of = |yaml: String| config(&yaml).listeners[0].pool;
    assert_eq!(pool_of(BASE.to_owned()), Some(PoolId(0)));
    assert_eq!(pool_of(format!("{BASE}{routes}")), Some(PoolId(0)));
    assert_eq!(pool_of(format!("{BASE}version: 2\n")), Some(PoolId(0)));
    assert_eq!(pool_of(format!("{BASE}version: 2\n{routes}")), None);
}

#[test]
fn a_weight_of_zero_is_one_without_version() {
    let yaml = "mode: tcp\nlisten: \":80\"\nload_balancer: weighted-round-robin\nbackends: [{ address: \"a:1\", weight: 0 }]\n";
    assert_eq!(config(yaml).backends[0].weight, Weight(1));
    assert_eq!(
        config(&format!("{yaml}version: 2\n")).backends[0].weight,
        Weight(0)
    );
}

#[test]
fn hosts_lose_case_port_and_trailing_dot() {
    for (text, expected) in [
        (
            "API.Example.com:8080",
            HostPattern::Exact("api.example.com".to_owned()),
        ),
        ("a.example.", HostPattern::Exact("a.example".to_owned())),
        (
            "*.Example.com",
            HostPattern::Under("example.com".to_owned()),
        ),
        ("*", HostPattern::Any),
        ("[::1]:80", HostPattern::Exact("[::1]".to_owned())),
    ] {
        let yaml = format!("{BASE}routes: [ {{ match: {{ host: \"{text}\" }} }} ]\n");
        assert_eq!(config(&yaml).routes[0].matches.hosts, [expected], "{text}");
    }
}

#[test]
fn the_environment_stands_over_the_file() {
    let with = |yaml: &str, name: &str, value: &str| {
        config_from(&MemorySources::file("b.yaml", yaml).with_env(name, value))
    };
    let listen = |config: &Config| config.listeners[0].listen[0].value.to_string();
    assert_eq!(
        listen(&with(BASE, "BALANCE_LISTEN", "127.0.0.1:1")),
        "127.0.0.1:1"
    );
    assert_eq!(listen(&with(BASE, "BALANCE_LISTEN", "")), ":8080");
    assert_eq!(
        listen(&with("backends: [\"a:1\"]\n", "BALANCE_LISTEN", ":1")),
        ":1"
    );
    assert_eq!(
        with(BASE, "BALANCE_MODE", "tcp").listeners[0].mode,
        Mode::Tcp
    );
    let unsaid = "listen: \":80\"\nbackends: [\"a:1\"]\n";
    assert_eq!(
        with(unsaid, "BALANCE_MODE", "http").listeners[0].mode,
        Mode::Http
    );
    assert_eq!(
        with(BASE, "BALANCE_LOG_LEVEL", "debug").logging.level,
        LogLevel::Debug
    );
    let loaded = load(
        &MemorySources::file("b.yaml", BASE).with_env("BALANCE_MODE", "udp"),
        "b.yaml",
    );
    assert_eq!(
        loaded.diagnostics[0].to_string(),
        "environment variable BALANCE_MODE: error: the value is not known\n  help: it is one of `tcp`, `http`"
    );
}

#[test]
fn variables_are_typed_by_what_they_say() {
    let yaml = "mode: ${MODE}\nlisten: \":${PORT:-8080}\"\nbackends: [\"${HOST}:1\"]\nperformance:\n  worker_threads: ${N}\nvia_name: ${NONE:-}\n";
    let sources = MemorySources::file("b.yaml", yaml)
        .with_env("MODE", "http")
        .with_env("HOST", "api")
        .with_env("N", "3");
    let config = config_from(&sources);
    assert_eq!(config.listeners[0].listen[0].value.to_string(), ":8080");
    assert_eq!(config.worker_threads.unwrap().get(), 3);
    assert_eq!(config.via_name, None);
    let loaded = load(&MemorySources::file("b.yaml", "listen: ${NO}"), "b.yaml");
    assert_eq!(
        loaded
            .diagnostics
            .iter()
            .find(|diagnostic| diagnostic.place.line == 1)
            .unwrap()
            .to_string(),
        "b.yaml:1:9: error: the environment variable NO is not set\n  help: set it, or give a default: `${NO:-value}`"
    );
}

#[test]
fn anchors_and_merge_keys_work() {
    let yaml = "version: 2
x-timeouts: &slow { connect: 9s, idle: 9s }
mode: http
listen: \":80\"
pools:
  a: &pool { backends: [\"a:1\"], timeouts: { <<: *slow, idle: 1s } }
  b: { <<: [*pool, { protocol: h1 }], load_balancer: random }
routes: [ { pool: b } ]
";
    let config = config(yaml);
    let a = &config.pools[0];
    assert_eq!(
        (a.timeouts.connect, a.timeouts.idle),
        (seconds(9), seconds(1))
    );
    let b = &config.pools[1];
    assert_eq!(b.algorithm, Algorithm::Random);
    assert_eq!(b.timeouts.connect, seconds(9));
    // Its own backend, although it is written in one place.
    assert_eq!(config.backends[b.members[0].index()].pool, "b");
}

/// The check of each pool of a file, with its panic threshold.
fn checks(yaml: &str) -> Vec<(Option<HealthCheck>, f64)> {
    let pools = config(yaml).pools;
    pools
        .into_iter()
        .map(|pool| (pool.health.check, pool.health.panic_threshold))
        .collect()
}

#[test]
fn a_health_check_of_one_word_asks_for_a_path() {
    let expected = HealthCheck {
        probe: Probe::Http(HttpProbe {
            method: "GET".to_owned(),
            path: "/health".to_owned(),
            host: None,
            headers: Vec::new(),
            expected_status: ExpectedStatus::Fine,
            expected_body: None,
        }),
        send_proxy: None,
        protocol: UpstreamProtocol::Http1,
        interval: seconds(10),
        fast_interval: seconds(2),
        timeout: seconds(3),
        healthy_threshold: 2,
        unhealthy_threshold: 3,
    };
    let written = checks(&format!("{BASE}health_check: /health\n"));
    assert_eq!(written, [(Some(expected), 0.0)]);
    assert_eq!(checks(BASE), [(None, 0.0)]);
    let off = checks(&format!(
        "{BASE}health_check: {{ enabled: false, path: /h }}\n"
    ));
    assert_eq!(off, [(None, 0.0)]);
}

#[test]
fn passive_checks_are_part_of_a_health_check() {
    let passive = |yaml: &str| {
        config(&format!("{BASE}{yaml}")).pools[0]
            .health
            .passive
            .clone()
    };
    assert_eq!(passive("health_check: /up\n"), None);
    assert_eq!(
        passive("health_check: { enabled: false, passive_checks: {} }\n"),
        None
    );
    let defaults = Some(PassiveChecks::default());
    assert_eq!(passive("health_check: { passive_checks: {} }\n"), defaults);
    let written = passive(
        "defaults: { health_check: { max_ejected: 10%, passive_checks: { window: 5s, error_rate_threshold: 30%, latency_factor: 4 } } }
health_check: { path: /up, passive_checks: { consecutive_failures: 2, ejection_time: 1s } }
",
    );
    let expected = PassiveChecks {
        consecutive_failures: 2,
        error_rate_threshold: 0.3,
        latency_factor: 4.0,
        window: seconds(5),
        ejection_time: seconds(1),
        max_ejected: 0.1,
    };
    assert_eq!(written, Some(expected));
}

#[test]
fn a_circuit_breaker_is_inherited_key_by_key() {
    let yaml = "version: 2
listeners: [{ name: web, listen: \":80\", mode: http, pool: a }]
defaults:
  resilience: { circuit_breaker: { max_failures: 7, timeout: 4s } }
pools:
  a: { backends: [\"127.0.0.1:1\"] }
  b: { backends: [\"127.0.0.1:2\"], resilience: { circuit_breaker: { timeout: 1s, success_threshold: 3, max_concurrent_requests: 2 } } }
  c: { backends: [\"127.0.0.1:3\"], resilience: { circuit_breaker: { enabled: false } } }
routes: [ { name: r, pool: b }, { name: s, match: { path: /s }, pool: c }, { name: t, match: { path: /t }, pool: b, backends: [\"127.0.0.1:2\"] } ]
";
    let config = config(yaml);
    let breakers: Vec<_> = config.pools.iter().map(|pool| &pool.breaker).collect();
    let [Some(a), Some(b), None, Some(view)] = breakers[..] else {
        panic!("{breakers:?}");
    };
    let expected = CircuitBreaker {
        max_failures: 7,
        timeout: seconds(4),
        ..CircuitBreaker::default()
    };
    assert_eq!(*a, expected);
    let expected = CircuitBreaker {
        max_failures: 7,
        timeout: seconds(1),
        success_threshold: 3,
        max_concurrent_requests: 2,
    };
    assert_eq!((b, view), (&expected, &expected));
}

#[test]
fn the_nearest_health_check_wins_key_by_key() {
    let yaml = "version: 2
listeners: [{ name: web, listen: \":80\", mode: http, pool: a }]
defaults:
  health_check: { path: /up, interval: 4s, timeout: 1s, panic_threshold: 50% }
pools:
  a: { backends: [\"127.0.0.1:1\"] }
  b: { backends: [\"127.0.0.1:2\"], health_check: { interval: 1s, method: HEAD, expected_status: 204, host: h, headers: { X-A: b }, expected_body: ok } }
  c: { backends: [\"127.0.0.1:3\"], health_check: { enabled: false } }
  d: { backends: [\"127.0.0.1:4\"], health_check: { type: tcp, fast_interval: 100ms } }
routes: [ { name: r, pool: b }, { name: s, match: { path: /s }, pool: c }, { name: t, match: { path: /t }, pool: d, backends: [\"127.0.0.1:4\"] } ]
";
    let checks = checks(yaml);
    let [a, b, c, d, view] = &checks[..] else {
        panic!("{checks:?}");
    };
    let (Some(a), 0.5) = a else { panic!("{a:?}") };
    assert_eq!((a.interval, a.timeout), (seconds(4), seconds(1)));
    let (Some(b), 0.5) = b else { panic!("{b:?}") };
    assert_eq!((b.interval, b.timeout), (seconds(1), seconds(1)));
    let Probe::Http(http) = &b.probe else {
        panic!("{b:?}")
    };
    assert_eq!((&*http.method, &*http.path), ("HEAD", "/up"));
    assert_eq!(http.expected_status, ExpectedStatus::OneOf(vec![204]));
    assert_eq!(http.expected_body.as_deref(), Some("ok"));
    assert_eq!(http.headers, [("X-A".to_owned(), "b".to_owned())]);
    assert_eq!(http.host.as_deref(), Some("h"));
    assert_eq!(*c, (None, 0.0));
    assert_eq!(d, view, "a view is probed as its pool");
    let (Some(d), _) = d else { panic!("{d:?}") };
    assert_eq!(d.probe, Probe::Tcp);
    assert_eq!(d.fast_interval, Duration::from_millis(100));
}

/// `defaults` and the pool's own, key by key; a view has those of its pool.
#[test]
fn retries_are_inherited_and_switched_off_by_pool() {
    let retry = |yaml: &str| config(&format!("{BASE}{yaml}")).pools[0].retry.clone();
    assert_eq!(retry(""), None);
    assert_eq!(retry("resilience: {}\n"), None);
    assert_eq!(
        retry("resilience: { retry: { enabled: false, budget: 5% } }\n"),
        None
    );
    assert_eq!(
        retry("resilience: { retry: {} }\n"),
        Some(RetryPolicy::default())
    );
    let written = retry(
        "defaults: { resilience: { retry: { max_attempts: 5, initial_delay: 20ms, on: 429, budget: 10% } } }
resilience: { retry: { max_delay: 1s, multiplier: 3, jitter: 0.1, per_try: 2s, on: [connection_refused, 503], methods: [GET, POST], body_bytes_max: 1MiB } }
",
    );
    let mut on = RetryConditions::NONE;
    for word in ["connection_refused", "503"] {
        on.add(word).unwrap();
    }
    let expected = RetryPolicy {
        max_attempts: 5,
        backoff: Backoff {
            initial: Duration::from_millis(20),
            max: seconds(1),
            multiplier: 3.0,
            jitter: 0.1,
        },
        on,
        per_try: seconds(2),
        budget: 0.1,
        methods: Some(vec!["GET".to_owned(), "POST".to_owned()]),
        body_bytes_max: 1 << 20,
    };
    assert_eq!(written, Some(expected));
    let pools = config(
        "version: 2
listeners: [{ name: a, listen: ':80', mode: http, pool: p }]
defaults: { resilience: { retry: 4 } }
pools:
  p: { backends: [{ name: b, address: '1.2.3.4:5' }] }
  q: { backends: ['1.2.3.4:6'], resilience: { retry: { enabled: false } } }
routes: [{ name: r, match: { host: a.test }, pool: p, backends: [b] }, { name: s, match: { host: b.test }, pool: q }]
",
    )
    .pools;
    let attempts: Vec<Option<u32>> = pools
        .iter()
        .map(|pool| pool.retry.as_ref().map(|policy| policy.max_attempts))
        .collect();
    assert_eq!(attempts, [Some(4), None, Some(4)]);
}
