//! Values that are wrong together: names, clashes, what is missing.

use super::check;

#[test]
pub(super) fn backends_and_pools() {
    check(&[
        (
            "mode: tcp\nlisten: \":80\"\nbackends: []\n",
            &[
                "3:1: error: pool `default` has no backends\n  help: add at least one: `- \"127.0.0.1:9001\"`",
            ],
        ),
        (
            "mode: tcp\nlisten: \":80\"\nbackends:\n",
            &[" error: there are no backends…"],
        ),
        (
            "mode: tcp\nlisten: \":80\"\nbackends: \"a:1\"\n",
            &["3:11: error: `backends` takes a list, not a single value…"],
        ),
        (
            "mode: tcp\nlisten: \":80\"\nbackends: [\"a:1\", \"a:1\"]\n",
            &[
                "3:19: error: backend `a:1` is defined twice\n  3:12: it is defined here first\n  help: equal addresses are fine under different names",
            ],
        ),
        (
            "mode: tcp\nlisten: \":80\"\nbackends: [{name: a, address: \"a:1\"}, {name: b, address: \"a:1\"}]\n",
            &[],
        ),
        (
            "mode: tcp\nlisten: \":80\"\nbackends: [{name: a, address: \"a:1\", weight: -1}]\n",
            &["3:46: error: `weight`: -1 is outside 0 to 1000000"],
        ),
        (
            "mode: tcp\nlisten: \":80\"\nbackends: [{address: \"a:1\", weight: 2}, \"b:1\"]\n",
            &[
                "3:1: warning: `round-robin` ignores the weights of pool `default`\n  help: `weighted-round-robin` follows them",
            ],
        ),
        (
            "mode: tcp\nlisten: \":80\"\nbackends: [{address: \"a:1\", tier: backup}, {address: \"b:1\", zone: a}]\n",
            &[
                "3:35: error: not supported yet: `tier: backup`…",
                "3:61: error: not supported yet: zones…",
            ],
        ),
        (
            "+pools: { default: { backends: [\"b:1\"] } }\n",
            &["4:10: error: pool `default` is defined twice\n  3:1: it is defined here first"],
        ),
        (
            "+pools: { p: {} }\n",
            &["4:13: error: `backends` is missing in `pool`\n  help: its backends, at least one"],
        ),
        (
            "+pools: { p: { backends: [] } }\n",
            &["4:10: error: pool `p` has no backends…"],
        ),
        (
            "+pools: { \"route:x\": { backends: [\"b:1\"] } }\n",
            &["4:10: error: `route:x` cannot be the name of a pool…"],
        ),
        (
            "+pools: { p: { backends: [\"b:1\"], protocol: h3, send_proxy: v3 } }\n",
            &[
                "4:44: error: `protocol`: `h3` is not known…",
                "4:60: error: `send_proxy`: `v3` is not known…",
            ],
        ),
        (
            "+pools: { p: { backends: [\"b:1\"], protocol: h1, limits: { max_connections: 5, queue: 0 } } }\n",
            &[],
        ),
        (
            "+pools: { p: { backends: [\"b:1\"], limits: { queue: 5 }, sticky: id } }\n",
            &[
                "4:44: warning: nobody ever waits in this queue: neither the pool nor a backend has `max_connections`…",
                "4:56: error: not supported yet: sticky sessions…",
            ],
        ),
        (
            "+pools: { p: { backends: [{ address: \"b:1\", max_connections: 1 }], limits: { queue: 5, queue_timeout: 0 } } }\n",
            &["4:102: error: `queue_timeout`: `0` is too short…"],
        ),
        (
            "+pools: { p: { backends: [\"b:1\"], limits: { max_connections: -1, queue: -2 } } }\n",
            &[
                "4:61: error: `max_connections`: -1 is outside 0 to 4294967295",
                "4:72: error: `queue`: -2 is outside 0 to 4294967295",
            ],
        ),
        (
            "+pools: { p: { backends: [\"b:1\"], limits: { max_connections: 1, queue_timeout: 1s } } }\n",
            &["4:64: warning: without `queue` nobody waits: `queue_timeout` has no effect…"],
        ),
    ]);
}

