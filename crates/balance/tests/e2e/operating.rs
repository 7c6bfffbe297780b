//! What an operator does with backends while they serve, over sockets: weights, draining, and how they come back.

use std::net::SocketAddr;

use balance_testkit::{Origin, Process, RawClient, Response, Script};

use crate::queue::Held;
use crate::subject::{
    Config, backend, get, get_on, json, metric, post, post_body, reload, wait_until,
};

/// Backends `a` and `b` under two workers, and a route's view of both.
fn two(origins: [&Origin; 2], algorithm: &str) -> Config {
    let mut config = Config::http(&origins.map(Origin::addr))
        .with_pool(&format!("load_balancer: {algorithm}"))
        .with("routes: [ { name: view, match: { path: /view }, pool: p, backends: [a, b] } ]");
    config.workers = 2;
    config
}

fn named() -> [Origin; 2] {
    ["a", "b"].map(|name| Origin::answering(Script::ok(name)))
}

/// Asks for a weight of a backend in the pool `p`.
fn weigh(process: &Process, backend: &str, body: &str) -> Response {
    let path = format!("/pools/p/backends/{backend}/weight");
    post_body(process.listener("admin"), &path, body)
}

/// How many of so many requests `a` answers, each on a connection of its own: any worker may have it.
fn share_of_a(web: SocketAddr, path: &str, count: usize) -> usize {
    let answers = (0..count).map(|_| get(web, path).text());
    answers.filter(|name| name == "a").count()
}

#[test]
fn a_weight_holds_for_every_worker_when_it_is_answered() {
    let origins = named();
    let process = two(origins.each_ref(), "weighted-round-robin").start();
    let web = process.listener("web");
    assert_eq!(share_of_a(web, "/", 12), 6);
    for (weight, share) in [(3, 9), (5, 10), (2, 8), (0, 0), (1, 6)] {
        let response = weigh(&process, "a", &format!("{{ \"weight\": {weight} }}"));
        assert_eq!(response.status, 200, "{}", response.text());
        let now = json(&response);
        assert_eq!(
            (&now["weight"], &now["configured_weight"]),
            (&weight.into(), &1.into())
        );
        assert_eq!(backend(&process, "a")["weight"], weight);
        assert_eq!(share_of_a(web, "/", 12), share, "weight {weight}");
        assert_eq!(
            share_of_a(web, "/view", 12),
            share,
            "weight {weight}, by a view"
        );
        let gauge = "balance_backend_weight{pool=\"p\",backend=\"a\"}";
        assert_eq!(metric(&process, gauge), f64::from(weight));
    }
    process.wait_for_stderr(|text| {
        text.lines().any(|line| {
            let parts = [
                "backend changes its weight",
                "backend=\"a\"",
                "from=1",
                "to=3",
            ];
            parts.iter().all(|part| line.contains(part))
        })
    });
}

#[test]
fn a_weight_of_zero_is_no_traffic_under_every_algorithm_that_weighs() {
    for algorithm in [
        "weighted-round-robin",
        "weighted-least-connections",
        "consistent-hash",
        "bounded-consistent-hash",
    ] {
        let origins = named();
        let hash = if algorithm.ends_with("hash") {
            format!("{{ algorithm: {algorithm}, hash_key: 'header:X-Key' }}")
        } else {
            algorithm.to_owned()
        };
        let process = two(origins.each_ref(), &hash).start();
        let ask = |n: usize| {
            let mut client = RawClient::connect(process.listener("web")).unwrap();
            let request = format!("GET / HTTP/1.1\r\nHost: test\r\nX-Key: {n}\r\n\r\n");
            client.exchange(request).unwrap().text()
        };
        assert!((0..32).any(|n| ask(n) == "a"), "{algorithm}");
        assert_eq!(weigh(&process, "a", "{ \"weight\": 0 }").status, 200);
        assert!((0..32).all(|n| ask(n) == "b"), "{algorithm}");
        assert_eq!(weigh(&process, "a", "{ \"weight\": null }").status, 200);
        assert!((0..32).any(|n| ask(n) == "a"), "{algorithm}");
    }
}

#[test]
fn a_weight_stays_until_the_file_says_another() {
    let origins = named();
    let config = two(origins.each_ref(), "weighted-round-robin");
    let process = config.start();
    assert_eq!(weigh(&process, "a", "{ \"weight\": 3 }").status, 200);
    reload(&process, &config);
    assert_eq!(backend(&process, "a")["weight"], 3);
    assert_eq!(share_of_a(process.listener("web"), "/", 12), 9);

    let mut edited = config;
    let address = origins[0].addr();
    edited.backends[0] = format!("{{ name: a, address: '{address}', weight: 2 }}");
    reload(&process, &edited);
    let now = backend(&process, "a");
    assert_eq!(
        (&now["weight"], &now["configured_weight"]),
        (&2.into(), &2.into())
    );
    assert_eq!(share_of_a(process.listener("web"), "/", 12), 8);
}

#[test]
fn what_is_no_weight_changes_nothing() {
    let origins = named();
    let process = two(origins.each_ref(), "weighted-round-robin").start();
    for body in [
        "{ \"weight\": -1 }",
        "{ \"weight\": 1000001 }",
        "{ \"weight\": 1e30 }",
        "{ \"weight\": NaN }",
        "{ \"weight\": \"2\" }",
        "{}",
        "",
    ] {
        let response = weigh(&process, "a", body);
        assert_eq!(response.status, 400, "{body}");
        assert!(
            response.text().contains("0 (no new traffic) to 1000000"),
            "{body}"
        );
    }
    assert_eq!(weigh(&process, "nobody", "{ \"weight\": 2 }").status, 404);
    assert_eq!(backend(&process, "a")["weight"], 1);
    assert_eq!(
        get(process.listener("admin"), "/pools/p/backends/a/weight").status,
        405
    );

    let unweighted = two(origins.each_ref(), "round-robin").start();
    let refused = weigh(&unweighted, "a", "{ \"weight\": 2 }");
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("`round-robin` ignores weights"));
}

