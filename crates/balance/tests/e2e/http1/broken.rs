//! Backends that break off, refuse, or never end a head: what the client sees, and what is counted.

use std::net::{SocketAddr, TcpListener};

use balance_testkit::{OnConnect, Origin, OriginOptions, RawClient, Script, StrictError};

use crate::proxy::{Proxy, get};
use crate::subject::metric;

/// A 200 that breaks off in its body.
fn broken(target: &str) -> Script {
    let body = vec![b'x'; 10_000];
    let script = match target {
        "/length" => Script::ok(body),
        "/chunks" => Script::status(200).chunked(&[&body, b"rest"]),
        _ => Script::status(200).until_close(body),
    };
    script.reset_after_bytes(5_000)
}

fn check_broken(request: &str, expected: &[StrictError]) {
    let origin = Origin::start(|request| broken(&request.target));
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    client.send(request).unwrap();
    let error = client.read_response().unwrap_err();
    assert!(expected.contains(&error), "{request:?}: {error}");
    proxy.wait_for_cause("http_response_incomplete", 1);
    assert_eq!(proxy.cause("completed"), 0.0);
}

#[test]
fn a_broken_response_never_looks_complete() {
    let truncated = [StrictError::Truncated, StrictError::Reset];
    for path in ["/length", "/chunks", "/close"] {
        check_broken(&get(path), &truncated);
    }
    let old = |path| format!("GET {path} HTTP/1.0\r\nHost: test\r\n\r\n");
    check_broken(&old("/length"), &truncated);
    // Only a reset tells it apart from the end of the body.
    check_broken(&old("/chunks"), &[StrictError::Reset]);
    check_broken(&old("/close"), &[StrictError::Reset]);
}

#[test]
fn chunks_that_just_stop_are_a_broken_response() {
    let origin = Origin::answering(
        Script::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            .then_close(),
    );
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    client.send(get("/")).unwrap();
    assert_eq!(client.read_response().unwrap_err(), StrictError::Truncated);
    let mut old = proxy.connect();
    old.send("GET / HTTP/1.0\r\nHost: test\r\n\r\n").unwrap();
    assert_eq!(old.read_response().unwrap_err(), StrictError::Reset);
}

/// The client's own connection lives on after each.
fn check_502(script: Script, error: &str) {
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/good" => Script::ok("good"),
        _ => script.clone(),
    });
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    let response = client.exchange(get("/")).unwrap();
    assert_eq!(response.status, 502, "{error}");
    let expected = format!("balance; error={error}");
    assert_eq!(response.header("proxy-status"), Some(expected.as_str()));
    assert!(!response.text().contains("127.0.0.1"), "no backend address");
    assert_eq!(client.exchange(get("/good")).unwrap().text(), "good");
    proxy.wait_for_cause(error, 1);
}

#[test]
fn what_is_no_response_becomes_502() {
    let endless = [
        &b"HTTP/1.1 200 OK\r\n"[..],
        &b"X-Filler: y\r\n".repeat(10_000),
    ]
    .concat();
    check_502(Script::raw(endless).then_hang(), "http_protocol_error");
    let long_line = [&b"HTTP/1.1 200 OK\r\nX: "[..], &[b'y'; 200_000]].concat();
    check_502(Script::raw(long_line).then_hang(), "http_protocol_error");
    check_502(
        Script::raw("SSH-2.0-OpenSSH_9.9\r\n").then_hang(),
        "http_protocol_error",
    );
    check_502(
        Script::raw(vec![0; 100_000]).then_hang(),
        "http_protocol_error",
    );
    check_502(Script::close(), "connection_terminated");
    check_502(Script::reset(), "connection_terminated");
    check_502(
        Script::raw("HTTP/1.1 200 OK\r\nContent-Le").then_close(),
        "http_response_incomplete",
    );
}

#[test]
fn bytes_that_nobody_asked_for_reach_no_client() {
    let banner = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil".to_vec();
    let origin = Origin::start(|request| match request.target.as_str() {
        "/extra" => Script::raw(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        ),
        _ => Script::ok("good"),
    });
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    client.send([get("/extra"), get("/good")].concat()).unwrap();
    assert_eq!(client.read_response().unwrap().text(), "hi");
    assert_eq!(client.read_response().unwrap().text(), "good");
    assert_eq!(
        origin.connections(),
        2,
        "the connection with extra bytes is discarded"
    );

    // A backend that speaks first and closes is broken, and says so to one client only.
    let options = OriginOptions {
        on_connect: OnConnect::SendFirst(b"220 smtp ready\r\n".to_vec()),
        ..OriginOptions::default()
    };
    let speaks_first = Origin::with_options(options, move |_| Script::raw(banner.clone()));
    let proxy = Proxy::before(&speaks_first);
    for _ in 0..2 {
        assert_eq!(proxy.get("/").status, 502);
    }
}

/// An address that refuses connections: it was free a moment ago, and is not handed out again soon.
fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn a_backend_that_refuses_hands_over_to_the_next() {
    let origin = Origin::answering(Script::ok("alive"));
    let proxy = Proxy::over(&[refusing(), origin.addr()], "");
    for _ in 0..6 {
        // Nothing was sent, so any method may go elsewhere.
        let request = crate::proxy::post("/", b"body");
        assert_eq!(proxy.exchange(request).text(), "alive");
    }
    let failures = "balance_backend_connect_failures_total{pool=\"p\",backend=\"b0\"}";
    let failed = metric(&proxy.process, failures);
    assert!(
        (1.0..6.0).contains(&failed),
        "{failed}: it rests after a failure"
    );
    proxy.wait_for_cause("completed", 6);
}

#[test]
fn when_all_refuse_the_client_is_told() {
    let proxy = Proxy::over(&[refusing(), refusing()], "");
    let mut client = proxy.connect();
    let response = client.exchange(get("/")).unwrap();
    assert_eq!(response.status, 502);
    let error = response.header("proxy-status");
    assert_eq!(error, Some("balance; error=connection_refused"));
    assert!(response.keeps_alive());
    check_closes_or_serves(&mut client);
}

fn check_closes_or_serves(client: &mut RawClient) {
    let status = client.exchange(get("/")).unwrap().status;
    assert!([502, 503].contains(&status), "{status}");
}
