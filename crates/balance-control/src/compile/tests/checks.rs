//! What `balance check` finds besides mistakes of form: shadowed routes, what nobody uses, failed tests.

use super::{check, config};

/// Two pools and a listener that asks every route.
const BASE: &str = "version: 2
listeners: [ { name: web, listen: '127.0.0.1:0', mode: http, pool: b } ]
pools:
  a: { backends: [ { name: a1, address: '127.0.0.1:1' }, { name: a2, address: '127.0.0.1:2' } ] }
  b: { backends: ['127.0.0.1:3'] }
";

fn found(yaml: &str) -> Vec<String> {
    check(&config(yaml))
        .iter()
        .map(|one| one.to_string().replace("t.yaml:", ""))
        .filter(|text| !text.contains("file descriptors"))
        .collect()
}

/// Routes are given one a line, from line 7 on.
fn check_routes(routes: &[&str], expected: &[&str]) {
    let mut yaml = format!("{BASE}routes:\n");
    for route in routes {
        yaml.push_str(&format!("  - {{ {route} }}\n"));
    }
    yaml.push_str("  - { name: last, match: { host: last.example }, pool: a }\n");
    let found = found(&yaml);
    let fits = found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(found, expected)| found.starts_with(expected));
    assert!(fits, "{yaml}\n{found:#?}\n{expected:#?}");
}

#[test]
fn a_shadowed_route_is_told_with_the_reason_and_the_place() {
    check_routes(
        &[
            "name: all, match: { host: '*.a.test', path_prefix: /v1 }, pool: a",
            "name: one, match: { host: x.a.test, path: /v1/y, method: GET }, pool: b",
        ],
        &[
            "8:5: warning: route `one` never decides: `all` takes all its requests\n  7:5: `all` is asked before it\n  help: `all` is asked first (equal priority, earlier in the file) and takes host `*.a.test`, paths under `/v1`; put `one` before it or give it a higher `priority`",
        ],
    );
    check_routes(
        &[
            "name: one, match: { host: x.test }, pool: b",
            "name: all, priority: 5, pool: a",
        ],
        &[
            "7:5: warning: route `one` never decides: `all` takes all its requests\n  8:5: `all` is asked before it\n  help: `all` is asked first (priority 5 over 0) and takes everything",
            "9:5: warning: route `last` never decides",
        ],
    );
}

#[test]
fn only_certain_shadows_are_told() {
    for (outer, inner, is_shadow) in [
        ("path_prefix: /v1", "path_prefix: /v1/", true),
        ("path_prefix: /v1/", "path_prefix: /v1", true),
        ("path_prefix: /v1", "path_prefix: /v10", false),
        ("path_prefix: /v1", "path: /v1/x", true),
        ("path: /v1", "path: /v1", true),
        ("path: /v1", "path_prefix: /v1", false),
        ("host: [a.test, b.test]", "host: b.test", true),
        ("host: b.test", "host: [a.test, b.test]", false),
        ("host: '*.test'", "host: '*.a.test'", true),
        ("host: '*.a.test'", "host: '*.test'", false),
        ("host: '*.a.test'", "host: a.test", false),
        ("host: a.test", "path: /x", false),
        ("method: [GET, HEAD]", "method: HEAD", true),
        ("method: GET", "method: [GET, HEAD]", false),
        ("method: GET", "path: /x", false),
        ("headers: { X: a }", "headers: { x: a, Y: b }", true),
        ("headers: { X: a }", "headers: { X: b }", false),
        ("headers: { X: a, Y: b }", "headers: { X: a }", false),
    ] {
        let expected: &[&str] = if is_shadow {
            &["8:5: warning: route `inner` never"]
        } else {
            &[]
        };
        check_routes(
            &[
                &format!("name: outer, match: {{ {outer} }}, pool: a"),
                &format!("name: inner, match: {{ {inner} }}, pool: b"),
            ],
            expected,
        );
    }
}

