//! Deciding allocates nothing, whatever a table asks and whatever a request has. Alone in its process, because the
//! allocator is the process's.
#![expect(
    clippy::unwrap_used,
    reason = "a test stops when its own input is wrong"
)]

#[path = "shared/request.rs"]
mod request;

use std::hint::black_box;

use balance_core::RouteId;
use balance_route::{
    Facts, HostPattern, NamedMatch, PathMatch, Regex, RouteSpec, RouteTable, ValueMatch,
};

use request::Request;

fn allocations(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).count_total
}

/// Routes of all kinds in turn, so that a table of any size has all of them.
fn route(id: u32) -> RouteSpec {
    let regex = |pattern: &str| Regex::compile(pattern).unwrap();
    let named = |name: &str, value| {
        vec![NamedMatch {
            name: name.to_owned(),
            value,
        }]
    };
    let host = match id % 3 {
        0 => format!("s{id}.example.com"),
        1 => format!("*.s{id}.example.com"),
        _ => "*".to_owned(),
    };
    let mut spec = RouteSpec {
        hosts: vec![HostPattern::parse(&host).unwrap()],
        ..RouteSpec::any(RouteId(id))
    };
    match id % 7 {
        0 => spec.path = PathMatch::SegmentPrefix(format!("/s{id}")),
        1 => spec.path = PathMatch::Exact(format!("/s{id}/users")),
        2 => spec.path = PathMatch::Regex(regex(&format!("/s{id}/(users|teams)/[0-9]+"))),
        3 => {
            spec.headers = named(
                "x-tenant",
                ValueMatch::Regex(regex(&format!("t{id}(-.*)?"))),
            )
        }
        4 => spec.query = named("tenant", ValueMatch::Exact(format!("t{id}"))),
        5 => spec.cookies = named("tenant", ValueMatch::Regex(regex(&format!("t{id}|x")))),
        _ => spec.headers = named("x-debug", ValueMatch::Present),
    }
    spec
}

#[test]
fn deciding_allocates_nothing() {
    for routes in [1, 8, 9, 500] {
        let table = RouteTable::compile((0..routes).map(route).collect()).unwrap();
        let requests: Vec<Request> = (0..routes)
            .map(|id| Request {
                method: "GET".to_owned(),
                host: format!("deep.below.S{id}.example.com"),
                path: format!("/s{id}/users/42"),
                query: format!("a&b=c&tenant=t{id}"),
                headers: [
                    ("x-tenant", "t10-blue"),
                    ("cookie", "a=b; tenant=t12; c"),
                    ("cookie", "d=e"),
                ]
                .map(|(name, value): (&str, &str)| (name.to_owned(), value.to_owned()))
                .into(),
            })
            .collect();
        let mut decided = 0;
        let decide = || {
            for request in &requests {
                decided += usize::from(table.decide(black_box(request)).is_some());
            }
        };
        // The first request counts as much as any other: nothing is built late.
        assert_eq!(allocations(decide), 0, "{routes} routes");
        assert!(routes < 9 || decided > 0, "something must match");
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 1);
}
