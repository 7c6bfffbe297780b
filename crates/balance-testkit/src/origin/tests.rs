use std::time::{Duration, Instant};

use super::{OnConnect, Origin, OriginOptions, Script};
use crate::strict::{Framing, StrictError};
use crate::{RawClient, at_every_split};

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

fn connect(origin: &Origin) -> RawClient {
    RawClient::connect(origin.addr()).unwrap()
}

#[test]
fn records_exact_bytes_and_keeps_the_connection() {
    let origin = Origin::start(|request| Script::ok(request.target.clone()));
    let mut client = connect(&origin);
    assert_eq!(client.exchange(GET).unwrap().text(), "/a");
    let post = "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nT: x\r\n\r\n";
    assert_eq!(client.exchange(post).unwrap().text(), "/b");
    let requests = origin.wait_for(2);
    assert_eq!(requests[0].raw, GET.as_bytes());
    assert_eq!(requests[1].raw, post.as_bytes());
    assert_eq!(requests[1].text(), "hi");
    assert_eq!(requests[1].trailers[0].name, "T");
    assert_eq!((requests[1].connection, requests[1].index), (0, 1));
    assert_eq!(origin.connections(), 1);
}

#[test]
fn requests_may_come_in_any_pieces() {
    let origin = Origin::answering(Script::echo());
    at_every_split(
        b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nxy",
        |parts| {
            let mut client = connect(&origin);
            client.send_parts(&parts).unwrap();
            assert_eq!(client.read_response().unwrap().text(), "xy");
        },
    );
    assert!(origin.violations().is_empty());
}

#[test]
fn refuses_and_records_what_is_not_strict() {
    let origin = Origin::answering(Script::ok("never"));
    for request in [
        "GET / HTTP/1.1\n\n",
        "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        assert_eq!(
            connect(&origin).exchange(request).unwrap().status,
            400,
            "{request:?}"
        );
    }
    assert_eq!(origin.violations().len(), 5);
}

#[test]
fn framings_and_interim_responses() {
    let origin = Origin::sequence(vec![
        Script::status(200)
            .interim(103, &[("Link", "x")])
            .chunked(&[b"ab", b"c"]),
        Script::status(304).header("Content-Length", "5"),
        Script::status(200).until_close("rest"),
    ]);
    let mut client = connect(&origin);
    let first = client.exchange(GET).unwrap();
    assert_eq!(
        (first.framing, first.text(), first.interim),
        (Framing::Chunked, "abc".into(), vec![103])
    );
    assert_eq!(client.exchange(GET).unwrap().framing, Framing::None);
    let last = client.exchange(GET).unwrap();
    assert_eq!(
        (last.framing, last.text()),
        (Framing::UntilClose, "rest".into())
    );
}

#[test]
fn head_gets_the_head_only() {
    let origin = Origin::answering(Script::ok("body"));
    let mut client = connect(&origin);
    let response = client
        .exchange("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    assert_eq!(response.header("content-length"), Some("4"));
    assert_eq!(client.exchange(GET).unwrap().text(), "body");
}

#[test]
fn misbehaves_as_told() {
    let check = |script: Script, expected: StrictError| {
        let origin = Origin::answering(script);
        assert_eq!(connect(&origin).exchange(GET).unwrap_err(), expected);
    };
    check(Script::close(), StrictError::Closed);
    check(Script::reset(), StrictError::Reset);
    check(
        Script::ok("body").close_after_bytes(46),
        StrictError::Truncated,
    );
    check(
        Script::ok("x".repeat(100)).close_after_bytes(90),
        StrictError::Truncated,
    );
    check(
        Script::ok("x".repeat(100)).reset_after_bytes(90),
        StrictError::Reset,
    );

    let origin = Origin::answering(Script::never());
    let mut client = connect(&origin);
    client.set_read_timeout(Duration::from_millis(50)).unwrap();
    assert_eq!(client.exchange(GET).unwrap_err(), StrictError::TimedOut);
    assert_eq!(origin.open_connections(), 1);
    drop(client);
    origin.wait_for_open_connections(0);
}

#[test]
fn answers_early_and_expects_continue() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/early" => Script::status(413).early(),
        _ => Script::echo(),
    });
    let mut client = connect(&origin);
    client
        .send("PUT /early HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n")
        .unwrap();
    assert_eq!(client.read_response().unwrap().status, 413);
    client.send("hi").unwrap();
    client
        .send("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    assert_eq!(client.read_any_response(false).unwrap().status, 100);
    client.send("yo").unwrap();
    assert_eq!(client.read_response().unwrap().text(), "yo");
    assert_eq!(origin.wait_for(2)[0].text(), "hi");
}

#[test]
fn tunnels_after_an_upgrade() {
    let origin = Origin::answering(Script::upgrade("echo"));
    let mut client = connect(&origin);
    assert_eq!(client.exchange(GET).unwrap().status, 101);
    client.send("ping").unwrap();
    assert_eq!(client.read_exact(4).unwrap(), b"ping");
    client.half_close().unwrap();
    assert!(client.is_closed_by_peer());
    assert_eq!(origin.tunnelled(0), b"ping");
}

#[test]
fn connections_can_go_wrong_before_any_request() {
    let with = |on_connect| {
        let options = OriginOptions {
            on_connect,
            ..OriginOptions::default()
        };
        Origin::with_options(options, |_| Script::ok(""))
    };
    assert_eq!(
        connect(&with(OnConnect::Close)).read_response(),
        Err(StrictError::Closed)
    );
    // The reset may even overtake the client's connect().
    if let Ok(mut client) = RawClient::connect(with(OnConnect::Reset).addr()) {
        assert_eq!(client.read_response(), Err(StrictError::Reset));
    }
    let origin = with(OnConnect::SendFirst(b"junk".to_vec()));
    assert_eq!(connect(&origin).read_exact(4).unwrap(), b"junk");
    let origin = with(OnConnect::Ignore);
    let mut client = connect(&origin);
    client.set_read_timeout(Duration::from_millis(50)).unwrap();
    assert_eq!(client.exchange(GET), Err(StrictError::TimedOut));
}

#[test]
fn idle_connections_end_without_notice() {
    let options = OriginOptions {
        idle_timeout: Some(Duration::from_millis(40)),
        requests_per_connection_max: 2,
        ..OriginOptions::default()
    };
    let origin = Origin::with_options(options, |_| Script::ok(""));
    let mut client = connect(&origin);
    assert!(client.exchange(GET).unwrap().keeps_alive());
    assert!(client.is_closed_by_peer());
    let mut client = connect(&origin);
    client.exchange(GET).unwrap();
    client.exchange(GET).unwrap();
    assert!(client.is_closed_by_peer());
}

#[test]
fn delays_and_pauses_take_their_time() {
    let step = Duration::from_millis(30);
    let origin = Origin::answering(Script::ok("body").delay(step).pause_at(10, step));
    let start = Instant::now();
    assert_eq!(connect(&origin).exchange(GET).unwrap().text(), "body");
    assert!(start.elapsed() >= 2 * step);
}
