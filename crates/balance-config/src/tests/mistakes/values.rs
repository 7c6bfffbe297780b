//! Values that are wrong in themselves.

use super::check;

#[test]
pub(super) fn types_and_ranges() {
    check(&[
        (
            "+timeouts: { connect: 5 }\n",
            &[
                "4:22: error: `connect`: `5` has no unit\n  help: write `5s` for seconds or `5ms` for milliseconds",
            ],
        ),
        (
            "+timeouts: { connect: 5 s }\n",
            &[
                "4:22: error: `connect`: `5 s` is not a duration\n  help: write it like `30s`, `100ms` or `1h30m`",
            ],
        ),
        (
            "+timeouts: { connect: -5s }\n",
            &["4:22: error: `connect`: `-5s` is not a duration…"],
        ),
        (
            "+timeouts: { head: 0 }\n",
            &["4:19: error: `head`: `0` is too short\n  help: at least 1ms"],
        ),
        (
            "+timeouts: { idle: 9000h }\n",
            &["4:19: error: `idle`: `9000h` is more than a year"],
        ),
        (
            "+timeouts: { idle: [1s] }\n",
            &["4:19: error: `idle` takes a duration like 30s, not a list"],
        ),
        (
            "+timeouts: 5s\n",
            &["4:11: error: `timeouts` takes keys and values, not a single value…"],
        ),
        ("+timeouts: { idle: 0, connect: 0s, read: }\n", &[]),
        (
            "+limits: { head_bytes_max: 10XB }\n",
            &["4:27: error: `head_bytes_max`: `10XB` is not a size…"],
        ),
        (
            "+limits: { head_bytes_max: 512 }\n",
            &["4:27: error: `head_bytes_max`: 512 is outside 1024 to 1048576"],
        ),
        (
            "+limits: { fields_max: 129 }\n",
            &["4:23: error: `fields_max`: 129 is outside 1 to 128"],
        ),
        (
            "+limits: { fields_max: many }\n",
            &["4:23: error: `fields_max`: `many` is not a whole number"],
        ),
        (
            "+limits: { http2: { max_concurrent_streams: 0, resets_max: 10001, idle_frames_max: 0 } }\n",
            &[
                "4:44: error: `max_concurrent_streams`: 0 is outside 1 to 10000",
                "4:59: error: `resets_max`: 10001 is outside 1 to 10000",
                "4:83: error: `idle_frames_max`: 0 is outside 1 to 1000000",
            ],
        ),
        (
            "+limits: { http2: { stream_window: 65534, connection_window: 2GiB, continuations_max: 1001 } }\n",
            &[
                "4:35: error: `stream_window`: 65534 is outside 65535 to 2147483647",
                "4:61: error: `connection_window`: 2147483648 is outside 65535 to 2147483647",
                "4:86: error: `continuations_max`: 1001 is outside 0 to 1000",
            ],
        ),
        (
            "+limits: { http2: { budget_window: 0, requests_max: -1 } }\n",
            &[
                "4:35: error: `budget_window`: `0` is too short\n  help: at least 1ms",
                "4:52: error: `requests_max`: -1 is outside 0 to 4294967295",
            ],
        ),
        (
            "+limits: { http2: { max_concurrent_streams: 10000, stream_window: 65535, connection_window: 2147483647 } }\n",
            &[],
        ),
    ]);
}