#[test]
pub(super) fn routes() {
    check(&[
        (
            "+http:\n  routes:\n    - { method: [get, purge] }\n",
            &[
                "6:18: warning: `get` never matches: methods are case-sensitive\n  help: write `GET`",
            ],
        ),
        (
            "+http:\n  routes:\n    - { name: r, backends: [b] }\n",
            &["6:29: error: pool `default` has no backend `b`\n  help: the backends are `a`"],
        ),
        (
            "+http:\n  routes:\n    - { name: r, backends: [] }\n",
            &["6:7: error: route `r` names no backend…"],
        ),
        (
            "+http:\n  routes:\n    - { name: r, backends: [a, a] }\n",
            &["6:32: warning: backend `a` is named twice"],
        ),
        (
            "+http:\n  routes:\n    - { name: r }\n    - { name: r }\n",
            &["7:15: error: route `r` is defined twice\n  6:15: it is defined here first"],
        ),
        (
            "+http:\n  routes:\n    - { host: \"a b\", path: v1, method: \"G T\" }\n",
            &[
                "6:15: error: `host`: `a b` is not a host…",
                "6:28: error: `path`: `v1` is not a path that begins with `/`\n  help: did you mean `/v1`?",
                "6:40: error: `method`: `G T` is not a name…",
            ],
        ),
        (
            "+http:\n  routes:\n    - { path: /a, path_prefix: /b }\n",
            &[
                "6:9: error: `path` beside `path_prefix`: a route looks at the path in one way\n  6:19: the other one is here\n  help: keep one of the two",
            ],
        ),
        (
            "+http:\n  routes:\n    - { path: \"/a?b\" }\n",
            &["6:15: error: `path`: routes see the path without its query, so this never matches"],
        ),
        (
            "+http:\n  routes:\n    - { headers: { \"X A\": x } }\n",
            &["6:20: error: `X A` is not a field name"],
        ),
        (
            "+routes:\n  - { name: r, pool: defualt }\n",
            &["5:22: error: there is no pool `defualt`\n  help: did you mean `default`?"],
        ),
    ]);
}

#[test]
pub(super) fn conditions() {
    check(&[
        (
            "+http:\n  routes:\n    - { path: /a, path_regex: /b }\n",
            &[
                "6:9: error: `path` beside `path_regex`: a route looks at the path in one way\n  6:19: the other one is here\n  help: keep one of the two",
            ],
        ),
        (
            "+http:\n  routes:\n    - { headers: { X-A: { regexp: x } } }\n",
            &[
                "6:25: error: this condition says nothing\n  help: give one of `value`, `regex`, `present`",
                "6:27: warning: unknown key `regexp` in `condition`\n  help: did you mean `regex`?",
            ],
        ),
        (
            "+http:\n  routes:\n    - { cookie: { a: { value: x, present: true } } }\n",
            &[
                "6:34: error: `present` beside `value`: a condition says one thing\n  6:24: the other one is here",
            ],
        ),
        (
            "+http:\n  routes:\n    - { headers: { X-A: { present: maybe } } }\n",
            &["6:36: error: `present`: `maybe` is not true or false"],
        ),
        (
            "+http:\n  routes:\n    - { headers: { X-A: [x] } }\n",
            &["6:25: error: `condition` takes keys and values, not a list…"],
        ),
        (
            "+http:\n  routes:\n    - { headers: { X-A: } }\n",
            &["6:23: error: `value` takes a text without control characters, and nothing is here"],
        ),
        (
            "+http:\n  routes:\n    - { query: { \"a b\": x, \"\": x, q: \"x y&\" } }\n",
            &[
                "6:18: error: `a b` is not the name of a parameter as requests send it\n  help: nothing is decoded: write it as clients send it, perhaps `a%20b`",
                "6:28: error: `` is not the name of a parameter as requests send it",
                "6:38: error: no parameter has the value `x y&`\n  help: nothing is decoded: write it as clients send it, perhaps `x%20y%26`",
            ],
        ),
        (
            "+http:\n  routes:\n    - { cookie: { \"a;b\": x, c: \"x;y\" } }\n",
            &[
                "6:19: error: `a;b` is not a cookie name",
                "6:32: error: no cookie has the value `x;y`",
            ],
        ),
        (
            "+http:\n  routes:\n    - { path_regex: \"^/api/\", headers: { X-A: { regex: \"b$\" } } }\n    - { path_regex: \"^/api/.*\", headers: { X-A: { regex: \".*b$\" } } }\n    - { path_regex: \"^/api$\", headers: { X-A: { regex: 'b\\$' } } }\n",
            &[
                "6:21: warning: `path_regex` must match the whole path, also without `^` and `$`\n  help: write `.*` at its end if anything may follow, else remove the anchor",
                "6:56: warning: `regex` must match the whole value, also without `^` and `$`\n  help: write `.*` at its beginning if anything may come before, else remove the anchor",
            ],
        ),
    ]);
}

