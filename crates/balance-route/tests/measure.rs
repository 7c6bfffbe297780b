//! How long a decision takes. Not run by default: it needs a quiet machine and an optimised build.
//! `cargo test -p balance-route --release --test measure -- --ignored --nocapture`
//!
//! Instructions of a decision, one dump for each line of the output, each to be divided by the decisions of a run:
//! `valgrind --tool=callgrind --zero-before='*decide_all*' --dump-after='*decide_all*'` with that test binary.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement prints, and stops when its own input is wrong"
)]

#[path = "shared/request.rs"]
mod request;

use std::hint::black_box;
use std::time::Instant;

use balance_core::RouteId;
use balance_route::{Facts, HostPattern, PathMatch, Regex, RouteSpec, RouteTable};

use request::Request;

/// Route `id` of a kind, and a request that it takes.
type Make = fn(u32) -> (RouteSpec, Request);

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
    let spec = route(
        id,
        &format!("*.s{id}.example.com"),
        PathMatch::SegmentPrefix("/api".to_owned()),
    );
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
fn host_and_path(id: u32) -> (RouteSpec, Request) {
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

fn measure(name: &str, make: Make, routes: u32) {
    let (specs, mut requests): (Vec<RouteSpec>, Vec<Request>) = (0..routes).map(make).unzip();
    let begin = Instant::now();
    let table = RouteTable::compile(specs).unwrap();
    let compile = begin.elapsed();
    // A stride of a prime visits all of them without the cache's help.
    requests = visit(requests);
    let rounds = DECISIONS / routes;
    let begin = Instant::now();
    decide_all(&table, &requests, rounds);
    let each = begin.elapsed() / (rounds * routes);
    println!("{name:36} {routes:6} routes: compiled in {compile:>9.1?}, decides in {each:?}");
}

fn visit(requests: Vec<Request>) -> Vec<Request> {
    let mut left: Vec<Option<Request>> = requests.into_iter().map(Some).collect();
    let count = left.len();
    (0..count)
        .filter_map(|n| left[n * 7_919 % count].take())
        .collect()
}

#[inline(never)]
fn decide_all(table: &RouteTable, requests: &[Request], rounds: u32) {
    for _ in 0..rounds {
        for request in requests {
            assert!(table.decide(black_box(request)).is_some());
        }
    }
}

const DECISIONS: u32 = 1_000_000;

#[test]
#[ignore = "a measurement, for a quiet machine and an optimised build: ci/long measurements"]
fn decisions() {
    let kinds: [(&str, Make); 6] = [
        ("own host each", own_host),
        ("own suffix each", own_suffix),
        ("any host, own path each", own_path),
        ("hosts of ten paths each", host_and_path),
        (
            "the same, a tenth of them regexes",
            host_and_path_some_regexes,
        ),
        ("any host, own regex each", own_regex),
    ];
    for (name, make) in kinds {
        for routes in [1, 10, 1_000, 10_000] {
            measure(name, make, routes);
        }
    }
}
