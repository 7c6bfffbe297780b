//! What becomes of single exchanges: forwarded, refused, cut off, held back.

use std::collections::BTreeMap;
use std::time::Duration;

use balance_testkit::{Origin, RawClient, Script, Signal, at_some_pace};

use super::raw::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, RESET,
    RawHttp2, SETTINGS, WINDOW_UPDATE, block, request,
};
use crate::subject::{Config, dead_address, get, reload, wait_for_cause, wait_until};

const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const INTERNAL_ERROR: u32 = 2;
const ENHANCE_YOUR_CALM: u32 = 11;

#[test]
fn one_connection_carries_what_clients_ask_for() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/echo" => Script::echo(),
        "/chunked" => Script::ok("").chunked(&[b"one ", b"two"]),
        "/close" => Script::ok("").until_close("to the end").then_close(),
        "/nothing" => Script::status(204).without_body(),
        "/early" => Script::ok("early").interim(103, &[("Link", "</a>")]),
        _ => Script::ok("plain"),
    });
    let process = Config::http(&[origin.addr()]).start();
    let mut client = RawHttp2::connect(process.listener("web"));
    for (path, status, body) in [
        ("/", 200, "plain"),
        ("/chunked", 200, "one two"),
        ("/close", 200, "to the end"),
        ("/nothing", 204, ""),
        ("/early", 200, "early"),
    ] {
        let stream = client.ask(path);
        let expected = (status, body.as_bytes().to_vec());
        assert_eq!(client.response(stream), Ok(expected), "{path}");
    }
    let stream = client.begin("POST", "/echo", &[("content-length", "6")], 0);
    client.send(&Frame::new(DATA, 0, stream, "abc"));
    client.send(&Frame::new(DATA, END_STREAM, stream, "def"));
    assert_eq!(client.response(stream), Ok((200, b"abcdef".to_vec())));
    let stream = client.begin("POST", "/echo", &[], 0);
    client.send(&Frame::new(DATA, 0, stream, "of unknown length"));
    let trailers = block(&[("x-checksum", "1")]);
    client.send(&Frame::new(
        HEADERS,
        END_STREAM | END_HEADERS,
        stream,
        trailers,
    ));
    assert_eq!(
        client.response(stream),
        Ok((200, b"of unknown length".to_vec()))
    );
    let stream = client.begin("HEAD", "/", &[], END_STREAM);
    assert_eq!(client.response(stream), Ok((200, Vec::new())));
    assert_eq!(origin.violations(), Vec::<String>::new());
    let requests = origin.requests();
    assert_eq!(requests[0].header("host"), Some("test"));
    assert_eq!(requests[0].header("x-forwarded-proto"), Some("http"));
    assert!(
        requests[0]
            .header("via")
            .is_some_and(|via| via.starts_with("2.0 "))
    );
    wait_for_cause(&process, "completed", 8);
}

#[test]
fn a_preface_in_pieces_is_one() {
    let origin = Origin::answering(Script::ok("here"));
    let process = Config::http(&[origin.addr()]).start();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for split in 1..preface.len() {
        let mut client = RawClient::connect(process.listener("web")).unwrap();
        client.send(&preface[..split]).unwrap();
        // Behind what was sent: that one is read before.
        assert_eq!(get(process.listener("web"), "/").status, 200);
        client.send(&preface[split..]).unwrap();
        client.send(Frame::new(SETTINGS, 0, 0, []).bytes()).unwrap();
        let header = client.read_exact(4).unwrap();
        assert_eq!(header[3], SETTINGS, "split at {split}");
    }
}

#[test]
fn http1_alone_is_spoken_where_http2_is_switched_off() {
    let origin = Origin::answering(Script::ok("here"));
    let process = Config::http(&[origin.addr()])
        .with("http: { enable_http2: false }")
        .start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    let response = client.exchange("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    assert!(matches!(response.status, 400 | 505), "{}", response.status);
}

/// Streams of one connection run side by side: a slow one holds back no other.
#[test]
fn a_slow_stream_does_not_hold_back_a_fast_one() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/slow" => Script::never(),
        _ => Script::ok("fast"),
    });
    let process = Config::http(&[origin.addr()]).start();
    let mut client = RawHttp2::connect(process.listener("web"));
    for _ in 0..20 {
        client.ask("/slow");
    }
    for _ in 0..20 {
        let stream = client.ask("/");
        assert_eq!(client.response(stream), Ok((200, b"fast".to_vec())));
    }
}