#[test]
pub(super) fn actions_and_edits() {
    check(&[
        (
            "+routes:\n  - { name: r, rate_limit: { requests_per_second: 1 } }\n",
            &["5:16: error: not supported yet: rate limits…"],
        ),
        (
            "+routes:\n  - { name: r, pool: default, respond: { status: 200 } }\n",
            &[
                "5:31: error: `respond` beside `pool`: a route does one thing\n  5:16: the other one is here",
            ],
        ),
        (
            "+routes:\n  - { name: r, redirect: { status: 308 } }\n",
            &["5:26: error: a redirection to the same place would never end…"],
        ),
        (
            "+routes:\n  - { name: r, redirect: { scheme: https, status: 304 } }\n",
            &["5:43: error: `status`: 304 is not a redirection with a target…"],
        ),
        (
            "+routes:\n  - { name: r, respond: { status: 204, body: x } }\n",
            &["5:40: error: a response with status 204 has no body"],
        ),
        (
            "+routes:\n  - { name: r, respond: { headers: { X-A: \"a\\nb\" } } }\n",
            &["5:43: error: `X-A`: `a\u{fffd}b` is not a text without control characters"],
        ),
        (
            "listen: \":80\"\npools: { p: { backends: [\"b:1\"] } }\nroutes: [ { name: r } ]\n",
            &[
                "3:11: error: route `r` does nothing\n  help: give `pool`, `split`, `redirect` or `respond`",
            ],
        ),
        (
            "listen: \":80\"\npools: { p: { backends: [\"b:1\"] } }\nroutes: [ { name: r, backends: [\"b:1\"] } ]\n",
            &["3:11: error: route `r` names backends and no pool…"],
        ),
        (
            "+transform: { request_headers: [ { action: put, name: X, value: y } ] }\n",
            &["4:43: error: `action`: `put` is not known…"],
        ),
        (
            "+transform: { request_headers: [ { action: set, name: X } ] }\n",
            &["4:33: error: `set` needs a `value`…"],
        ),
        (
            "+transform: { request_headers: [ { action: set, name: Content-Length, value: 5 } ] }\n",
            &["4:48: error: `Content-Length` cannot be edited…"],
        ),
        (
            "+transform: { response_headers: [ { action: set, name: X, value: \"a\\r\\nB: c\" } ] }\n",
            &[
                "4:65: error: `value`: `a\u{fffd}\u{fffd}B: c` is not a text without control characters",
            ],
        ),
    ]);
}

