//! Upgrades, and what must not pass as one.

use balance_testkit::{Origin, RawClient, Response, Script, StrictError, at_some_pace, pause};

use crate::proxy::{Proxy, get};
use crate::subject::{metric, wait_until};

const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A masked text frame (RFC 6455 §5.2) and what an echoing server makes of it is up to the server: the
/// proxy passes bytes.
const FRAME: &[u8] = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";

fn origin() -> Origin {
    Origin::start(|request| match request.target.as_str() {
        "/chat" => Script::upgrade("websocket")
            .header("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "/plain" => Script::ok("no upgrade here"),
        _ => Script::ok("here"),
    })
}

fn switch(client: &mut RawClient) -> Response {
    let response = client.exchange(HANDSHAKE).unwrap();
    assert_eq!(response.status, 101);
    response
}

#[test]
fn a_websocket_passes_both_ways_until_both_have_ended() {
    let origin = origin();
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    let response = switch(&mut client);
    assert_eq!(response.headers("connection"), ["Upgrade"]);
    assert_eq!(response.headers("upgrade"), ["websocket"]);
    assert_eq!(
        response.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    let request = &origin.requests()[0];
    assert_eq!(request.headers("connection"), ["Upgrade"]);
    assert_eq!(request.headers("upgrade"), ["websocket"]);
    assert_eq!(request.header("sec-websocket-version"), Some("13"));
    assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));

    for _ in 0..3 {
        client.send(FRAME).unwrap();
        assert_eq!(client.read_exact(FRAME.len()).unwrap(), FRAME);
    }
    let large: Vec<u8> = (0..2_000_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    let mut sender = client.stream().try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| std::io::Write::write_all(&mut sender, &large).unwrap());
        assert!(client.read_exact(large.len()).unwrap() == large);
    });
    client.half_close().unwrap();
    assert_eq!(client.read_to_end(), Ok(vec![]));
    origin.wait_for_open_connections(0);
    proxy.wait_for_cause("completed", 1);
    let sample = "balance_http_requests_total{listener=\"web\",route=\"\",pool=\"p\",method=\"GET\",status=\"101\"}";
    assert_eq!(metric(&proxy.process, sample), 1.0);
}

#[test]
fn bytes_behind_the_handshake_wait_for_the_101() {
    let origin = origin();
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    client.send([HANDSHAKE.as_bytes(), FRAME].concat()).unwrap();
    assert_eq!(client.read_response().unwrap().status, 101);
    assert_eq!(client.read_exact(FRAME.len()).unwrap(), FRAME);
    assert_eq!(origin.tunnelled(0), FRAME);
    assert!(origin.requests()[0].raw.ends_with(b"\r\n\r\n"));

    // Without a 101 they are the next request, not a tunnel.
    let mut client = proxy.connect();
    let smuggled = HANDSHAKE.replace("/chat", "/plain") + &get("/next");
    client.send(smuggled).unwrap();
    assert_eq!(client.read_response().unwrap().text(), "no upgrade here");
    assert_eq!(client.read_response().unwrap().text(), "here");
}

#[test]
fn the_first_bytes_of_the_backend_follow_its_101() {
    let first = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hi";
    let origin = Origin::answering(Script::raw(first.to_vec()).then_tunnel());
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    switch(&mut client);
    assert_eq!(client.read_exact(4).unwrap(), b"\x81\x02hi");
    client.send("back").unwrap();
    assert_eq!(client.read_exact(4).unwrap(), b"back");
}

#[test]
fn an_end_on_either_side_reaches_the_other() {
    let origin = origin();
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    switch(&mut client);
    client.send(FRAME).unwrap();
    client.read_exact(FRAME.len()).unwrap();
    client.reset().unwrap();
    origin.wait_for_open_connections(0);

    let mut client = proxy.connect();
    switch(&mut client);
    client.send(FRAME).unwrap();
    client.read_exact(FRAME.len()).unwrap();
    origin.close_connections();
    let end = client.read_to_end();
    assert!(
        end == Ok(vec![]) || end == Err(StrictError::Reset),
        "{end:?}"
    );
}

