//! Which connections live on, and what is repeated when one turns out to be dead.

use std::time::{Duration, Instant};

use balance_testkit::{Origin, OriginOptions, RawClient, Recorded, Script, pause};

use crate::proxy::{Proxy, get, post};
use crate::subject::{metric, wait_until};

/// Answers with the target.
fn target(request: &Recorded) -> Script {
    Script::ok(request.target.clone())
}

#[test]
fn many_requests_share_one_connection_on_each_side() {
    let origin = Origin::start(target);
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    for number in 0..20 {
        let path = format!("/{number}");
        let response = client.exchange(get(&path)).unwrap();
        assert_eq!(response.text(), path);
        assert!(response.keeps_alive());
    }
    // Another client, the same backend connection: it was idle.
    assert_eq!(proxy.get("/other").text(), "/other");
    assert_eq!(origin.connections(), 1);
    assert_eq!(origin.requests().len(), 21);
}

#[test]
fn each_concurrent_exchange_has_a_backend_connection_of_its_own() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/slow" => Script::ok("slow").delay(Duration::from_millis(200)),
        _ => Script::ok("fast"),
    });
    let proxy = Proxy::before(&origin);
    let mut slow = proxy.connect();
    slow.send(get("/slow")).unwrap();
    origin.wait_for(1);
    assert_eq!(proxy.get("/fast").text(), "fast");
    assert_eq!(slow.read_response().unwrap().text(), "slow");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_hundred_pipelined_requests_are_answered_in_order() {
    let origin = Origin::start(target);
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    let requests: String = (0..100).map(|number| get(&format!("/{number}"))).collect();
    client.send(requests).unwrap();
    for number in 0..100 {
        assert_eq!(client.read_response().unwrap().text(), format!("/{number}"));
    }
    let targets: Vec<_> = origin
        .requests()
        .iter()
        .map(|each| each.target.clone())
        .collect();
    assert_eq!(
        targets,
        (0..100)
            .map(|number| format!("/{number}"))
            .collect::<Vec<_>>()
    );
    assert_eq!(origin.connections(), 1);
}

#[test]
fn pipelined_bodies_are_told_apart() {
    let origin = Origin::answering(Script::echo());
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    let chunked =
        "POST /2 HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n";
    let requests = [
        post("/1", b"one"),
        chunked.into(),
        get("/3").into(),
        post("/4", &vec![b'4'; 300_000]),
        post("/5", b"five"),
    ];
    client.send(requests.concat()).unwrap();
    let bodies: Vec<_> = (0..5)
        .map(|_| client.read_response().unwrap().text())
        .collect();
    assert_eq!(bodies[..3], ["one", "two", ""]);
    assert_eq!(bodies[3].len(), 300_000);
    assert_eq!(bodies[4], "five");
}

#[test]
fn connection_close_of_the_client_ends_only_its_own_connection() {
    let origin = Origin::start(target);
    let proxy = Proxy::before(&origin);
    for _ in 0..3 {
        let mut client = proxy.connect();
        let request = "GET /x HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        let response = client.exchange(request).unwrap();
        assert_eq!(response.header("connection"), Some("close"));
        assert!(client.is_closed_by_peer());
    }
    assert_eq!(origin.connections(), 1);
    assert!(
        origin
            .requests()
            .iter()
            .all(|each| each.header("connection").is_none())
    );
}