#[test]
pub(super) fn splits_and_mirrors() {
    check(&[
        (
            "+routes:\n  - { name: r, split: [] }\n",
            &["5:16: error: `split` names no pool\n  help: add at least one"],
        ),
        (
            "+routes:\n  - { name: r, split: [ { pool: default, weight: 0 } ] }\n",
            &[
                "5:16: error: `split`: all weights are 0, so no pool gets requests\n  help: give one a weight",
            ],
        ),
        (
            "+routes:\n  - { name: r, split: [ { pool: default, weight: 1 }, { pool: default, weight: 2 } ] }\n",
            &[
                "5:63: error: `split` names pool `default` twice\n  5:33: it is named here first\n  help: add the weights up",
            ],
        ),
        (
            "+routes:\n  - { name: r, split: [ { pool: defualt, weight: 1 } ], mirror: no }\n",
            &[
                "5:33: error: there is no pool `defualt`\n  help: did you mean `default`?",
                "5:65: error: there is no pool `no`…",
            ],
        ),
        (
            "+routes:\n  - { name: r, split: [ { pool: default } ], pool: default }\n",
            &[
                "5:16: error: `split` beside `pool`: a route does one thing\n  5:46: the other one is here",
                "5:25: error: `weight` is missing in `split`…",
            ],
        ),
        (
            "+routes:\n  - { name: r, split: [ { pool: default, weight: -1 } ], backends: [a] }\n",
            &[
                "5:50: error: `weight`: -1 is outside 0 to 1000000",
                "5:58: warning: `backends` has no effect beside `split`",
            ],
        ),
        (
            "+routes:\n  - { name: r, mirror: { pool: default, sample: 110%, in_flight_max: 0, timeout: 0 } }\n",
            &[
                "5:32: error: `mirror`: pool `default` serves the route, and would get each request twice\n  help: name a pool of its own",
                "5:49: error: `sample`: 1.1 is outside 0 to 1…",
                "5:70: error: `in_flight_max`: 0 is outside 1 to 100000",
                "5:82: error: `timeout`: `0` is too short…",
            ],
        ),
        (
            "+routes:\n  - { name: r, mirror: default, respond: { status: 200 } }\n",
            &["5:16: warning: `mirror` has no effect beside `respond`"],
        ),
        (
            "+routes:\n  - { name: r, mirror: { sample: 1% } }\n",
            &["5:24: error: `pool` is missing in `mirror`…"],
        ),
    ]);
}

#[test]
pub(super) fn routes_of_sessions() {
    check(&[
        (
            "+listeners: [ { name: b, listen: \":81\", mode: tcp, routes: [r] } ]\nroutes: [ { name: r, match: { path: /a } } ]\n",
            &[
                "4:60: error: listener `b` has mode tcp: it cannot see what route `r` matches\n  help: write `mode: http`, `pool` in place of `routes`, or a route with `match: { sni: NAME }`",
            ],
        ),
        (
            "+listeners: [ { name: b, listen: \":81\", mode: http, routes: [r] } ]\nroutes: [ { name: r, match: { sni: a.example } } ]\n",
            &[
                "4:61: error: listener `b` has mode http: route `r` with `sni` is for mode tcp\n  help: match by `host`, or write `mode: tcp`",
            ],
        ),
        (
            "+routes: [ { name: r, match: { sni: a.example, path: /x, host: b }, redirect: { scheme: https } } ]\n",
            &[
                "4:47: error: `path` beside `sni`: a session shows nothing but the name of its server…",
                "4:57: error: `host` beside `sni`: …",
                "4:68: error: `redirect` beside `sni`: …",
            ],
        ),
        (
            "+tls: { sni: { routes: { a.example: a } } }\n",
            &["4:15: error: `sni.routes` of mode http needs TLS, and `tls` has no certificate…"],
        ),
        (
            "+tls: { enabled: false, sni: { routes: { a.example: a } } }\n",
            &[],
        ),
        (
            "version: 2\nlisteners: [ { name: b, listen: \":81\", mode: http, routes: [], tls: { cert_file: c, key_file: k, sni: { routes: { a.example: 'b:1' } } } } ]\npools: { p: { backends: [\"b:1\"] } }\n",
            &[
                "2:14: error: listener `b` has neither routes nor a pool…",
                "2:105: error: `sni.routes` names backends, and the listener has no pool\n  help: add `pool: NAME` to the listener",
            ],
        ),
        (
            "+listeners: [ { name: b, listen: \":81\", mode: tcp, tls: { cert_file: c, key_file: k, sni: { routes: { a.example: a } } } } ]\n",
            &[],
        ),
        (
            "+listeners: [ { name: b, listen: \":81\", mode: tcp, tls: { sni: { routes: { 'a b': a, '*.c.example': [], d.example: [x, 'a:1', 'a:9001', a] } } } } ]\n",
            &[
                "4:75: error: `a b` is not a host…",
                "4:85: error: no backend for `*.c.example`",
                "4:116: error: pool `default` has no backend `x`…",
                "4:119: error: backend `a` is at 127.0.0.1:9001\n  3:32: its address is here",
                "4:136: warning: backend `a` is named twice",
            ],
        ),
        (
            "version: 2\nlisteners: [ { name: b, listen: \":81\", mode: tcp, tls: { sni: { routes: { a.example: 'b:1' } } } } ]\npools: { p: { backends: [\"b:1\"] } }\n",
            &["2:14: error: listener `b` has no pool to send its sessions to…"],
        ),
    ]);
}