#[test]
fn a_tunnel_that_is_silent_for_too_long_ends() {
    at_some_pace(|pace| {
        let origin = origin();
        // Neither of the others may end it sooner.
        let proxy = Proxy::over(
            &[origin.addr()],
            &format!(
                "timeouts: {{ tunnel: {:?}, read: {1:?}, idle: {1:?}, first_byte: 1h }}",
                pace.ms(800),
                pace.ms(100),
            ),
        );
        let mut client = proxy.connect();
        switch(&mut client);
        for _ in 0..4 {
            pause(pace.ms(300));
            client.send(FRAME).unwrap();
            assert_eq!(client.read_exact(FRAME.len()).unwrap(), FRAME);
        }
        assert!(client.is_closed_by_peer());
        origin.wait_for_open_connections(0);
    });
}

#[test]
fn a_101_that_nobody_asked_for_is_502() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/good" => Script::ok("good"),
        "/other" => Script::upgrade("tls"),
        _ => Script::upgrade("websocket"),
    });
    let proxy = Proxy::before(&origin);
    let h2c = "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    let other = HANDSHAKE.replace("/chat", "/other");
    for (request, error) in [
        (get("/").as_str(), "http_protocol_error"),
        (h2c, "http_protocol_error"),
        (&other, "http_upgrade_failed"),
    ] {
        let mut client = proxy.connect();
        let response = client.exchange(request).unwrap();
        assert_eq!(response.status, 502, "{request}");
        let expected = format!("balance; error={error}");
        assert_eq!(response.header("proxy-status"), Some(expected.as_str()));
        // What follows is a request, answered over another backend connection.
        client.send(get("/good")).unwrap();
        assert_eq!(client.read_response().unwrap().text(), "good");
    }
    origin.wait_for_open_connections(1);
    assert!((0..origin.connections()).all(|number| origin.tunnelled(number).is_empty()));
}

#[test]
fn protocols_that_hide_requests_are_not_offered_to_a_backend() {
    let origin = origin();
    let proxy = Proxy::before(&origin);
    for protocol in [
        "h2c",
        "H2C",
        "websocket, h2c",
        "h2",
        "HTTP/2.0",
        "websocket, TLS/1.0",
    ] {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
        );
        assert_eq!(proxy.exchange(request).text(), "here");
        let seen = origin.requests().pop().unwrap();
        for name in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(seen.header(name), None, "{protocol}");
        }
    }
}

#[test]
fn without_websockets_the_offer_does_not_pass() {
    let origin = Origin::start(|request| match request.header("upgrade") {
        Some(_) => Script::upgrade("websocket"),
        None => Script::status(426).body("upgrade required"),
    });
    let proxy = Proxy::over(&[origin.addr()], "http: { enable_websocket: false }");
    let mut client = proxy.connect();
    let response = client.exchange(HANDSHAKE).unwrap();
    assert_eq!(response.status, 426);
    assert!(response.keeps_alive());
}

#[test]
fn a_refused_upgrade_leaves_an_ordinary_connection() {
    let origin = origin();
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    for _ in 0..3 {
        let response = client
            .exchange(HANDSHAKE.replace("/chat", "/plain"))
            .unwrap();
        assert_eq!((response.status, response.keeps_alive()), (200, true));
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_tunnel_counts_as_a_connection_in_use() {
    let origin = origin();
    let proxy = Proxy::start(&format!(
        "{}listeners:\n- {{ name: web, listen: '127.0.0.1:0', mode: http, pool: p }}\n\
         pools: {{ p: {{ backends: [ {{ address: '{}', max_connections: 1 }} ] }} }}\n",
        crate::proxy::BASE,
        origin.addr()
    ));
    let mut client = proxy.connect();
    switch(&mut client);
    assert_eq!(proxy.get("/").status, 503);
    client.half_close().unwrap();
    assert!(client.is_closed_by_peer());
    wait_until(|| proxy.get("/").status == 200, "the place is free");
}
