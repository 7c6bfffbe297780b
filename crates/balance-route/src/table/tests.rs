use balance_core::RouteId;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

use super::RouteTable;
use crate::facts::Facts;
use crate::host_index::HostIndex;
use crate::pattern::{HostPattern, PathMatch};
use crate::route::{HeaderMatch, Mismatch, RouteErrorKind, RouteSpec};

#[derive(Clone, Debug)]
struct Request {
    method: String,
    host: String,
    path: String,
    headers: Vec<(String, String)>,
}

impl Facts for Request {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }

    fn host(&self) -> &[u8] {
        self.host.as_bytes()
    }

    fn path(&self) -> &[u8] {
        self.path.as_bytes()
    }

    fn header_values(&self, name_lower: &[u8]) -> impl Iterator<Item = &[u8]> {
        self.headers
            .iter()
            .filter(move |(name, _)| name.as_bytes() == name_lower)
            .map(|(_, value)| value.as_bytes())
    }
}

fn request(method: &str, host: &str, path: &str, headers: &[(&str, &str)]) -> Request {
    Request {
        method: method.to_owned(),
        host: host.to_owned(),
        path: path.to_owned(),
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

fn header(name: &str, value: &str) -> HeaderMatch {
    HeaderMatch {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

/// Both ways to decide and the trace must agree.
fn check(table: &RouteTable, request: &Request, expected: Option<u32>) {
    let index = HostIndex::compile(&table.routes);
    let by_index = index
        .least(request.host(), request.path(), |rank| {
            table.routes[rank as usize].rest_mismatch(request).is_none()
        })
        .map(|rank| table.routes[rank as usize].spec.id);
    let expected = expected.map(RouteId);
    assert_eq!(by_index, expected, "{request:?}");
    assert_eq!(table.scan(request), expected, "{request:?}");
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
            headers: vec![header("x-k", "v"), header("x-l", "")],
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
        headers: vec![header("X-K", "v"), header("", "v")],
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
        ]
    );
}

#[test]
fn a_trace_says_what_each_route_lacked() {
    let full = |id| RouteSpec {
        hosts: host("a.com"),
        path: prefix("/v1"),
        methods: vec!["GET".to_owned()],
        headers: vec![header("x-k", "v"), header("x-l", "w")],
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
        full(3),
        RouteSpec::any(RouteId(4)),
        RouteSpec::any(RouteId(5)),
    ])
    .unwrap();
    let trace = table.explain(&request("GET", "a.com", "/v1", &[("x-k", "v")]));
    let mismatches: Vec<Option<Mismatch>> = trace.steps.iter().map(|step| step.mismatch).collect();
    assert_eq!(
        mismatches,
        [
            Some(Mismatch::Host),
            Some(Mismatch::Path),
            Some(Mismatch::Method),
            Some(Mismatch::Header(1)),
            None
        ]
    );
    assert_eq!((trace.decision(), trace.unasked), (Some(RouteId(4)), 1));
}

/// Few letters, so that patterns are prefixes of each other and of the requests.
fn path_text() -> impl Strategy<Value = String> {
    "/[ab/]{0,5}"
}

fn host_text() -> impl Strategy<Value = String> {
    "[ab]{1,2}(\\.[ab]){0,3}"
}

fn host_pattern() -> impl Strategy<Value = HostPattern> {
    prop_oneof![
        1 => Just(HostPattern::Any),
        3 => host_text().prop_map(HostPattern::Exact),
        3 => host_text().prop_map(HostPattern::Suffix),
    ]
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        1 => Just(PathMatch::Any),
        2 => path_text().prop_map(PathMatch::BytePrefix),
        2 => path_text().prop_map(PathMatch::SegmentPrefix),
        2 => path_text().prop_map(PathMatch::Exact),
    ]
}

fn route_spec() -> impl Strategy<Value = RouteSpec> {
    (
        -1..2_i64,
        vec(host_pattern(), 0..3),
        path_match(),
        vec(
            prop_oneof![Just("GET".to_owned()), Just("PUT".to_owned())],
            0..2,
        ),
        vec(
            ("[xy]", "[01]").prop_map(|(name, value)| HeaderMatch { name, value }),
            0..2,
        ),
    )
        .prop_map(|(priority, hosts, path, methods, headers)| RouteSpec {
            priority,
            hosts,
            path,
            methods,
            headers,
            ..RouteSpec::any(RouteId(0))
        })
}

fn any_request() -> impl Strategy<Value = Request> {
    (
        prop_oneof![Just("GET"), Just("PUT"), Just("get")],
        prop_oneof![8 => "[abAB]{1,2}(\\.[abA]){0,4}", 1 => "[ab.]{0,6}"],
        prop_oneof![8 => path_text(), 1 => "[*]", 1 => "/[ab/c]{0,8}"],
        vec(("[xyz]", "[012]"), 0..3),
    )
        .prop_map(|(method, host, path, headers)| Request {
            method: method.to_owned(),
            host,
            path,
            headers,
        })
}

proptest! {
    #[test]
    fn the_index_decides_as_a_plain_scan_does(
        mut specs in vec(route_spec(), 0..40),
        requests in vec(any_request(), 1..20),
        shift in any::<u32>(),
    ) {
        // Ids need not follow the order.
        for (id, spec) in (0_u32..).zip(&mut specs) {
            spec.id = RouteId(id ^ (shift & 0xff));
        }
        let table = RouteTable::compile(specs).unwrap();
        let index = HostIndex::compile(&table.routes);
        for request in &requests {
            let scanned = table.scan(request);
            let indexed = index
                .least(request.host(), request.path(), |rank| {
                    table.routes[rank as usize].rest_mismatch(request).is_none()
                })
                .map(|rank| table.routes[rank as usize].spec.id);
            prop_assert_eq!(indexed, scanned, "{:?}", request);
            prop_assert_eq!(table.decide(request), scanned);
            prop_assert_eq!(table.explain(request).decision(), scanned);
        }
    }
}