#[test]
fn byte_prefixes_are_shadowed_by_bytes() {
    let shadows = |outer: &str, inner: &str| {
        let yaml = format!(
            "mode: http\nlisten: '127.0.0.1:0'\nbackends: ['a:1']\nhttp: {{ routes: [ {{ path_prefix: {outer} }}, {{ path_prefix: {inner} }} ] }}\n"
        );
        !found(&yaml).is_empty()
    };
    assert!(shadows("/v1", "/v10"));
    assert!(shadows("/v1", "/v1/"));
    assert!(!shadows("/v1/", "/v1"));
}

#[test]
fn a_route_that_decides_somewhere_is_not_shadowed() {
    let yaml = "version: 2
listeners:
  - { name: one, listen: '127.0.0.1:0', mode: http, routes: [all, one] }
  - { name: two, listen: '127.0.0.1:0', mode: http, routes: [one] }
pools: { p: { backends: ['a:1'] } }
routes: [ { name: all, pool: p }, { name: one, match: { path: /x }, pool: p } ]
";
    assert_eq!(found(yaml), [""; 0]);
    let order = yaml.replace("routes: [one] }", "routes: [all, one] }");
    let found = found(&order);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("earlier in the listener's list"));
}

#[test]
fn what_nobody_uses_is_told() {
    assert_eq!(
        found(BASE),
        [
            "4:3: warning: nothing uses pool `a`\n  help: name it as the `pool` of a route or listener, or remove it"
        ]
    );
    let in_part = format!("{BASE}routes: [ {{ name: r, pool: a, backends: [a1] }} ]\n");
    assert_eq!(
        found(&in_part),
        ["4:58: warning: nothing uses backend `a2`: routes take pool `a` in part and never it"]
    );
    let unasked = format!(
        "{}routes: [ {{ name: r, pool: a }}, {{ name: s, pool: b, match: {{ path: / }} }} ]\n",
        BASE.replace("pool: b }", "routes: [s] }")
    );
    assert_eq!(
        found(&unasked),
        [
            "6:11: warning: no listener asks route `r`\n  help: name it in the `routes` of a listener, or remove it"
        ]
    );
}

/// All on one path, told apart by a header: each would be compared with all before it.
#[test]
fn a_search_for_shadows_that_ends_early_says_so() {
    let shadow = |count: usize| {
        let mut yaml = format!("{BASE}routes:\n");
        for route in 0..count {
            yaml.push_str(&format!(
                "  - {{ name: r{route}, match: {{ headers: {{ X-A: '{route}' }} }}, pool: a }}\n"
            ));
        }
        yaml.push_str("  - { name: same, match: { headers: { X-A: '0' } }, pool: a }\n");
        found(&yaml)
    };
    let [found] = &shadow(1_000)[..] else {
        panic!("only the last one is shadowed");
    };
    assert!(found.contains("`same` never decides"), "{found}");
    // 1,414 · 1,415 / 2 is the first sum above a million.
    assert_eq!(
        shadow(1_500),
        [
            "1421:5: note: from route `r1414` on it was not looked whether routes ever decide: more than a million comparisons"
        ]
    );
}

