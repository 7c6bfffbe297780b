//! One of three origins dies under load, and comes back.

use balance_testkit::{Process, Program, RealOrigin};

use crate::programs::{Wrk, is_here};
use crate::subject::{Config, backend, get, metric, wait_until};

/// An origin on a given port, with a file that says which one it is.
fn start(name: &str, port: Option<u16>) -> RealOrigin {
    let origin = match port {
        None => RealOrigin::start(Program::Node).unwrap(),
        Some(port) => RealOrigin::start_on(Program::Node, port).unwrap(),
    };
    std::fs::write(origin.root().join("name.txt"), name).unwrap();
    origin
}

fn serves(process: &Process, name: &str) -> bool {
    let web = process.listener("web");
    (0..9).any(|_| get(web, "/name.txt").text() == name)
}

#[test]
fn a_killed_origin_costs_no_request_and_comes_back() {
    if !is_here("node") || !is_here("wrk") {
        return;
    }
    let names = ["one", "two", "three"];
    let mut origins = names.map(|name| start(name, None));
    let addresses = origins.each_ref().map(RealOrigin::addr);
    let process = Config {
        workers: 2,
        ..Config::http(&addresses)
    }
    .start();
    let web = process.listener("web");
    for name in names {
        assert!(serves(&process, name), "{name}");
    }
    let load = Wrk::start(web, "/small.txt", 24);
    let answered = || {
        metric(
            &process,
            "balance_backend_requests_total{pool=\"p\",backend=\"b\"}",
        )
    };
    for _ in 0..2 {
        let before = answered();
        wait_until(|| answered() > before + 500.0, "it is busy");

        let rests = backend(&process, "b")["rests"].as_u64();
        origins[1].process().kill();
        wait_until(
            || backend(&process, "b")["rests"].as_u64() > rests,
            "the dead one rests",
        );
        assert!(!serves(&process, "two"));
        let port = addresses[1].port();
        origins[1] = start("two", Some(port));
        wait_until(|| serves(&process, "two"), "it gets traffic again");
        assert_eq!(backend(&process, "b")["state"], "pickable");
    }
    load.finish_without_errors();
}
