use balance_core::RouteId;

use super::RouteTable;
use crate::condition::{Got, NamedMatch, Unmet, ValueMatch};
use crate::facts::Facts;
use crate::host_index::HostIndex;
use crate::pattern::{HostPattern, PathMatch};
use crate::regex::Regex;
use crate::route::{Mismatch, RouteErrorKind, RouteSpec};

mod properties;
#[path = "../../tests/shared/reference.rs"]
mod reference;
#[path = "../../tests/shared/request.rs"]
mod request;

use request::Request;

/// Names and values.
type Fields<'a> = &'a [(&'a str, &'a str)];

/// `path` may have a query.
fn request(method: &str, host: &str, path: &str, headers: Fields<'_>) -> Request {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    Request {
        method: method.to_owned(),
        host: host.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

fn host(text: &str) -> Vec<HostPattern> {
    vec![HostPattern::parse(text).unwrap()]
}

fn prefix(text: &str) -> PathMatch {
    PathMatch::BytePrefix(text.to_owned())
}

fn regex(pattern: &str) -> Regex {
    Regex::compile(pattern).unwrap()
}

fn named(name: &str, value: ValueMatch) -> NamedMatch {
    NamedMatch {
        name: name.to_owned(),
        value,
    }
}

fn exactly(name: &str, value: &str) -> NamedMatch {
    named(name, ValueMatch::Exact(value.to_owned()))
}

/// Both ways to decide, the trace and a plain reading of the specification must agree.
fn check(table: &RouteTable, request: &Request, expected: Option<u32>) {
    let index = HostIndex::compile(&table.routes);
    let by_index = table.look_up(&index, request);
    let expected = expected.map(RouteId);
    assert_eq!(by_index, expected, "{request:?}");
    assert_eq!(table.scan(request), expected, "{request:?}");
    assert_eq!(
        reference::decide(table.routes(), request),
        expected,
        "{request:?}"
    );
    assert_eq!(table.decide(request), expected, "{request:?}");
    assert_eq!(table.explain(request).decision(), expected, "{request:?}");
}

fn check_get(table: &RouteTable, host: &str, path: &str, expected: Option<u32>) {
    check(table, &request("GET", host, path, &[]), expected);
}

#[test]
fn an_empty_table_takes_nothing() {
    let table = RouteTable::compile(Vec::new()).unwrap();
    assert!(table.is_empty());
    check_get(&table, "a", "/", None);
}

#[test]
fn the_first_in_order_wins_not_the_most_specific() {
    let table = RouteTable::compile(vec![
        RouteSpec {
            path: prefix("/"),
            ..RouteSpec::any(RouteId(0))
        },
        RouteSpec {
            hosts: host("a.com"),
            path: PathMatch::Exact("/x".to_owned()),
            ..RouteSpec::any(RouteId(1))
        },
        RouteSpec {
            hosts: host("*.com"),
            path: prefix("/urgent"),
            priority: 1,
            ..RouteSpec::any(RouteId(2))
        },
        RouteSpec {
            priority: -1,
            ..RouteSpec::any(RouteId(3))
        },
    ])
    .unwrap();
    check_get(&table, "a.com", "/x", Some(0));
    check_get(&table, "a.com", "/urgent/x", Some(2));
    check_get(&table, "a.org", "/urgent/x", Some(0));
    check_get(&table, "a.com", "*", Some(3));
    let order: Vec<u32> = table.routes().map(|spec| spec.id.0).collect();
    assert_eq!(order, [2, 0, 1, 3]);
}

#[test]
fn method_and_headers_narrow_and_the_next_route_gets_the_rest() {
    let table = RouteTable::compile(vec![
        RouteSpec {
            methods: vec!["POST".to_owned(), "PURGE".to_owned()],
            path: prefix("/a"),
            ..RouteSpec::any(RouteId(0))
        },
        RouteSpec {
            headers: vec![exactly("x-k", "v"), exactly("x-l", "")],
            path: prefix("/a"),
            ..RouteSpec::any(RouteId(1))
        },
        RouteSpec {
            path: prefix("/"),
            ..RouteSpec::any(RouteId(2))
        },
    ])
    .unwrap();
    check(&table, &request("PURGE", "", "/a", &[]), Some(0));
    check(&table, &request("post", "", "/a", &[]), Some(2));
    let both = [("x-k", "w"), ("x-k", "v"), ("x-l", "")];
    check(&table, &request("GET", "", "/a", &both), Some(1));
    check(&table, &request("GET", "", "/a", &both[..2]), Some(2));
    check(&table, &request("GET", "", "/b", &both), Some(2));
}

#[test]
fn hosts_are_found_in_any_case_at_any_depth_and_length() {
    let long = format!("{}.com", "a".repeat(249));
    let table = RouteTable::compile(vec![
        RouteSpec {
            hosts: host("a.com"),
            ..RouteSpec::any(RouteId(0))
        },
        RouteSpec {
            hosts: host("*.b.com"),
            ..RouteSpec::any(RouteId(1))
        },
        RouteSpec {
            hosts: vec![
                HostPattern::parse(&format!("*.{long}")).unwrap(),
                HostPattern::parse(&long).unwrap(),
            ],
            ..RouteSpec::any(RouteId(2))
        },
    ])
    .unwrap();
    check_get(&table, "A.Com", "/", Some(0));
    check_get(&table, "x.a.com", "/", None);
    check_get(&table, "b.com", "/", None);
    check_get(&table, ".b.com", "/", None);
    check_get(&table, "x.y.z.B.com", "/", Some(1));
    check_get(
        &table,
        &format!("{}b.com", "x.".repeat(4_000)),
        "/",
        Some(1),
    );
    check_get(&table, &long, "/", Some(2));
    check_get(&table, &format!(".{long}"), "/", None);
    check_get(&table, &format!("x.{long}"), "/", Some(2));
    check_get(&table, &format!("x{long}"), "/", None);
    check_get(&table, "", "/", None);
}

#[test]
fn a_listener_decides_which_routes_and_in_which_order() {
    let specs: Vec<RouteSpec> = (0..4)
        .map(|id| RouteSpec {
            priority: i64::from(id == 3),
            ..RouteSpec::any(RouteId(id))
        })
        .collect();
    let order = |listed: Option<&[RouteId]>| -> Vec<u32> {
        let table = RouteTable::compile_listed(&specs, listed).unwrap();
        table.routes().map(|spec| spec.id.0).collect()
    };
    assert_eq!(order(None), [3, 0, 1, 2]);
    assert_eq!(order(Some(&[RouteId(2), RouteId(0)])), [2, 0]);
    assert_eq!(order(Some(&[RouteId(2), RouteId(3)])), [3, 2]);
    assert!(order(Some(&[])).is_empty());
}

#[test]
fn all_mistakes_are_reported() {
    let listed = [RouteId(0), RouteId(9), RouteId(0)];
    let bad = RouteSpec {
        hosts: vec![
            HostPattern::Exact("UPPER".to_owned()),
            HostPattern::Suffix(String::new()),
        ],
        path: prefix("v1"),
        methods: vec!["GE T".to_owned()],
        headers: vec![exactly("X-K", "v"), exactly("", "v")],
        query: vec![exactly("", "v"), exactly("a&b", "v"), exactly("a b", "v")],
        cookies: vec![exactly("a;b", "v")],
        ..RouteSpec::any(RouteId(0))
    };
    let errors = RouteTable::compile_listed(&[bad], Some(&listed)).unwrap_err();
    let kinds: Vec<RouteErrorKind> = errors.into_iter().map(|error| error.kind).collect();
    let text = str::to_owned;
    assert_eq!(
        kinds,
        [
            RouteErrorKind::Unknown,
            RouteErrorKind::ListedTwice,
            RouteErrorKind::HostInvalid(text("UPPER")),
            RouteErrorKind::HostInvalid(text("")),
            RouteErrorKind::PathInvalid(text("v1")),
            RouteErrorKind::MethodInvalid(text("GE T")),
            RouteErrorKind::HeaderNameInvalid(text("X-K")),
            RouteErrorKind::HeaderNameInvalid(text("")),
            RouteErrorKind::QueryNameInvalid(text("")),
            RouteErrorKind::QueryNameInvalid(text("a&b")),
            RouteErrorKind::QueryNameInvalid(text("a b")),
            RouteErrorKind::CookieNameInvalid(text("a;b")),
        ]
    );
}

#[test]
fn a_regular_expression_that_matches_no_path_is_a_mistake() {
    let errors = |pattern: &str| {
        let spec = RouteSpec {
            path: PathMatch::Regex(regex(pattern)),
            ..RouteSpec::any(RouteId(0))
        };
        RouteTable::compile(vec![spec]).err()
    };
    for pattern in ["v1/.*", r"\.php$", "", "/?"] {
        let is_refused = pattern != "/?";
        assert_eq!(errors(pattern).is_some(), is_refused, "{pattern}");
    }
    assert!(errors(r"\*").is_none(), "OPTIONS * has this path");
    let [error] = &errors("v1").unwrap()[..] else {
        unreachable!("one mistake")
    };
    assert_eq!(
        error.kind,
        RouteErrorKind::PathNeverMatches("v1".to_owned())
    );
}

#[test]
fn a_trace_says_what_each_route_lacked() {
    let full = |id| RouteSpec {
        hosts: host("a.com"),
        path: prefix("/v1"),
        methods: vec!["GET".to_owned()],
        headers: vec![exactly("x-k", "v"), exactly("x-l", "w")],
        query: vec![named("q", ValueMatch::Present), exactly("r", "1")],
        cookies: vec![named("c", ValueMatch::Absent)],
        ..RouteSpec::any(RouteId(id))
    };
    let table = RouteTable::compile(vec![
        RouteSpec {
            hosts: host("b.com"),
            ..full(0)
        },
        RouteSpec {
            path: prefix("/v2"),
            ..full(1)
        },
        RouteSpec {
            methods: vec!["PUT".to_owned()],
            ..full(2)
        },
        RouteSpec {
            path: PathMatch::Regex(regex("/v[2-9].*")),
            ..full(3)
        },
        full(4),
        RouteSpec::any(RouteId(5)),
        RouteSpec::any(RouteId(6)),
    ])
    .unwrap();
    let unmet = |position, got| Unmet { position, got };
    let rows: [(&str, Fields<'_>, Option<Mismatch>); 8] = [
        ("/v1", &[], Some(Mismatch::Header(unmet(0, Got::Nothing)))),
        (
            "/v1",
            &[("x-k", "v")],
            Some(Mismatch::Header(unmet(1, Got::Nothing))),
        ),
        (
            "/v1",
            &[("x-k", "v"), ("x-l", "v")],
            Some(Mismatch::Header(unmet(1, Got::OtherValue))),
        ),
        (
            "/v1",
            &[("x-k", "v"), ("x-l", "w")],
            Some(Mismatch::Query(unmet(0, Got::Nothing))),
        ),
        (
            "/v1?q",
            &[("x-k", "v"), ("x-l", "w")],
            Some(Mismatch::Query(unmet(1, Got::Nothing))),
        ),
        (
            "/v1?q&r=2",
            &[("x-k", "v"), ("x-l", "w")],
            Some(Mismatch::Query(unmet(1, Got::OtherValue))),
        ),
        (
            "/v1?q&r=1",
            &[("x-k", "v"), ("x-l", "w"), ("cookie", "c=")],
            Some(Mismatch::Cookie(unmet(0, Got::Something))),
        ),
        ("/v1?q&r=1", &[("x-k", "v"), ("x-l", "w")], None),
    ];
    for (target, headers, fifth) in rows {
        let trace = table.explain(&request("GET", "a.com", target, headers));
        let mut expected = vec![
            Some(Mismatch::Host),
            Some(Mismatch::Path),
            Some(Mismatch::Method),
            Some(Mismatch::Path),
            fifth,
        ];
        if fifth.is_some() {
            expected.push(None);
        }
        let mismatches: Vec<Option<Mismatch>> =
            trace.steps.iter().map(|step| step.mismatch).collect();
        assert_eq!(mismatches, expected, "{target} {headers:?}");
        let decided = 4 + u32::from(fifth.is_some());
        assert_eq!(trace.decision(), Some(RouteId(decided)));
        assert_eq!(trace.unasked, 7 - expected.len());
    }
}

/// A table with one route that has these conditions, and each request with whether it takes it.
fn check_conditions(spec: RouteSpec, rows: &[(&str, Fields<'_>, bool)]) {
    let table = RouteTable::compile(vec![spec]).unwrap();
    for (target, headers, takes) in rows {
        check(
            &table,
            &request("GET", "a", target, headers),
            takes.then_some(0),
        );
    }
}

#[test]
fn headers_by_value_pattern_presence_and_absence() {
    let route = |value| RouteSpec {
        headers: vec![named("x-k", value)],
        ..RouteSpec::any(RouteId(0))
    };
    let none: Fields<'_> = &[];
    let joined: Fields<'_> = &[("x-k", "v1, v2")];
    let two: Fields<'_> = &[("x-k", "other"), ("x-k", "v2")];
    let empty: Fields<'_> = &[("x-k", "")];
    let exact = ValueMatch::Exact("v2".to_owned());
    check_conditions(
        route(exact),
        &[
            ("/", none, false),
            ("/", joined, false),
            ("/", two, true),
            ("/", empty, false),
        ],
    );
    check_conditions(
        route(ValueMatch::Regex(regex("v[0-9]"))),
        &[
            ("/", none, false),
            ("/", joined, false),
            ("/", two, true),
            ("/", empty, false),
        ],
    );
    check_conditions(
        route(ValueMatch::Regex(regex(".*"))),
        &[("/", none, false), ("/", joined, true), ("/", empty, true)],
    );
    check_conditions(
        route(ValueMatch::Present),
        &[("/", none, false), ("/", joined, true), ("/", empty, true)],
    );
    check_conditions(
        route(ValueMatch::Absent),
        &[("/", none, true), ("/", joined, false), ("/", empty, false)],
    );
}

#[test]
fn the_first_parameter_and_the_first_cookie_decide() {
    let route = |value| RouteSpec {
        query: vec![named("a", value)],
        ..RouteSpec::any(RouteId(0))
    };
    check_conditions(
        route(ValueMatch::Exact("1".to_owned())),
        &[
            ("/", &[], false),
            ("/?a=1", &[], true),
            ("/?b&a=1&a=2", &[], true),
            ("/?a=2&a=1", &[], false),
            ("/?a=%31", &[], false),
            ("/a=1", &[], false),
        ],
    );
    check_conditions(
        route(ValueMatch::Absent),
        &[("/", &[], true), ("/?b", &[], true), ("/?a", &[], false)],
    );
    let cookie = RouteSpec {
        cookies: vec![named("a", ValueMatch::Regex(regex("v[0-9]+")))],
        ..RouteSpec::any(RouteId(0))
    };
    check_conditions(
        cookie,
        &[
            ("/", &[], false),
            ("/", &[("cookie", "b=1; a=v12")], true),
            ("/", &[("cookie", "b=1"), ("cookie", "a=v1")], true),
            ("/", &[("cookie", "a=w; a=v1")], false),
            ("/", &[("cookie", "b=a=v1")], false),
            ("/?a=v1", &[("x-cookie", "a=v1")], false),
        ],
    );
}

#[test]
fn paths_by_pattern_keep_their_place_in_the_order() {
    let path = |id, path| RouteSpec {
        path,
        ..RouteSpec::any(RouteId(id))
    };
    let table = RouteTable::compile(vec![
        path(0, PathMatch::Exact("/v1/users/7".to_owned())),
        path(1, PathMatch::Regex(regex("/v1/users/[0-9]+"))),
        path(2, PathMatch::Regex(regex(r".*\.(jpg|png)"))),
        path(3, prefix("/v1")),
        path(4, PathMatch::Regex(regex("(?i)/V1/.*|/v2"))),
        path(5, PathMatch::Any),
    ])
    .unwrap();
    check_get(&table, "", "/v1/users/7", Some(0));
    check_get(&table, "", "/v1/users/70", Some(1));
    check_get(&table, "", "/v1/users/70/", Some(3));
    check_get(&table, "", "/v1/users/a.png", Some(2));
    check_get(&table, "", "/a.png/", Some(5));
    check_get(&table, "", "/V1/x", Some(4));
    check_get(&table, "", "/v2", Some(4));
    check_get(&table, "", "/v2/", Some(5));
    check_get(&table, "", "*", Some(5));
}