#[test]
pub(super) fn words_and_shapes() {
    check(&[
        (
            "+http: { enable_websocket: yes }\n",
            &["4:27: warning: `yes` is read as true; YAML 1.2 knows only true and false"],
        ),
        (
            "+http: { enable_websocket: 1 }\n",
            &["4:27: error: `enable_websocket`: `1` is not true or false"],
        ),
        (
            "+http: { paths: save }\n",
            &["4:16: error: `paths`: `save` is not known\n  help: did you mean `safe`?"],
        ),
        (
            "+http: { paths: nothing }\n",
            &[
                "4:16: error: `paths`: `nothing` is not known\n  help: it is one of `safe`, `off`, `reject`",
            ],
        ),
        (
            "+load_balancer: { algorithm: round_robin }\n",
            &[
                "4:29: error: `algorithm`: `round_robin` is not known\n  help: did you mean `round-robin`?",
            ],
        ),
        (
            "+load_balancer: { algorithm: leastconn }\n",
            &[
                "4:29: error: `algorithm`: `leastconn` is not known\n  help: what other proxies call `leastconn` is `least-connections` here",
            ],
        ),
        (
            "+load_balancer: { algorithm: ip_hash }\n",
            &[
                "4:29: error: `algorithm`: `ip_hash` is not known\n  help: what other proxies call `ip_hash` is `consistent-hash` with `hash_key: source-ip` here",
            ],
        ),
        (
            "+load_balancer: { algorithm: uri }\n",
            &[
                "4:29: error: `algorithm`: `uri` is not known\n  help: what other proxies call `uri` is nearest to `consistent-hash`, whose `hash_key` is `source-ip` or `header:NAME`, here",
            ],
        ),
        (
            "+load_balancer: { algorithm: maglev }\n",
            &["4:29: error: not supported yet: `algorithm: maglev`…"],
        ),
        (
            "+load_balancer: { algorithm: consistent-hash, hash_key: cookie }\n",
            &["4:56: error: `hash_key`: `cookie` is not `source-ip` or `header:NAME`"],
        ),
        (
            "+trusted_proxies: [10.0.0.0/8, \"::1\", 10.0.0.0/33]\n",
            &[
                "4:38: error: `trusted_proxies`: `10.0.0.0/33` is not an IP address or a block like 10.0.0.0/8",
            ],
        ),
        (
            "+via_name: \"a b\"\n",
            &["4:11: error: `via_name`: `a b` is not a name of letters, digits and `-`"],
        ),
        (
            "+metrics: { path: metrics }\n",
            &[
                "4:18: error: `path`: `metrics` is not a path that begins with `/`\n  help: did you mean `/metrics`?",
            ],
        ),
        (
            "+performance: { worker_threads: -1 }\n",
            &["4:32: error: `worker_threads`: -1 is outside 0 to 1024"],
        ),
        ("+performance: { worker_threads: , zero_copy: true }\n", &[]),
        (
            "+metrics: [\":9090\"]\n",
            &["4:10: error: `metrics` takes keys and values, not a list…"],
        ),
        (
            "+transform: { request_headers: { a: b } }\n",
            &["4:31: error: `request_headers` takes a list, not a map…"],
        ),
        (
            "+transform: { request_headers: [ ~ ] }\n",
            &["4:33: error: `header edit` takes keys and values, not nothing…"],
        ),
    ]);
}

#[test]
pub(super) fn addresses() {
    check(&[
        (
            "mode: tcp\nlisten: 8080\nbackends: [\"a:1\"]\n",
            &[
                "2:9: error: `listen`: `8080` is a port without an address\n  help: write `\":8080\"` for all addresses, or `\"127.0.0.1:8080\"`",
            ],
        ),
        (
            "mode: tcp\nlisten: example.com:80\nbackends: [\"a:1\"]\n",
            &[
                "2:9: error: `listen`: `example.com` is not an IP address to listen on\n  help: write an address of this machine, or `:port` for all of them",
            ],
        ),
        (
            "mode: tcp\nlisten: :99999\nbackends: [\"a:1\"]\n",
            &["2:9: error: `listen`: `99999` is not a port: a number from 1 to 65535"],
        ),
        (
            "mode: tcp\nlisten: [\":80\", \":80\"]\nbackends: [\"a:1\"]\n",
            &[
                "2:17: error: `main` wants :80, which `main` has\n  2:10: it is taken here first\n  help: give each its own address",
            ],
        ),
        (
            "mode: tcp\nlisten: [\":0\", \":0\"]\nbackends: [\"a:1\"]\n",
            &[],
        ),
        (
            "mode: tcp\nlisten: \":80\"\nbackends: [a]\n",
            &[
                "3:12: error: `address`: the port is missing: write host:port\n  help: like `a:8080`",
            ],
        ),
        (
            "mode: tcp\nlisten: \":80\"\nbackends: [\"http://a:1\"]\n",
            &[
                "3:12: error: `address`: `http://a` is not a host name or IP address\n  help: without a scheme: `host:port`",
            ],
        ),
        (
            "mode: tcp\nlisten: \":80\"\nbackends: [\"::1\"]\n",
            &["3:12: error: `address`: an IPv6 address with a port needs brackets: [::1]:port"],
        ),
        (
            "mode: tcp\nlisten: \"::1:9002\"\nbackends: [\"2001:db8::7:9002\"]\n",
            &[
                "2:9: error: `listen`: an IPv6 address with a port needs brackets: [::1:9002]:port\n  help: did you mean `[::1]:9002`?",
                "3:12: error: `address`: an IPv6 address with a port needs brackets: [2001:db8::7:9002]:port\n  help: did you mean `[2001:db8::7]:9002`?",
            ],
        ),
        (
            "mode: tcp\nlisten: \":80\"\nbackends: [\"unix:/run/a.sock\", \"[::1]:80\"]\n",
            &[],
        ),
        (
            "mode: tcp\nlisten: \":80\"\nbackends: [\"a:0\", { name: b }]\n",
            &[
                "3:12: error: `address`: `0` is not a port…",
                "3:19: error: `address` is missing in `backend`\n  help: where it is: `host:port` or `unix:/path`",
            ],
        ),
        (
            "+admin: \":8080\"\n",
            &[
                "4:8: error: `admin` wants :8080, which `main` has\n  2:9: it is taken here first\n  help: give each its own address",
            ],
        ),
        ("+admin: \":9090\"\nmetrics: \":9090\"\n", &[]),
    ]);
}

