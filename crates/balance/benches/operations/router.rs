//! Decisions of tables of all sizes. The requests visit the routes in strides of a prime, so that the cache does not help.

use std::hint::black_box;

use balance_core::RouteId;
use balance_route::{Facts, HostPattern, PathMatch, Regex, RouteSpec, RouteTable};

use crate::operation::Operation;

#[path = "../../../balance-route/tests/shared/request.rs"]
pub(crate) mod request;

use request::Request;

/// Route `id` of a kind, and a request that it takes.
type Make = fn(u32) -> (RouteSpec, Request);

pub(crate) fn operations() -> Vec<Operation> {
    let kinds: [(&str, Make); 6] = [
        ("own-host", own_host),
        ("own-suffix", own_suffix),
        ("own-path", own_path),
        ("host-and-path", host_and_path),
        ("host-and-path-some-regexes", host_and_path_some_regexes),
        ("own-regex", own_regex),
    ];
    let mut all = Vec::new();
    for (kind, make) in kinds {
        for routes in [10, 1_000, 10_000] {
            all.push(Operation::new(
                format!("router/{kind}/{routes}"),
                move || {
                    let (table, requests) = table(make, routes);
                    let mut next = 0;
                    Box::new(move |times| {
                        for _ in 0..times {
                            assert!(table.decide(black_box(&requests[next])).is_some());
                            next = (next + 1) % requests.len();
                        }
                    })
                },
            ));
        }
    }
    all
}

/// A table of a kind, and a request for each route.
pub(crate) fn table(make: Make, routes: u32) -> (RouteTable, Vec<Request>) {
    let (specs, requests): (Vec<RouteSpec>, Vec<Request>) = (0..routes).map(make).unzip();
    let mut left: Vec<Option<Request>> = requests.into_iter().map(Some).collect();
    let count = left.len();
    let visited = (0..count).filter_map(|n| left[n * 7_919 % count].take());
    let requests = visited.collect();
    (RouteTable::compile(specs).unwrap(), requests)
}

fn route(id: u32, host: &str, path: PathMatch) -> RouteSpec {
    RouteSpec {
        hosts: vec![HostPattern::parse(host).unwrap()],
        path,
        ..RouteSpec::any(RouteId(id))
    }
}

fn request(host: String, path: String) -> Request {
    Request {
        method: "GET".to_owned(),
        host,
        path,
        query: String::new(),
        headers: Vec::new(),
    }
}

fn own_host(id: u32) -> (RouteSpec, Request) {
    let host = format!("s{id}.example.com");
    let spec = route(id, &host, PathMatch::SegmentPrefix("/api".to_owned()));
    (spec, request(host, "/api/users/42".to_owned()))
}

fn own_suffix(id: u32) -> (RouteSpec, Request) {
    let pattern = format!("*.s{id}.example.com");
    let spec = route(id, &pattern, PathMatch::SegmentPrefix("/api".to_owned()));
    let host = format!("deep.below.s{id}.example.com");
    (spec, request(host, "/api/users/42".to_owned()))
}

fn own_path(id: u32) -> (RouteSpec, Request) {
    let path = format!("/api/v1/service-{id}");
    let spec = route(id, "*", PathMatch::SegmentPrefix(path.clone()));
    let request = request("example.com".to_owned(), format!("{path}/users/42"));
    (spec, request)
}

/// Ten paths on each host, every fourth host with all that is below it.
pub(crate) fn host_and_path(id: u32) -> (RouteSpec, Request) {
    let (tenant, service) = (id / 10, id % 10);
    let path = format!("/api/v1/service-{service}");
    let (pattern, host) = match tenant % 4 {
        0 => (
            format!("*.t{tenant}.example.com"),
            format!("www.t{tenant}.example.com"),
        ),
        _ => (
            format!("t{tenant}.example.com"),
            format!("t{tenant}.example.com"),
        ),
    };
    let spec = route(id, &pattern, PathMatch::SegmentPrefix(path.clone()));
    (spec, request(host, format!("{path}/users/42")))
}

/// The same, but every tenth route is a regular expression.
fn host_and_path_some_regexes(id: u32) -> (RouteSpec, Request) {
    let (spec, request) = host_and_path(id);
    let path = match id % 10 {
        9 => PathMatch::Regex(Regex::compile("/api/v[0-9]+/service-9/users/[0-9]+").unwrap()),
        _ => spec.path,
    };
    (RouteSpec { path, ..spec }, request)
}

/// All on one host, told apart by what the expressions begin with.
fn own_regex(id: u32) -> (RouteSpec, Request) {
    let pattern = format!("/api/v1/service-{id}/(users|teams)/[0-9]+");
    let path = PathMatch::Regex(Regex::compile(&pattern).unwrap());
    let request = request(
        "example.com".to_owned(),
        format!("/api/v1/service-{id}/users/42"),
    );
    (route(id, "*", path), request)
}
