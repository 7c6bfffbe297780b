//! How long a decision takes. Not run by default: it needs a quiet machine and an optimised build.
//! `cargo test -p balance-route --release --test measure -- --ignored --nocapture`

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement prints, and stops when its own input is wrong"
)]

use std::hint::black_box;
use std::time::Instant;

use balance_core::RouteId;
use balance_route::{Facts, HostPattern, PathMatch, RouteSpec, RouteTable};

struct Request {
    host: String,
    path: String,
}

impl Facts for Request {
    fn method(&self) -> &[u8] {
        b"GET"
    }

    fn host(&self) -> &[u8] {
        self.host.as_bytes()
    }

    fn path(&self) -> &[u8] {
        self.path.as_bytes()
    }

    fn query(&self) -> &[u8] {
        b""
    }

    fn header_values(&self, _: &[u8]) -> impl Iterator<Item = &[u8]> {
        std::iter::empty()
    }
}

fn measure(name: &str, routes: u32, host: impl Fn(u32) -> String, path: impl Fn(u32) -> String) {
    let specs = (0..routes)
        .map(|id| RouteSpec {
            hosts: vec![HostPattern::parse(&host(id)).unwrap()],
            path: PathMatch::SegmentPrefix(path(id)),
            ..RouteSpec::any(RouteId(id))
        })
        .collect();
    let begin = Instant::now();
    let table = RouteTable::compile(specs).unwrap();
    let compile = begin.elapsed();
    // A stride of a prime visits all of them without the cache's help.
    let requests: Vec<Request> = (0..routes)
        .map(|n| {
            let id = u32::try_from(u64::from(n) * 7_919 % u64::from(routes)).unwrap();
            Request {
                host: host(id).replace('*', "deep.below"),
                path: format!("{}/users/42", path(id)),
            }
        })
        .collect();
    let rounds = 1_000_000 / routes.max(1);
    let begin = Instant::now();
    for _ in 0..rounds {
        for request in &requests {
            assert!(table.decide(black_box(request)).is_some());
        }
    }
    let decisions = rounds * routes;
    let each = begin.elapsed() / decisions;
    println!("{name:36} {routes:6} routes: compiled in {compile:>9.1?}, decides in {each:?}");
}

#[test]
#[ignore = "a measurement"]
fn decisions() {
    for routes in [1, 8, 9, 100, 10_000] {
        measure(
            "own host each",
            routes,
            |id| format!("s{id}.example.com"),
            |_| "/api".to_owned(),
        );
        measure(
            "own suffix each",
            routes,
            |id| format!("*.s{id}.example.com"),
            |_| "/api".to_owned(),
        );
        measure(
            "one host, own path each",
            routes,
            |_| "example.com".to_owned(),
            |id| format!("/api/v1/service-{id}"),
        );
        measure(
            "any host, own path each",
            routes,
            |_| "*".to_owned(),
            |id| format!("/api/v1/service-{id}"),
        );
    }
}