#[test]
pub(super) fn listeners() {
    check(&[
        (
            "listeners: [ { name: b, listen: \":81\", mode: tcp, pool: p } ]\npools: { p: [\"a:1\"] }\n",
            &["2:13: error: `pool` takes keys and values, not a list…"],
        ),
        (
            "listeners: [ { name: b, listen: \":81\", mode: tcp, pool: p } ]\npools: { p: { backends: [\"a:1\"] } }\ntrusted_proxies: 10.0.0.1\nload_balancer: random\n",
            &[
                "3:1: warning: `trusted_proxies` has no effect: it belongs to the listener that a top-level `listen` makes",
                "4:1: warning: `load_balancer` has no effect: it belongs to the pool that top-level `backends` make",
            ],
        ),
        (
            "+listeners: [ { name: main, listen: \":81\" } ]\n",
            &["4:22: error: listener `main` is defined twice\n  2:1: it is defined here first"],
        ),
        (
            "+listeners: [ { name: b, listen: \":8080\" } ]\n",
            &[
                "4:33: error: `b` wants :8080, which `main` has\n  2:9: it is taken here first\n  help: give each its own address",
            ],
        ),
        (
            "+listeners: [ { listen: \":81\" } ]\n",
            &["4:14: error: `name` is missing in `listener`…"],
        ),
        (
            "+listeners: [ { name: b, listen: \":81\", routes: [x], pool: y } ]\n",
            &[
                "4:49: error: there is no route `x`",
                "4:59: error: there is no pool `y`\n  help: the pools are `default`",
            ],
        ),
        (
            "+listeners: [ { name: b, listen: \":81\", mode: udp } ]\n",
            &["4:46: error: not supported yet: `mode: udp`…"],
        ),
        (
            "+listeners: [ { name: b, listen: \":81\", proxy_protocol: { accept: true } } ]\n",
            &[
                "4:56: error: `proxy_protocol` would believe everybody: a header says who a client is\n  help: list the proxies in front: `from: [10.0.0.0/8]`",
            ],
        ),
        (
            "+listeners: [ { name: b, listen: \":81\", proxy_protocol: { accept: true, from: [] } } ]\n",
            &["4:56: error: `proxy_protocol` would believe everybody…"],
        ),
        (
            "+listeners: [ { name: b, listen: \":81\", proxy_protocol: { from: 10.0.0.0/8 } } ]\n",
            &["4:58: warning: `from` has no effect without `accept: true`"],
        ),
        (
            "+listeners: [ { name: b, listen: \":81\", proxy_protocol: { accept: true, from: [10.0.0.0/33, lb] } } ]\n",
            &[
                "4:79: error: `from`: `10.0.0.0/33` is not an IP address or a block like 10.0.0.0/8",
                "4:92: error: `from`: `lb` is not an IP address or a block like 10.0.0.0/8",
            ],
        ),
        (
            "+listeners: [ { name: b, listen: \":81\", proxy_protocol: { accept: false }, tls: { enabled: false } } ]\n",
            &[],
        ),
        (
            "+listeners: [ { name: b, listen: \":81\", mode: tcp, trusted_proxies: 10.0.0.1 } ]\n",
            &["4:14: warning: `trusted_proxies` has no effect: listener `b` has mode tcp"],
        ),
        (
            "version: 2\nlisteners: [ { name: b, listen: \":81\", mode: tcp } ]\npools: { p: { backends: [\"b:1\"] } }\n",
            &["2:14: error: listener `b` has no pool to send its sessions to…"],
        ),
        (
            "version: 2\nlisteners: [ { name: b, listen: \":81\", mode: http } ]\npools: { p: { backends: [\"b:1\"] } }\n",
            &["2:14: error: listener `b` has neither routes nor a pool…"],
        ),
        (
            "backends: [\"b:1\"]\n",
            &[" error: there is nothing to listen on\n  help: add `listen: \":8080\"`"],
        ),
    ]);
}
