//! Tables and requests by chance: the index, the scan and the trace decide as the rules say.

use balance_core::RouteId;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{Request, named, reference};
use crate::condition::{NamedMatch, ValueMatch};
use crate::host_index::HostIndex;
use crate::pattern::{HostPattern, PathMatch};
use crate::regex::Regex;
use crate::route::RouteSpec;
use crate::table::RouteTable;

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

/// With literal beginnings of all lengths, with none, with anchors in the middle, and without regard to case.
fn path_regex() -> impl Strategy<Value = Regex> {
    let part = prop_oneof![
        3 => "[ab/]",
        1 => Just("[^b]".to_owned()),
        1 => Just("(a|b/)".to_owned()),
        1 => Just("(ab|a)".to_owned()),
        1 => Just(".*".to_owned()),
        1 => Just("a?".to_owned()),
        1 => Just("(/a){1,2}".to_owned()),
        1 => Just("(?i:B)".to_owned()),
        1 => Just("(?:$|^)".to_owned()),
    ];
    let parts = vec(part, 0..5).prop_map(|parts| parts.concat());
    let begin = prop_oneof![4 => Just("/"), 1 => Just(".*"), 1 => Just("^/"), 1 => Just("/a|/")];
    (begin, parts).prop_map(|(begin, parts)| Regex::compile(&format!("{begin}{parts}")).unwrap())
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    let usable_regex =
        path_regex().prop_filter("matches no path", |regex| regex.can_begin_with(b'/'));
    prop_oneof![
        1 => Just(PathMatch::Any),
        2 => path_text().prop_map(PathMatch::BytePrefix),
        2 => path_text().prop_map(PathMatch::SegmentPrefix),
        2 => path_text().prop_map(PathMatch::Exact),
        2 => usable_regex.prop_map(PathMatch::Regex),
    ]
}

fn conditions() -> impl Strategy<Value = Vec<NamedMatch>> {
    let value = prop_oneof![
        3 => "[01]".prop_map(ValueMatch::Exact),
        1 => prop_oneof![Just("[01]+"), Just("0?"), Just("1.*")]
            .prop_map(|pattern| ValueMatch::Regex(Regex::compile(pattern).unwrap())),
        1 => Just(ValueMatch::Present),
        1 => Just(ValueMatch::Absent),
    ];
    let condition = ("[xy]", value).prop_map(|(name, value)| named(&name, value));
    prop_oneof![
        3 => Just(Vec::new()),
        1 => vec(condition, 1..3),
    ]
}

fn route_spec() -> impl Strategy<Value = RouteSpec> {
    let method = prop_oneof![Just("GET".to_owned()), Just("PUT".to_owned())];
    (
        -1..2_i64,
        vec(host_pattern(), 0..3),
        path_match(),
        vec(method, 0..2),
        conditions(),
        conditions(),
        conditions(),
    )
        .prop_map(
            |(priority, hosts, path, methods, headers, query, cookies)| RouteSpec {
                priority,
                hosts,
                path,
                methods,
                headers,
                query,
                cookies,
                ..RouteSpec::any(RouteId(0))
            },
        )
}

fn any_request() -> impl Strategy<Value = Request> {
    let header = prop_oneof![
        2 => ("[xyz]", "[012]{0,2}"),
        1 => (Just("cookie".to_owned()), "[xyz]?=?[01]{0,2}(; ?[xy]=[01])?"),
    ];
    (
        prop_oneof![Just("GET"), Just("PUT"), Just("get")],
        prop_oneof![8 => "[abAB]{1,2}(\\.[abA]){0,4}", 1 => "[ab.]{0,6}"],
        prop_oneof![8 => path_text(), 1 => "[*]", 1 => "/[ab/c]{0,8}"],
        "([xy]?=?[01]{0,2}&?){0,3}",
        vec(header, 0..4),
    )
        .prop_map(|(method, host, path, query, headers)| Request {
            method: method.to_owned(),
            host,
            path,
            query,
            headers,
        })
}

proptest! {
    #[test]
    fn the_table_decides_as_the_rules_say(
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
            let expected = reference::decide(table.routes(), request);
            prop_assert_eq!(table.look_up(&index, request), expected, "{:?}", request);
            prop_assert_eq!(table.scan(request), expected, "{:?}", request);
            prop_assert_eq!(table.decide(request), expected);
            prop_assert_eq!(table.explain(request).decision(), expected);
        }
    }

    #[test]
    fn the_automaton_takes_what_another_engine_takes(regex in path_regex(), path in "[abB/]{0,6}") {
        let expected = reference::takes_all(&regex, &path);
        prop_assert_eq!(regex.is_match(path.as_bytes()), expected);
        prop_assert!(!expected || path.as_bytes().starts_with(regex.prefix()));
    }
}
