//! Every limit, at its edge: what is just allowed passes, one more is refused.

use std::net::IpAddr;
use std::time::Duration;

use balance_testkit::{Origin, RawClient, Recorded, Script, StrictError};

use crate::proxy::{Proxy, get, post};
use crate::subject::{unless_reset, wait_until};

fn origin() -> Origin {
    Origin::start(|request: &Recorded| match request.target.as_str() {
        "/hold" => Script::never(),
        _ => Script::ok("here"),
    })
}

/// `allowed` passes and `refused` gets this status and the cause. What follows it is answered, or the
/// connection is closed.
fn check_edge(limits: &str, allowed: &[u8], refused: &[u8], status: u16, cause: &str) {
    let origin = origin();
    let proxy = Proxy::over(&[origin.addr()], limits);
    let mut client = proxy.connect();
    let response = client.exchange(allowed).unwrap();
    assert_eq!(response.status, 200, "{limits}: {}", response.text());
    client
        .send([refused, get("/next").as_bytes()].concat())
        .unwrap();
    let response = client.read_response().unwrap();
    assert_eq!(response.status, status, "{limits}");
    assert!(response.header("proxy-status").unwrap().contains(cause));
    let seen = vec!["/next"; usize::from(response.keeps_alive())];
    if response.keeps_alive() {
        assert_eq!(client.read_response().unwrap().text(), "here");
    } else {
        assert!(client.is_closed_by_peer());
    }
    proxy.wait_for_cause(cause, 1);
    let requests = origin.requests();
    let complete = requests[1..].iter().filter(|each| each.is_complete);
    let complete: Vec<_> = complete.map(|each| each.target.as_str()).collect();
    assert_eq!(complete, seen, "{limits}: only what is allowed");
}

/// A head of exactly so many bytes.
fn head_of(bytes: usize) -> Vec<u8> {
    let start = "GET / HTTP/1.1\r\nHost: test\r\nX: ";
    let filler = "x".repeat(bytes - start.len() - 4);
    format!("{start}{filler}\r\n\r\n").into_bytes()
}

/// A head with exactly so many fields.
fn fields_of(count: usize) -> Vec<u8> {
    let fields: String = (1..count)
        .map(|number| format!("X-{number}: y\r\n"))
        .collect();
    format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n").into_bytes()
}

fn target_of(bytes: usize) -> Vec<u8> {
    get(&format!("/{}", "x".repeat(bytes - 1))).into_bytes()
}

fn chunked_of(bytes: usize) -> Vec<u8> {
    let head = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    // Several chunks: each is small enough, only their sum may be too much.
    let part = bytes / 2;
    let rest = bytes - part;
    let (first, second) = ("x".repeat(part), "y".repeat(rest));
    format!("{head}{part:x}\r\n{first}\r\n{rest:x}\r\n{second}\r\n0\r\n\r\n").into_bytes()
}

#[test]
fn head_bytes() {
    let limits = "limits: { head_bytes_max: 2000 }";
    check_edge(
        limits,
        &head_of(2000),
        &head_of(2001),
        431,
        "request_too_large",
    );
    // The default, and a head that never ends.
    check_edge(
        "",
        &head_of(65_536),
        &head_of(65_537),
        431,
        "request_too_large",
    );
    let endless = [&b"GET / HTTP/1.1\r\nHost: test\r\nX: "[..], &[b'x'; 3000]].concat();
    check_edge(limits, &head_of(1999), &endless, 431, "request_too_large");
}

#[test]
fn fields() {
    let limits = "limits: { fields_max: 10 }";
    check_edge(
        limits,
        &fields_of(10),
        &fields_of(11),
        431,
        "request_too_large",
    );
    check_edge(
        "",
        &fields_of(100),
        &fields_of(101),
        431,
        "request_too_large",
    );
}

#[test]
fn target() {
    let limits = "limits: { target_bytes_max: 100 }";
    check_edge(
        limits,
        &target_of(100),
        &target_of(101),
        414,
        "request_too_large",
    );
    check_edge(
        "",
        &target_of(16_384),
        &target_of(16_385),
        414,
        "request_too_large",
    );
}

#[test]
fn body_bytes() {
    let limits = "limits: { body_bytes_max: 1000 }";
    let with_length = |bytes: usize| post("/", &vec![b'x'; bytes]);
    check_edge(
        limits,
        &with_length(1000),
        &with_length(1001),
        413,
        "request_too_large",
    );
    check_edge(
        limits,
        &chunked_of(1000),
        &chunked_of(1001),
        413,
        "request_too_large",
    );
    let by_length = check_announced_only;
    by_length("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1001\r\n\r\n");
    by_length(
        "POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n",
    );
}