#[test]
fn a_client_of_http_1_0_is_kept_only_when_it_asks() {
    let origin = Origin::start(target);
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    let response = client
        .exchange("GET /a HTTP/1.0\r\nHost: test\r\n\r\n")
        .unwrap();
    assert_eq!(
        (response.text().as_str(), response.keeps_alive()),
        ("/a", false)
    );
    assert!(client.is_closed_by_peer());

    let mut client = proxy.connect();
    let kept = "GET /b HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n";
    for _ in 0..3 {
        let response = client.exchange(kept).unwrap();
        // RFC 9112 §2.3: a server sends its own highest version; the field says what is kept.
        assert_eq!(response.header("connection"), Some("keep-alive"));
        assert_eq!(response.text(), "/b");
    }
    let versions = origin.requests();
    assert!(versions.iter().all(|each| each.version == "HTTP/1.1"));
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_backend_of_http_1_0_is_kept_only_when_it_says_so() {
    let answer = |connection: &str| {
        Script::raw(format!(
            "HTTP/1.0 200 OK\r\n{connection}Content-Length: 2\r\n\r\nhi"
        ))
    };
    let closes = Origin::answering(answer("").then_close());
    let proxy = Proxy::before(&closes);
    let mut client = proxy.connect();
    for _ in 0..3 {
        let response = client.exchange(get("/")).unwrap();
        assert_eq!(
            (response.text().as_str(), response.version.as_str()),
            ("hi", "HTTP/1.1")
        );
        assert!(response.keeps_alive(), "its connection is not the client's");
    }
    assert_eq!(closes.connections(), 3);

    let keeps = Origin::answering(answer("Connection: keep-alive\r\n"));
    let proxy = Proxy::before(&keeps);
    for _ in 0..3 {
        assert_eq!(proxy.get("/").text(), "hi");
    }
    assert_eq!(keeps.connections(), 1);
}

#[test]
fn a_backend_that_closes_its_idle_connections_costs_nothing() {
    let origin = Origin::start(target);
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    for number in 1..=10 {
        assert_eq!(client.exchange(get("/x")).unwrap().status, 200);
        assert_eq!(origin.connections(), number);
        origin.close_connections();
        origin.wait_for_open_connections(0);
    }
    assert_eq!(origin.requests().len(), 10);
}

/// A backend that answers one request per connection, then closes when the next one has come: the
/// request met a connection that was idle for too long.
fn stale() -> Origin {
    Origin::start(|request| match request.index {
        0 => Script::ok("fresh"),
        _ => Script::close(),
    })
}

#[test]
fn a_get_that_met_a_stale_connection_is_repeated_once() {
    let origin = stale();
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    for _ in 0..2 {
        assert_eq!(client.exchange(get("/")).unwrap().text(), "fresh");
    }
    let places: Vec<_> = origin
        .requests()
        .iter()
        .map(|each| (each.connection, each.index))
        .collect();
    assert_eq!(places, [(0, 0), (0, 1), (1, 0)]);
    let retries = metric(
        &proxy.process,
        "balance_backend_retries_total{pool=\"p\",backend=\"b0\"}",
    );
    assert_eq!(retries, 1.0);
}

#[test]
fn a_put_with_a_body_is_not_repeated_when_its_bytes_were_sent() {
    let origin = stale();
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    assert_eq!(client.exchange(get("/")).unwrap().status, 200);
    let put = "PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc";
    let response = client.exchange(put).unwrap();
    assert_eq!(response.status, 502);
    assert_eq!(
        origin.requests().len(),
        2,
        "nothing keeps a body to send it again"
    );
}

#[test]
fn a_post_that_was_sent_is_never_repeated() {
    for body in [&b"abc"[..], b""] {
        let origin = stale();
        let proxy = Proxy::before(&origin);
        let mut client = proxy.connect();
        assert_eq!(client.exchange(get("/")).unwrap().status, 200);
        let response = client.exchange(post("/", body)).unwrap();
        assert_eq!(response.status, 502);
        let error = response.header("proxy-status");
        assert_eq!(error, Some("balance; error=connection_terminated"));
        let posts = origin.requests();
        assert_eq!(posts.iter().filter(|each| each.method == "POST").count(), 1);
        proxy.wait_for_cause("connection_terminated", 1);
    }
}

#[test]
fn a_fresh_connection_that_closes_is_an_answer() {
    let closes = Origin::answering(Script::close());
    let proxy = Proxy::before(&closes);
    assert_eq!(proxy.get("/").status, 502);
    assert_eq!(closes.requests().len(), 1);
    proxy.wait_for_cause("connection_terminated", 1);
}

#[test]
fn an_announced_idle_time_is_honoured_with_a_second_to_spare() {
    let origin = Origin::start(|request| {
        let seconds = request.target.trim_start_matches('/');
        Script::ok("").header("Keep-Alive", &format!("timeout={seconds}"))
    });
    let proxy = Proxy::before(&origin);
    let last_connection = || origin.requests().last().unwrap().connection;
    // Of one second nothing is left.
    proxy.get("/1");
    proxy.get("/2");
    assert_eq!(last_connection(), 1);
    let kept_since = Instant::now();
    proxy.get("/2");
    let was_slow = kept_since.elapsed() > Duration::from_millis(900);
    assert!(
        was_slow || last_connection() == 1,
        "two seconds: used again at once"
    );
    let before = last_connection();
    // The time itself is what is tested: from one second on it may be closed by the backend.
    pause(Duration::from_millis(1100));
    proxy.get("/2");
    assert_eq!(last_connection(), before + 1);
}

#[test]
fn idle_connections_are_closed_after_their_time() {
    let origin = Origin::start(target);
    let proxy = Proxy::over(&[origin.addr()], "http: { idle_conn_timeout: 200ms }");
    assert_eq!(proxy.get("/").status, 200);
    origin.wait_for_open_connections(0);
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(origin.connections(), 2);
}

#[test]
fn no_more_idle_connections_are_kept_than_allowed() {
    let origin = Origin::answering(Script::ok("").delay(Duration::from_millis(100)));
    let proxy = Proxy::over(&[origin.addr()], "http: { max_idle_conns_per_host: 2 }");
    let mut clients: Vec<RawClient> = (0..5).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send(get("/")).unwrap();
    }
    origin.wait_for_connections(5);
    for client in &mut clients {
        assert_eq!(client.read_response().unwrap().status, 200);
    }
    origin.wait_for_open_connections(2);
}

#[test]
fn a_client_that_leaves_between_requests_is_no_error() {
    let origin = Origin::with_options(OriginOptions::default(), target);
    let proxy = Proxy::before(&origin);
    for _ in 0..5 {
        assert_eq!(proxy.get("/").status, 200);
    }
    let active = "balance_active_connections{listener=\"web\"}";
    wait_until(
        || metric(&proxy.process, active) == 0.0,
        "no connection is open",
    );
    proxy.wait_for_cause("completed", 5);
    assert_eq!(proxy.cause("client_closed"), 0.0);
}
