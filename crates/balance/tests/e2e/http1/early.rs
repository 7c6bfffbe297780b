//! Responses that come before the request has ended: 100 and other interim ones, refusals of a body, and
//! answers while a body is in flight.

use balance_testkit::{Origin, RawClient, Script, StrictError};

use crate::proxy::{Proxy, get};

const EXPECTING: &str =
    "PUT /x HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

#[test]
fn the_100_of_the_backend_is_relayed() {
    let origin = Origin::answering(Script::echo());
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    for _ in 0..2 {
        client.send(EXPECTING).unwrap();
        assert_eq!(client.read_any_response(false).unwrap().status, 100);
        client.send("hello").unwrap();
        let response = client.read_response().unwrap();
        assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_final_answer_instead_of_100_stops_the_upload() {
    let origin = Origin::answering(Script::status(401).body("who are you").early_and_unread());
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    client.send(EXPECTING).unwrap();
    let response = client.read_response().unwrap();
    assert_eq!(
        (response.status, response.text().as_str()),
        (401, "who are you")
    );
    assert!(response.interim.is_empty());
    // Nobody can know whether the body still comes, so neither connection can carry another request.
    assert!(!response.keeps_alive());
    assert!(client.is_closed_by_peer());
    origin.wait_for_open_connections(0);
    assert!(origin.requests()[0].body.is_empty());
}

#[test]
fn who_does_not_wait_for_100_is_served_too() {
    let origin = Origin::answering(Script::echo().without_continue());
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    client.send(format!("{EXPECTING}hello")).unwrap();
    assert_eq!(client.read_response().unwrap().text(), "hello");
    assert!(client.exchange(get("/")).is_ok());
}

#[test]
fn interim_responses_are_bounded() {
    let flood = |count: usize| {
        let hint = &[("Link", "</style.css>; rel=preload")];
        (0..count).fold(Script::ok("done"), |script, _| script.interim(103, hint))
    };
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/8" => flood(8),
        _ => flood(9),
    });
    let proxy = Proxy::before(&origin);
    let response = proxy.get("/8");
    assert_eq!((response.status, response.interim), (200, vec![103; 8]));
    let response = proxy.get("/9");
    assert_eq!(response.status, 502);
    let error = response.header("proxy-status");
    assert_eq!(error, Some("balance; error=http_protocol_error"));
    proxy.wait_for_cause("http_protocol_error", 1);

    let old = proxy.exchange("GET /8 HTTP/1.0\r\nHost: test\r\n\r\n");
    assert_eq!((old.status, old.interim), (200, vec![]));
}

/// The client is in the middle of a body when the backend refuses it and closes.
fn check_refusal_in_flight(script: Script, sent_bytes: usize) {
    let origin = Origin::answering(script);
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000000\r\n\r\n")
        .unwrap();
    // The rest of what it sends may meet a closed connection, as any client must expect.
    let block = vec![b'x'; 16 << 10];
    for _ in 0..sent_bytes / block.len() {
        if client.send(&block).is_err() {
            break;
        }
    }
    let response = client.read_response().unwrap();
    assert_eq!((response.status, response.body.len()), (413, 50_000));
    assert!(!response.keeps_alive());
    proxy.wait_for_cause("completed", 1);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn an_early_refusal_reaches_a_client_that_is_still_sending() {
    let refusal = Script::status(413).body(vec![b'n'; 50_000]);
    for sent_bytes in [0, 128 << 10, 4 << 20] {
        check_refusal_in_flight(refusal.clone().early_and_unread().then_close(), sent_bytes);
        check_refusal_in_flight(refusal.clone().early_and_unread().then_hang(), sent_bytes);
        check_refusal_in_flight(refusal.clone().early(), sent_bytes);
    }
}

#[test]
fn what_a_client_still_sends_after_an_early_answer_resets_nothing() {
    let origin = Origin::answering(Script::status(403).body("no").early_and_unread());
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 200000\r\n\r\n")
        .unwrap();
    assert_eq!(client.read_response().unwrap().status, 403);
    // Within `lingering_bytes_max` all of it is taken, and the end is a FIN.
    client.send(vec![b'x'; 200_000]).unwrap();
    assert_eq!(client.read_to_end(), Ok(vec![]));
}

#[test]
fn nothing_is_read_as_a_request_after_an_early_answer() {
    let origin = Origin::answering(Script::status(403).body("no").early_and_unread());
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    let smuggled = get("/smuggled");
    let length = smuggled.len();
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"
        ))
        .unwrap();
    assert_eq!(client.read_response().unwrap().status, 403);
    client.send(smuggled).unwrap();
    expect_end(&mut client);
    assert_eq!(origin.requests().len(), 1);
}

fn expect_end(client: &mut RawClient) {
    let rest = client.read_to_end();
    assert!(matches!(&rest, Ok(bytes) if bytes.is_empty()) || rest == Err(StrictError::Reset));
}