/// A body that is announced as too large is refused before any of it comes.
fn check_announced_only(head: &str) {
    let origin = origin();
    let proxy = Proxy::over(&[origin.addr()], "limits: { body_bytes_max: 1000 }");
    let response = proxy.exchange(head);
    assert_eq!((response.status, response.interim), (413, vec![]));
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_chunk_that_announces_too_much_ends_before_it_has_come() {
    let origin = origin();
    let proxy = Proxy::over(&[origin.addr()], "limits: { body_bytes_max: 1000 }");
    let mut client = proxy.connect();
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    let chunk = format!("200\r\n{}\r\n", "x".repeat(512));
    for _ in 0..2 {
        client.send(&chunk).unwrap();
    }
    assert_eq!(client.read_response().unwrap().status, 413);
    assert!(origin.requests().iter().all(|each| !each.is_complete));
}

#[test]
fn connections_of_the_process_wait_for_a_place() {
    let origin = origin();
    let proxy = Proxy::over(&[origin.addr()], "limits: { connections_max: 3 }");
    let mut clients: Vec<RawClient> = (0..3).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.exchange(get("/")).unwrap().status, 200);
    }
    let mut waiting = proxy.connect();
    waiting.send(get("/waiting")).unwrap();
    waiting
        .set_read_timeout(Duration::from_millis(150))
        .unwrap();
    assert_eq!(waiting.read_response().unwrap_err(), StrictError::TimedOut);
    // Those that have a place are served meanwhile.
    for client in &mut clients {
        assert_eq!(client.exchange(get("/")).unwrap().status, 200);
    }
    assert!(origin.requests().iter().all(|each| each.target == "/"));
    clients.pop();
    waiting.set_read_timeout(balance_testkit::PATIENCE).unwrap();
    assert_eq!(waiting.read_response().unwrap().status, 200);
}

#[test]
fn connections_of_one_address() {
    let origin = origin();
    let proxy = Proxy::over(&[origin.addr()], "limits: { connections_per_ip_max: 2 }");
    let mut clients: Vec<RawClient> = (0..2).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.exchange(get("/")).unwrap().status, 200);
    }
    if let Some(mut third) = unless_reset(RawClient::connect(proxy.web())) {
        // The request may meet the reset already.
        let _ = third.send(get("/third"));
        assert_eq!(third.read_response().unwrap_err(), StrictError::Reset);
    }
    let other: IpAddr = [127, 0, 0, 2].into();
    let mut other = RawClient::connect_from(other, proxy.web()).unwrap();
    assert_eq!(other.exchange(get("/")).unwrap().status, 200);
    // A place that becomes free can be taken.
    clients.pop();
    let is_served = || {
        let client = unless_reset(RawClient::connect(proxy.web()));
        client.is_some_and(|mut client| client.exchange(get("/")).is_ok())
    };
    wait_until(is_served, "there is a place again");
    assert!(origin.requests().iter().all(|each| each.target == "/"));
}

#[test]
fn connections_of_a_backend() {
    const MAX: usize = 5;
    let origin = origin();
    let config = format!(
        "{}listeners:\n- {{ name: web, listen: '127.0.0.1:0', mode: http, pool: p }}\n\
         pools: {{ p: {{ backends: [ {{ name: b0, address: '{}', max_connections: {MAX} }} ] }} }}\n",
        crate::proxy::BASE,
        origin.addr()
    );
    // Two workers: the limit is one for the process.
    let proxy = Proxy::start(&config.replace("worker_threads: 1", "worker_threads: 2"));
    let mut holding: Vec<RawClient> = Vec::new();
    for number in 1..=MAX {
        let mut client = proxy.connect();
        client.send(get("/hold")).unwrap();
        origin.wait_for(number);
        holding.push(client);
    }
    let mut client = proxy.connect();
    for _ in 0..3 {
        let response = client.exchange(get("/more")).unwrap();
        assert_eq!(response.status, 503);
        let error = response.header("proxy-status");
        assert_eq!(error, Some("balance; error=connection_limit_reached"));
        assert!(response.header("retry-after").is_some());
        assert!(response.keeps_alive());
    }
    proxy.wait_for_cause("connection_limit_reached", 3);
    assert_eq!(origin.requests().len(), MAX);
    holding.pop().unwrap().reset().unwrap();
    proxy.wait_for_cause("client_closed", 1);
    assert_eq!(client.exchange(get("/more")).unwrap().text(), "here");
    // Idle connections are not in use: they do not count.
    for _ in 0..10 {
        assert_eq!(client.exchange(get("/more")).unwrap().text(), "here");
    }
}

#[test]
fn a_full_backend_hands_over_to_the_next() {
    let (full, free) = (origin(), origin());
    let config = format!(
        "{}listeners:\n- {{ name: web, listen: '127.0.0.1:0', mode: http, pool: p }}\n\
         pools: {{ p: {{ backends: [ {{ name: b0, address: '{}', max_connections: 1 }}, '{}' ] }} }}\n",
        crate::proxy::BASE,
        full.addr(),
        free.addr()
    );
    let proxy = Proxy::start(&config);
    let mut holding = Vec::new();
    while full.requests().is_empty() {
        let mut client = proxy.connect();
        client.send(get("/hold")).unwrap();
        let held = || full.requests().len() + free.requests().len();
        wait_until(|| held() > holding.len(), "a backend has it");
        holding.push(client);
    }
    for _ in 0..6 {
        assert_eq!(proxy.get("/").text(), "here");
    }
    assert_eq!(full.requests().len(), 1);
}