#[test]
fn malformed_requests_reach_no_backend() {
    let origin = Origin::answering(Script::ok("here"));
    let process = Config::http(&[origin.addr()]).start();
    let mut client = RawHttp2::connect(process.listener("web"));
    let pseudo = |path: &'static str| {
        vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "test"),
        ]
    };
    let with = |field: (&'static str, &'static str)| [pseudo("/"), vec![field]].concat();
    let mut next = 1;
    let mut send = |client: &mut RawHttp2, fields: &[(&str, &str)]| {
        let stream = next;
        next += 2;
        let flags = END_STREAM | END_HEADERS;
        client.send(&Frame::new(HEADERS, flags, stream, block(fields)));
        client.response(stream)
    };
    for fields in [
        with(("connection", "close")),
        with(("transfer-encoding", "chunked")),
        with(("upgrade", "h2c")),
        with(("te", "gzip")),
        with(("X-Upper", "1")),
        with(("x-line", "a\r\nb: c")),
        with(("content-length", "5")),
        with(("host", "other")),
        with((":path", "/late")),
        with((":unknown", "1")),
        pseudo("relative"),
        vec![(":method", "GET"), (":path", "/"), (":authority", "test")],
    ] {
        let refused = send(&mut client, &fields);
        let is_refused = matches!(refused, Err(PROTOCOL_ERROR) | Ok((400, _)));
        assert!(is_refused, "{fields:?}: {refused:?}");
    }
    for (path, status) in [("/../x", 400), ("/a/%2e%2e/x", 400), ("/%00", 400)] {
        let answer = send(&mut client, &pseudo(path)).unwrap();
        assert_eq!(answer.0, status, "{path}");
    }
    assert!(origin.requests().is_empty());
    assert_eq!(send(&mut client, &pseudo("/")).unwrap().0, 200);
    // Content that is not as long as it was said to be.
    let lying = block(&with(("content-length", "5")));
    client.send(&Frame::new(HEADERS, END_HEADERS, 101, lying));
    client.send(&Frame::new(DATA, END_STREAM, 101, "abc"));
    assert_eq!(client.response(101), Err(PROTOCOL_ERROR));
    assert!(origin.violations().is_empty());
}

#[test]
fn mistakes_of_the_connection_end_it_with_their_code() {
    let origin = Origin::answering(Script::ok("here"));
    let process = Config::http(&[origin.addr()]).start();
    let web = process.listener("web");
    for (frame, code) in [
        (Frame::new(DATA, 0, 1, "x"), PROTOCOL_ERROR), // RFC 9113 §5.1: idle
        (Frame::new(PING, 0, 0, "short"), 6),          // §6.7
        (Frame::new(SETTINGS, 0, 1, []), PROTOCOL_ERROR), // §6.5
        (Frame::new(WINDOW_UPDATE, 0, 0, [0; 4]), PROTOCOL_ERROR), // §6.9
        (Frame::new(WINDOW_UPDATE, 0, 0, [0x7f, 0xff, 0xff, 0xff]), 3), // §6.9.1
        (
            Frame::new(HEADERS, END_HEADERS, 2, request("GET", "/", &[])),
            PROTOCOL_ERROR,
        ), // §5.1.1
        (Frame::new(HEADERS, END_HEADERS, 1, [0xff; 8]), 9), // §4.3
        (Frame::new(CONTINUATION, 0, 1, []), PROTOCOL_ERROR), // §6.10
        (Frame::new(5, END_HEADERS, 1, [0; 4]), PROTOCOL_ERROR), // §8.4: push
    ] {
        let mut client = RawHttp2::connect(web);
        client.send(&frame);
        assert_eq!(client.end(), Some(code), "{frame:?}");
    }
    let mut client = RawClient::connect(web).unwrap();
    client
        .send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        .unwrap();
    client.read_to_end().unwrap();
    assert!(origin.requests().is_empty());
    assert_eq!(get(web, "/").status, 200);
}