#[test]
fn names_in_the_path_are_decoded() {
    let origin = Origin::answering(Script::ok("a"));
    let mut config = Config::http(&[]);
    config.backends = vec![format!("{{ name: 'a b/%', address: '{}' }}", origin.addr())];
    let process = config.start();
    let admin = process.listener("admin");
    let drained = post(admin, "/pools/p/backends/a%20b%2F%25/drain");
    assert_eq!(drained.status, 200, "{}", drained.text());
    assert_eq!(json(&drained)["state"], "draining");
    assert_eq!(post(admin, "/pools/p/backends/a%20b%2F%/drain").status, 404);
}

/// Four requests on each.
fn ask_on(clients: &mut [RawClient]) {
    for client in clients {
        (0..4).for_each(|_| drop(get_on(client, "/")));
    }
}

#[test]
fn a_drained_backend_keeps_no_idle_connection() {
    let origins = named();
    let config = two(origins.each_ref(), "round-robin");
    let process = config.start();
    let mut clients: Vec<RawClient> = (0..4)
        .map(|_| RawClient::connect(process.listener("web")).unwrap())
        .collect();
    ask_on(&mut clients);
    assert!(origins.iter().all(|one| one.open_connections() > 0));
    let admin = process.listener("admin");
    assert_eq!(post(admin, "/pools/p/backends/a/drain").status, 200);
    origins[0].wait_for_open_connections(0);
    assert!(origins[1].open_connections() > 0, "the other keeps its own");

    assert_eq!(post(admin, "/pools/p/backends/a/enable").status, 200);
    ask_on(&mut clients);
    assert!(origins[0].open_connections() > 0, "they are kept again");
    let mut without = config;
    without.backends.remove(0);
    without.more.clear();
    reload(&process, &without);
    origins[0].wait_for_open_connections(0);
}

#[test]
fn a_connection_in_use_at_a_drained_backend_closes_with_its_answer() {
    let held = Held::start();
    let process = Config::http(&[held.origin.addr()]).start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    client
        .send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    held.wait_for(1);
    let drained = post(process.listener("admin"), "/pools/p/backends/a/drain");
    assert_eq!(json(&drained)["in_flight"], 1);
    assert_eq!(held.origin.open_connections(), 1);
    held.answer();
    assert_eq!(client.read_response().unwrap().text(), "/held");
    held.origin.wait_for_open_connections(0);
    wait_until(
        || backend(&process, "a")["in_flight"] == 0,
        "it has finished",
    );
}

/// So slow that nothing of it passes while a test runs.
fn slowly(origins: [&Origin; 2]) -> Config {
    Config::http(&origins.map(Origin::addr))
        .with_pool("load_balancer: { algorithm: round-robin, slow_start: 1000h }")
}

fn drain_and_enable(process: &Process, backend: &str) {
    for verb in ["drain", "enable"] {
        let path = format!("/pools/p/backends/{backend}/{verb}");
        assert_eq!(post(process.listener("admin"), &path).status, 200);
    }
}

#[test]
fn a_backend_that_is_enabled_or_new_begins_slowly() {
    let origins = named();
    let config = slowly(origins.each_ref());
    let mut alone = config.clone();
    alone.backends.remove(0);
    for way in ["enabled", "new"] {
        let process = if way == "new" { &alone } else { &config }.start();
        let web = process.listener("web");
        assert!(
            backend(&process, "b")["slow_start"].is_null(),
            "not at the start"
        );
        if way == "new" {
            reload(&process, &config);
        } else {
            assert_eq!(share_of_a(web, "/", 12), 6);
            drain_and_enable(&process, "a");
        }
        assert_eq!(backend(&process, "a")["slow_start"]["percent"], 10, "{way}");
        assert_eq!(backend(&process, "a")["state"], "pickable");
        // On average 18 of 200; half of them with a full share.
        let share = share_of_a(web, "/", 200);
        assert!((1..70).contains(&share), "{way}: {share}");
        let ratio = "balance_backend_slow_start_ratio{pool=\"p\",backend=\"a\"}";
        assert_eq!(metric(&process, ratio), 0.1);
        process.wait_for_stderr(|text| {
            let line = text
                .lines()
                .find(|line| line.contains("begins its slow start"));
            line.is_some_and(|line| line.contains(way) && line.contains("for_ms=3600000000"))
        });
    }
}

#[test]
fn when_all_begin_slowly_all_is_served() {
    let origins = named();
    let config = slowly(origins.each_ref());
    let process = config.start();
    drain_and_enable(&process, "a");
    drain_and_enable(&process, "b");
    let web = process.listener("web");
    let share = share_of_a(web, "/", 40);
    assert!((5..=35).contains(&share), "{share}");
    for _ in 0..20 {
        assert_eq!(get(web, "/").status, 200);
    }
    let mut at_once = config;
    at_once.pool = ", load_balancer: { algorithm: round-robin, slow_start: 1ms }".to_owned();
    reload(&process, &at_once);
    wait_until(
        || backend(&process, "a")["slow_start"].is_null(),
        "it has its full share",
    );
    assert_eq!(share_of_a(web, "/", 12), 6);
}
