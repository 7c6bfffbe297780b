//! Bad files: every mistake at its place, in words.

mod names;
mod retry;
mod values;

use std::cell::RefCell;

use super::config::BASE;
use crate::{MemorySources, load};

/// Loads each file and compares all diagnostics but notes: `line:column: severity: message`, help and
/// related places on lines of their own. A line that ends in `…` gives the beginning. A file that begins
/// with `+` is added to [`BASE`], from line 4 on.
fn check(rows: &[(&str, &[&str])]) {
    let failures: Vec<String> = rows
        .iter()
        .filter_map(|(yaml, expected)| {
            let yaml = match yaml.strip_prefix('+') {
                Some(more) => format!("{BASE}{more}"),
                None => (*yaml).to_owned(),
            };
            if collect(&yaml) {
                return None;
            }
            difference(
                &MemorySources::file("b.yaml", yaml.as_str()),
                &yaml,
                expected,
            )
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

thread_local! {
    static SAMPLES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Keeps a sample instead of checking it, while [`samples`] asks for all of them.
fn collect(yaml: &str) -> bool {
    SAMPLES.with_borrow_mut(|samples| match samples {
        Some(samples) => {
            samples.push(yaml.to_owned());
            true
        }
        None => false,
    })
}

/// Every file of the tests here.
pub(super) fn samples() -> Vec<String> {
    SAMPLES.set(Some(Vec::new()));
    for test in [
        yaml_itself,
        unknown_keys,
        what_comes_later_is_an_error_only_when_it_is_on,
        keys_that_say_the_same_thing_twice,
        ten_mistakes_show_ten,
        names::backends_and_pools,
        names::routes,
        names::conditions,
        names::actions_and_edits,
        names::splits_and_mirrors,
        names::listeners,
        names::routes_of_sessions,
        retry::impossible_policies,
        values::types_and_ranges,
        values::words_and_shapes,
        values::addresses,
    ] {
        test();
    }
    SAMPLES.take().unwrap_or_default()
}

fn difference(sources: &MemorySources, yaml: &str, expected: &[&str]) -> Option<String> {
    let loaded = load(sources, "b.yaml");
    let seen: Vec<String> = loaded
        .diagnostics
        .iter()
        .map(ToString::to_string)
        .filter(|text| !text.contains(": note: "))
        .map(|text| text.replace("b.yaml:", ""))
        .collect();
    let fits = seen.len() == expected.len()
        && seen
            .iter()
            .zip(expected)
            .all(|(seen, expected)| match expected.strip_suffix('…') {
                Some(beginning) => seen.starts_with(beginning),
                None => seen == expected,
            })
        && loaded.config.is_none() == expected.iter().any(|line| line.contains("error: "));
    (!fits).then(|| {
        format!(
            "\n{yaml}\nseen:\n{}\nexpected:\n{}\n",
            seen.join("\n"),
            expected.join("\n")
        )
    })
}

#[test]
fn yaml_itself() {
    check(&[
        (
            "a: [1, 2",
            &["1:4: error: not valid YAML: unclosed bracket '['"],
        ),
        ("a: b: c", &["1:5: error: not valid YAML: …"]),
        ("a: *no", &["1:4: error: not valid YAML: …"]),
        ("a:\n\tb: 1", &["2:2: error: not valid YAML: …"]),
        (
            "+---\nmode: tcp\n",
            &[
                "4:1: error: a second YAML document begins here\n  help: a configuration is one document: remove the `---`, or make two files",
            ],
        ),
        (
            "+mode: tcp\n",
            &[
                "4:1: error: `mode` is set twice\n  1:1: it is set here first\n  help: remove one of the two",
            ],
        ),
        (
            "+timeouts: { idle: 1s, idle: 1s }\n",
            &[
                "4:23: error: `idle` is set twice\n  4:13: it is set here first\n  help: remove one of the two",
            ],
        ),
        (
            "+? [a, b]\n: c\n",
            &["4:3: error: a key must be a single value"],
        ),
        (
            "+via_name: !mine x\n",
            &["4:17: error: the tag `!mine` means nothing here"],
        ),
        (
            "- a\n- b\n",
            &["1:1: error: `the file` takes keys and values, not a list…"],
        ),
        (
            "",
            &[
                " error: there is nothing to listen on…",
                " error: there are no backends…",
            ],
        ),
        (
            "# nothing\n",
            &[
                " error: there is nothing to listen on…",
                " error: there are no backends…",
            ],
        ),
    ]);
}

#[test]
fn unknown_keys() {
    check(&[
        (
            "+lisen: 1\n",
            &["4:1: warning: unknown key `lisen`\n  help: did you mean `listen`?"],
        ),
        (
            "+version: 2\nlisen: 1\n",
            &["5:1: error: unknown key `lisen`\n  help: did you mean `listen`?"],
        ),
        (
            "+timeouts:\n  conect: 5s\n",
            &["5:3: warning: unknown key `conect` in `timeouts`\n  help: did you mean `connect`?"],
        ),
        ("+port: 80\n", &["4:1: warning: unknown key `port`"]),
        // As near to `metrics`, and nearer to what is known elsewhere.
        (
            "+retries: { count: 2 }\n",
            &["4:1: warning: unknown key `retries`\n  help: did you mean `resilience.retry`?"],
        ),
        (
            "+first_bite: 5s\n",
            &[
                "4:1: warning: unknown key `first_bite`\n  help: did you mean `timeouts.first_byte`?",
            ],
        ),
        // Required, so that it is an error whatever the version, and one for both that it is unknown and that it is missing.
        (
            "+pools: { p: { backend: [\"b:1\"] } }\n",
            &[
                "4:15: error: unknown key `backend` in `pool`\n  help: did you mean `backends`? It is required",
            ],
        ),
        (
            "+version: 2\npools: { p: { backends: [ { adress: \"b:1\" } ] } }\n",
            &[
                "5:29: error: unknown key `adress` in `backend`\n  help: did you mean `address`? It is required",
            ],
        ),
        (
            "+pools: { p: { backend: 1, backends: [\"b:1\"] } }\n",
            &["4:15: warning: unknown key `backend` in `pool`\n  help: did you mean `backends`?"],
        ),
        ("+version: 2\nx-mine: { any: thing }\n", &[]),
        (
            "+version: 3\n",
            &["4:10: error: `version`: 3 is outside 1 to 2"],
        ),
    ]);
}

#[test]
fn what_comes_later_is_an_error_only_when_it_is_on() {
    check(&[
        (
            "+tls: { enabled: false, cert_file: c }\nhealth_check: { enabled: false, passive_checks: { enabled: true } }\ntracing: { enabled: false }\nprofiling: { enabled: no }\nxds: { enabled: false }\nresilience: { circuit_breaker: { enabled: false }, retry: { enabled: false } }\nsecurity: { rate_limit: { enabled: false }, ip_blocklist: { enabled: false } }\n",
            &["7:23: warning: `no` is read as false…"],
        ),
        (
            "+health_check: { type: https }\n",
            &["4:17: error: probes would speak TLS to backends that are reached without it…"],
        ),
        (
            "+tls: { min_version: \"1.0\" }\n",
            &[
                "4:1: error: `tls` has no certificate to show…",
                "4:21: error: `min_version`: `1.0` is refused\n  help: it is broken (RFC 8996): use 1.2 or 1.3, which all clients of the last ten years speak",
            ],
        ),
        (
            "+resilience: { circuit_breaker: {}, retry: { hedge_after: 1s } }\n",
            &["4:45: error: not supported yet: hedging…"],
        ),
        (
            "+security: { rate_limit: { requests_per_second: 5 }, ip_blocklist: { blocked_ips: [1.2.3.4] }, connection_protection: { max_connection_rate: 1.5 } }\n",
            &[
                "4:13: error: not supported yet: rate limits…",
                "4:53: error: not supported yet: `ip_blocklist`…",
                "4:120: error: not supported yet: `max_connection_rate`…",
            ],
        ),
        (
            "+timeouts: { per_try: 1s }\n",
            &["4:13: error: not supported yet: a deadline per attempt…"],
        ),
        ("+timeouts: { per_try: 0 }\n", &[]),
        (
            "+tracing: \"http://otel:4318\"\nxds: { node_id: a }\n",
            &[
                "4:1: error: not supported yet: tracing…",
                "5:1: error: not supported yet: xDS…",
            ],
        ),
    ]);
}

#[test]
fn keys_that_say_the_same_thing_twice() {
    check(&[
        (
            "+http: { max_idle_conns_per_host: 50 }\nconnection_pool: { max_size: 10 }\n",
            &[
                "5:20: warning: `max_size` and `http.max_idle_conns_per_host` differ: the smaller wins",
            ],
        ),
        (
            "+http: { max_idle_conns_per_host: 50 }\nconnection_pool: { enabled: false, max_size: 10 }\n",
            &[],
        ),
        (
            "mode: tcp\nlisten: \":80\"\nbackends: [\"a:1\"]\nconnection_pool: { max_size: 10 }\n",
            &[
                "4:18: warning: `connection_pool` has no effect in tcp mode: a session has its own connection",
            ],
        ),
        (
            "+limits: { head_bytes_max: 8KiB }\nsecurity: { connection_protection: { max_header_size: 16KiB } }\n",
            &[
                "5:38: warning: `max_header_size` and `limits.head_bytes_max` differ: the smaller wins\n  4:11: the other one is here",
            ],
        ),
        (
            "+timeouts: { head: 5s }\nsecurity: { connection_protection: { read_timeout: 10s } }\n",
            &[
                "5:38: warning: `read_timeout` and `timeouts.head` differ: the smaller wins\n  4:13: the other one is here",
            ],
        ),
        (
            "+timeouts: { write: 5s, write_progress: 10s }\n",
            &["4:13: warning: `write` is the original name of `write_progress`, which wins"],
        ),
        (
            "mode: tcp\nlisten: \":80\"\nbackends: [\"a:1\"]\ntransform: {}\nhttp: { routes: [] }\n",
            &[
                "4:1: warning: `transform` has no effect: no listener has mode http",
                "5:9: warning: `http.routes` has no effect: no listener has mode http",
            ],
        ),
        (
            "mode: tcp\nlisten: \":80\"\nbackends: [\"a:1\"]\nload_balancer: { algorithm: consistent-hash, hash_key: \"header:X\" }\n",
            &[
                "3:1: warning: pool `default` hashes a header, and tcp listener `main` has none: it hashes the client's address",
            ],
        ),
    ]);
}

#[test]
fn ten_mistakes_show_ten() {
    let yaml = "mode: htpp
listen: 8080
backends:
  - { name: a, address: localhost }
  - { name: a, address: \"localhost:9002\", weight: -1 }
timeouts: { connect: 5 }
load_balancer: { algorithm: fastest }
xds: { enabled: true }
http:
  routes:
    - { name: r, backends: [b] }
logging: { level: loud }
limits: { fields_max: 1000 }
";
    check(&[(
        yaml,
        &[
            "1:7: error: `mode`: `htpp` is not known\n  help: did you mean `http`?",
            "2:9: error: `listen`: `8080` is a port…",
            "4:25: error: `address`: the port is missing…",
            "5:13: error: backend `a` is defined twice…",
            "5:51: error: `weight`: -1 is outside…",
            "6:22: error: `connect`: `5` has no unit…",
            "7:29: error: `algorithm`: `fastest` is not known…",
            "8:1: error: not supported yet: xDS…",
            "11:29: error: pool `default` has no backend `b`…",
            "12:19: error: `level`: `loud` is not known…",
            "13:23: error: `fields_max`: 1000 is outside 1 to 128",
        ],
    )]);
}