#[test]
fn health_checks_that_cannot_be() {
    check(&[
        (
            "+health_check: health\n",
            &[
                "4:15: error: `path`: `health` is not a path that begins with `/`\n  help: did you mean `/health`?",
            ],
        ),
        (
            "+health_check: { path: /, headers: { Host: a, \"x y\": b } }\n",
            &[
                "4:43: error: a probe sets `Host` itself…",
                "4:46: error: `x y` is not a field name",
            ],
        ),
        (
            "+health_check: { panic_threshold: 130%, interval: 0, healthy_threshold: 0, expected_status: 99 }\n",
            &[
                "4:34: error: `panic_threshold`…",
                "4:50: error: `interval`…",
                "4:72: error: `healthy_threshold`: 0 is outside 1 to 1000000",
                "4:92: error: `expected_status`: 99 is outside 100 to 599",
            ],
        ),
    ]);
}

/// What cannot be meant of health, breakers, retries and balancing.
#[test]
fn resilience_that_cannot_be() {
    check(&[
        (
            "+resilience: { circuit_breaker: { enabled: true, max_concurrent_requests: 0 } }\n",
            &["4:74: error: `max_concurrent_requests`: 0 is outside 1 to 1000000"],
        ),
        (
            "+resilience: { circuit_breaker: { enabled: true, max_failures: 0, timeout: 0 } }\n",
            &[
                "4:63: error: `max_failures`: 0 is outside 1 to 1000000",
                "4:75: error: `timeout`: `0` is too short\n  help: at least 1ms",
            ],
        ),
        (
            "+load_balancer: fastest\n",
            &[
                "4:16: error: `algorithm`: `fastest` is not known\n  help: it is one of `round-robin`, `weighted-round-robin`, `least-connections`, `weighted-least-connections`, `consistent-hash`, `bounded-consistent-hash`, `bounded-load`, `random`, `power-of-two-choices`",
            ],
        ),
        (
            "+load_balancer: { slow_start: 30 }\n",
            &[
                "4:30: error: `slow_start`: `30` has no unit\n  help: write `30s` for seconds or `30ms` for milliseconds",
            ],
        ),
        (
            "+load_balancer: { slow_start: -1s }\n",
            &["4:30: error: `slow_start`: `-1s` is not a duration…"],
        ),
        (
            "+health_check: { enabled: true, passive_checks: { enabled: true, latency_factor: 1 } }\n",
            &["4:81: error: `latency_factor`: 1 is outside 1.5 to 1000"],
        ),
        (
            "+health_check: { enabled: true, max_ejected: 130% }\n",
            &[
                "4:45: error: `max_ejected`: 1.3 is outside 0 to 1\n  help: a share like 30% or 0.3; 100% is the whole",
            ],
        ),
    ]);
}