#[test]
fn tests_of_routes_run_as_requests_would() {
    let test = |request: &str, expect: &str| {
        format!(
            "tests: [ {{ request: '{request}', headers: {{ X-Api: '1' }}, expect: {{ {expect} }} }} ]"
        )
    };
    let api = "name: api, match: { host: '*.a.test', path_prefix: /v1, headers: { X-Api: '1' } }, pool: a, backends: [a1, a2], transform: { strip_prefix: /v1, add_prefix: /api }";
    let to_https =
        "name: to-https, match: { path: /old }, redirect: { scheme: https, status: 301 }";
    for (request, expect, expected) in [
        (
            "GET https://X.a.test:8443/v1/u?q=1#f",
            "pool: a, route: api, path: /api/u",
            "",
        ),
        (
            "GET https://x.a.test/v1/u?q=1",
            "pool: 'route:api', path: '/api/u?q=1'",
            "",
        ),
        ("GET http://x.test/old", "route: to-https, status: 301", ""),
        ("GET /nothing", "pool: b, route: none, path: /nothing", ""),
        ("GET http://x.a.test/v1/../x", "status: 400", ""),
        (
            "GET https://x.test/v1/u",
            "pool: a",
            "@expect: error: route test: it goes to pool `b`, not `a`\n  help: route `api` does not take it because of its host",
        ),
        (
            "GET https://x.a.test/v1/u",
            "path: /u",
            "@expect: error: route test: the path becomes `/api/u`, not `/u`",
        ),
        (
            "GET https://x.a.test/old",
            "pool: a",
            "@expect: error: route test: it is answered with status 301 and goes to no pool\n  8:5: route `to-https` takes the request\n  help: route `api` does not take it because of its path",
        ),
        (
            "GET https://x.a.test/v1",
            "status: 200",
            "@expect: error: route test: it goes to a backend, which gives it its status",
        ),
        (
            "GET https://x.a.test/v1",
            "route: to-https",
            "@expect: error: route test: route `api` takes it, not `to-https`",
        ),
        (
            "GET",
            "route: api",
            "@request: error: `GET` is not a request: write it like `GET https://host/path`",
        ),
        (
            "GET x",
            "route: api",
            "@request: error: `GET x` is not a request: its path",
        ),
    ] {
        let api = format!("{api}, {}", test(request, expect));
        // Columns in the line that `check_routes` makes of it, behind `  - { `.
        let column_of = |text: &str| api.find(text).map_or(0, |at| at + "  - { ".len() + 1);
        let (_, value) = expect.split_once(": ").unwrap();
        let expected = expected
            .replace(
                "@expect",
                &format!("7:{}", column_of(&format!("{value} }} }} ]"))),
            )
            .replace(
                "@request",
                &format!("7:{}", column_of(&format!("'{request}'"))),
            );
        let expected: &[&str] = if expected.is_empty() {
            &[]
        } else {
            &[&expected]
        };
        check_routes(&[&api, to_https], expected);
    }
}

#[test]
fn pools_of_splits_and_mirrors_are_used_and_tested() {
    let split = "name: s, split: [ { pool: a, weight: 1 }, { pool: b, weight: 9 }, { pool: off, weight: 0 } ]";
    let yaml = |expect: &str| {
        let tests = format!("tests: [ {{ request: GET /, expect: {{ pool: {expect} }} }} ]");
        format!(
            "version: 2\nlisteners: [ {{ name: web, listen: '127.0.0.1:0', mode: http }} ]\npools: {{ a: {{ backends: ['a:1'] }}, b: {{ backends: ['b:1'] }}, off: {{ backends: ['c:1'] }}, shadow: {{ backends: ['d:1'] }} }}\nroutes: [ {{ {split}, mirror: shadow, {tests} }} ]\n"
        )
    };
    for expected in ["a", "b"] {
        let diagnostics = check(&config(&yaml(expected)));
        assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    }
    let refused = super::refused(&yaml("off"), None);
    let [refused] = &refused[..] else {
        panic!("{refused:#?}");
    };
    let message = "error: route test: it goes to pool `a` or `b`, not `off`";
    assert!(refused.ends_with(message), "{refused}");
}

#[test]
fn a_failed_test_refuses_the_configuration() {
    let yaml = format!(
        "{BASE}routes: [ {{ name: r, pool: a, tests: [ {{ request: 'GET /', expect: {{ pool: b }} }} ] }} ]\n"
    );
    let refused = super::refused(&yaml, None);
    assert_eq!(
        refused,
        ["t.yaml:6:76: error: route test: it goes to pool `a`, not `b`"]
    );
}