#[test]
fn failures_of_backends_are_told_on_their_stream() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/cut" => Script::ok(vec![b'x'; 5000]).close_after_bytes(3000),
        "/garbage" => Script::raw("garbage\r\n\r\n"),
        _ => Script::ok("here"),
    });
    let process = Config::http(&[origin.addr()]).start();
    let mut client = RawHttp2::connect(process.listener("web"));
    let stream = client.ask("/cut");
    assert_eq!(client.response(stream), Err(INTERNAL_ERROR));
    let stream = client.ask("/garbage");
    assert_eq!(client.response(stream).unwrap().0, 502);
    let stream = client.ask("/");
    assert_eq!(client.response(stream), Ok((200, b"here".to_vec())));
    wait_for_cause(&process, "http_response_incomplete", 1);
    wait_for_cause(&process, "http_protocol_error", 1);

    let process = Config::http(&[dead_address()]).start();
    let mut client = RawHttp2::connect(process.listener("web"));
    let stream = client.ask("/");
    assert_eq!(client.response(stream).unwrap().0, 502);
    let grpc = [("content-type", "application/grpc")];
    let stream = client.begin("POST", "/s/m", &grpc, END_STREAM);
    let head = client.read_kind(HEADERS);
    assert_eq!(
        (head.stream, head.flags),
        (stream, END_HEADERS | END_STREAM)
    );
    let text = String::from_utf8_lossy(&head.payload).into_owned();
    assert!(text.contains("grpc-status\u{2}14"), "{text}");
}

#[test]
fn an_answer_that_comes_early_ends_the_upload() {
    let origin = Origin::answering(Script::status(403).body("no").early_and_unread());
    let process = Config::http(&[origin.addr()]).start();
    let mut client = RawHttp2::connect(process.listener("web"));
    let stream = client.begin("POST", "/", &[], 0);
    client.send(&Frame::new(DATA, 0, stream, vec![b'x'; 1000]));
    assert_eq!(client.response(stream), Ok((403, b"no".to_vec())));
    let reset = client.read_kind(RESET);
    assert_eq!((reset.stream, reset.code()), (stream, NO_ERROR));
}

/// A request body above the limit is told so, and the other streams go on.
#[test]
fn a_body_above_its_limit_is_413() {
    let origin = Origin::answering(Script::echo());
    let process = Config::http(&[origin.addr()])
        .with("limits: { body_bytes_max: 100 }")
        .start();
    let mut client = RawHttp2::connect(process.listener("web"));
    let stream = client.begin("POST", "/", &[], 0);
    client.send(&Frame::new(DATA, 0, stream, vec![b'x'; 101]));
    assert_eq!(client.response(stream).unwrap().0, 413);
    let stream = client.begin("POST", "/", &[], 0);
    client.send(&Frame::new(DATA, END_STREAM, stream, vec![b'x'; 100]));
    assert_eq!(client.response(stream).unwrap().0, 200);
}

#[test]
fn a_reset_by_the_client_ends_the_attempt() {
    let origin = Origin::answering(Script::never());
    let process = Config::http(&[origin.addr()]).start();
    let mut client = RawHttp2::connect(process.listener("web"));
    let stream = client.ask("/");
    origin.wait_for_heads(1);
    client.send(&Frame::new(RESET, 0, stream, 8_u32.to_be_bytes()));
    wait_for_cause(&process, "client_closed", 1);
    origin.wait_for_open_connections(0);
    // And so does the end of the connection.
    client.ask("/");
    origin.wait_for_heads(2);
    drop(client);
    wait_for_cause(&process, "client_closed", 2);
    origin.wait_for_open_connections(0);
}

/// The client's window is all that is taken from the backend ahead of it, and it opens in any steps.
#[test]
fn a_response_waits_for_the_clients_window() {
    let body: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let origin = Origin::answering(Script::ok(body.clone()));
    let process = Config::http(&[origin.addr()]).start();
    let initial_window = [(4, 10)];
    let mut client = RawHttp2::connect_with(process.listener("web"), &initial_window);
    let stream = client.ask("/");
    let mut received = client.read_kind(DATA).payload;
    assert_eq!(received.len(), 10);
    for increment in [1_u32, 5_000, 60_000, 60_000, 60_000, 60_000] {
        for id in [0, stream] {
            let payload = increment.to_be_bytes();
            client.send(&Frame::new(WINDOW_UPDATE, 0, id, payload));
        }
        let wanted = (received.len() + increment as usize).min(body.len());
        while received.len() < wanted {
            received.extend(client.read_kind(DATA).payload);
        }
        assert_eq!(received.len(), wanted);
    }
    assert_eq!(received, body);
    wait_for_cause(&process, "completed", 1);
}

/// RFC 9113 §6.8: GOAWAY without an excluded stream, then with the last one; what runs is finished.
#[test]
fn a_shutdown_takes_two_steps_and_loses_nothing() {
    let origin = Origin::answering(Script::ok("late").delay(Duration::from_secs(1)));
    let mut process = Config::http(&[origin.addr()]).start();
    let mut client = RawHttp2::connect(process.listener("web"));
    let first = client.ask("/");
    origin.wait_for_heads(1);
    process.signal(Signal::Terminate).unwrap();
    let goaway = client.read_kind(GOAWAY);
    assert_eq!(goaway.payload, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    let ping = client.read_kind(PING);
    // It was on its way.
    let second = client.ask("/");
    client.send(&Frame::new(PING, ACK, 0, ping.payload));
    let mut frames = Vec::new();
    while let Some(frame) = client.read() {
        frames.push(frame);
    }
    let goaway = frames.iter().find(|frame| frame.kind == GOAWAY).unwrap();
    let last = u32::from_be_bytes(goaway.payload[..4].try_into().unwrap());
    // Where this client stood still for a second, the second step did not wait for it.
    assert!([first, second].contains(&last), "{last}");
    for stream in [first, second] {
        let is_content = |frame: &&Frame| frame.kind == DATA && frame.stream == stream;
        let content = frames.iter().filter(is_content);
        let content: Vec<u8> = content.flat_map(|frame| frame.payload.clone()).collect();
        let is_served = stream <= last;
        assert_eq!(content, if is_served { &b"late"[..] } else { b"" });
    }
    assert!(process.wait_for_exit(balance_testkit::PATIENCE).success());
}

/// A reload that takes the listener away ends its connections in the same two steps.
#[test]
fn a_reload_without_the_listener_loses_no_stream() {
    let origin = Origin::answering(Script::ok("late").delay(Duration::from_secs(1)));
    let config = Config::http(&[origin.addr()]);
    let process = config.start();
    let mut client = RawHttp2::connect(process.listener("web"));
    let streams: Vec<u32> = (0..20).map(|_| client.ask("/")).collect();
    origin.wait_for_heads(20);
    let elsewhere = Config {
        listen: "127.0.0.2:0".to_owned(),
        ..config
    };
    reload(&process, &elsewhere);
    let (mut last_streams, mut contents) = (Vec::new(), BTreeMap::<u32, Vec<u8>>::new());
    while let Some(frame) = client.read() {
        match frame.kind {
            GOAWAY => last_streams.push(frame.payload[..4].to_vec()),
            DATA => contents
                .entry(frame.stream)
                .or_default()
                .extend(frame.payload),
            PING => {
                // It may be over already where this client stood still.
                client.try_send(&Frame::new(PING, ACK, 0, frame.payload).bytes());
            }
            _ => {}
        }
    }
    assert_eq!(
        last_streams,
        [vec![0x7f, 0xff, 0xff, 0xff], vec![0, 0, 0, 39]]
    );
    for stream in streams {
        assert_eq!(contents.get(&stream).map(Vec::as_slice), Some(&b"late"[..]));
    }
}

#[test]
fn idle_connections_and_unfinished_frames_end() {
    at_some_pace(|pace| {
        let origin = Origin::answering(Script::ok("here"));
        let process = Config::http(&[origin.addr()])
            .with(&format!(
                "timeouts: {{ idle: {:?}, head: {:?} }}",
                pace.ms(1_500),
                pace.ms(200)
            ))
            .start();
        let web = process.listener("web");
        let mut client = RawHttp2::connect(web);
        let stream = client.ask("/");
        assert_eq!(client.response(stream).unwrap().0, 200);
        assert_eq!(client.end(), Some(NO_ERROR));
        let mut client = RawHttp2::connect(web);
        client.send_bytes(&Frame::new(HEADERS, 0, 1, request("GET", "/", &[])).bytes());
        assert_eq!(client.end(), Some(ENHANCE_YOUR_CALM));
        let mut silent = RawClient::connect(web).unwrap();
        silent.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        silent.read_to_end().unwrap();
        wait_until(|| origin.requests().len() == 1, "one request came");
    });
}