#[test]
fn shadows_by_expressions_and_conditions_are_only_what_is_certain() {
    let route =
        |name: &str, matches: &str| format!("name: {name}, match: {{ {matches} }}, pool: a");
    let shadows = |outer: &str, inner: &str| {
        let mut yaml = format!("{BASE}routes:\n");
        for route in [route("outer", outer), route("inner", inner)] {
            yaml.push_str(&format!("  - {{ {route} }}\n"));
        }
        let found = found(&yaml);
        assert!(found.len() <= 1, "{found:#?}");
        found
            .iter()
            .any(|one| one.contains("`inner` never decides"))
    };
    let rows = [
        // By path.
        ("path_regex: '/v[0-9]+'", "path_regex: '/v[0-9]+'", true),
        ("path_regex: '/v[0-9]+'", "path_regex: '/v[0-9]'", false), // It does, and who can say so for all?
        ("path_regex: '/v[0-9]+'", "path: /v12", true),
        ("path_regex: '/v[0-9]+'", "path: /vx", false),
        ("path_regex: '/v[0-9]/.*'", "path_prefix: /v1/x", true),
        ("path_regex: '/v[0-9]/.*'", "path_prefix: /v1", false),
        ("path_regex: '/v[0-9](/.*)?'", "path_prefix: /v1", true),
        ("path_regex: '.*'", "path_prefix: /v1", true),
        ("path_prefix: /v1", "path_regex: '/v1/[0-9]+'", true),
        ("path_prefix: /v1", "path_regex: '/v1[0-9]+'", false),
        ("path_prefix: /v1", "path_regex: '/v[0-9]/x'", false),
        ("path: /v1", "path_regex: '/v1'", false),
        ("host: '*'", "path_regex: '/v1'", true),
        // By condition.
        ("query: { a: '1' }", "query: { a: '1', b: '2' }", true),
        ("query: { a: '1' }", "cookie: { a: '1' }", false),
        ("query: { a: '1' }", "query: { a: '2' }", false),
        ("query: { a: '1' }", "path: /", false),
        (
            "headers: { X-A: { present: true } }",
            "headers: { x-a: v }",
            true,
        ),
        (
            "headers: { X-A: { present: true } }",
            "headers: { X-A: { present: false } }",
            false,
        ),
        (
            "headers: { X-A: { present: false } }",
            "headers: { X-A: { present: false } }",
            true,
        ),
        (
            "headers: { X-A: { regex: 'v.*' } }",
            "headers: { X-A: v1 }",
            true,
        ),
        (
            "headers: { X-A: { regex: 'v.*' } }",
            "headers: { X-A: w1 }",
            false,
        ),
        (
            "headers: { X-A: { regex: 'v.*' } }",
            "headers: { X-A: { regex: 'v.*' }, X-B: c }",
            true,
        ),
        (
            "headers: { X-A: v1 }",
            "headers: { X-A: { regex: 'v1' } }",
            false,
        ),
        (
            "cookie: { a: { present: true } }",
            "cookie: { a: { regex: b } }, method: GET",
            true,
        ),
    ];
    for (outer, inner, expected) in rows {
        assert_eq!(shadows(outer, inner), expected, "{outer} before {inner}");
    }
}

#[test]
fn a_wrong_regular_expression_is_shown_at_its_place() {
    check_routes(
        &[
            "name: a, match: { path_regex: '/a(b' }, pool: a",
            "name: b, match: { headers: { X-A: { regex: 'x{3,2}' } } }, pool: a",
            "name: c, match: { query: { q: { regex: \"\\x61[\" } } }, pool: a",
            "name: d, match: { path_regex: '/.*a.{30}' }, pool: a",
            "name: e, match: { path_regex: 'v1/.*' }, pool: a",
        ],
        &[
            "7:40: error: regular expression: unclosed group, at character 3",
            "8:52: error: regular expression: invalid repetition count range",
            "9:46: error: regular expression: unclosed character class, at character 2",
            "10:37: error: regular expression: its automaton would be larger than 1024 KiB",
            "11:37: error: route `e`: no path matches `v1/.*`: a path begins with `/`",
        ],
    );
}
