//! `limits.http2`: what each key changes for a client.

use balance_testkit::{Origin, Process, Script};

use super::raw::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, RESET,
    RawHttp2, SETTINGS, WINDOW_UPDATE, block, request,
};
use crate::queue::{Held, limits, wait_for_waiting};
use crate::subject::Config;

const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

fn start(limits: &str) -> (Origin, Process) {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/slow" => Script::never(),
        _ => Script::ok("here"),
    });
    let process = Config::http(&[origin.addr()])
        .with(&format!("limits: {{ http2: {{ {limits} }} }}"))
        .start();
    (origin, process)
}

#[test]
fn clients_are_told_of_streams_and_windows_and_held_to_them() {
    let (_origin, process) =
        start("max_concurrent_streams: 2, stream_window: 70000, connection_window: 100000");
    let mut client = RawHttp2::connect(process.listener("web"));
    let settings = client.read_kind(SETTINGS).payload;
    for (id, value) in [(3_u16, 2_u32), (4, 70_000)] {
        let expected = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        assert!(
            settings.chunks(6).any(|one| one == expected),
            "{settings:?}"
        );
    }
    // RFC 9113 §6.9.2: that of the connection changes by an update alone.
    let update = client.read_kind(WINDOW_UPDATE);
    assert_eq!((update.stream, update.code()), (0, 100_000 - 65_535));
    client.ask("/slow");
    client.ask("/slow");
    let refused = client.ask("/slow");
    assert_eq!(client.response(refused), Err(REFUSED_STREAM));
}

#[test]
fn budgets_end_a_connection_where_they_say() {
    let (_origin, process) =
        start("resets_max: 3, idle_frames_max: 5, budget_window: 1h, continuations_max: 1");
    let web = process.listener("web");
    let reset = |client: &mut RawHttp2| {
        let stream = client.ask("/slow");
        client.send(&Frame::new(RESET, 0, stream, 8_u32.to_be_bytes()));
    };
    let ping = |client: &mut RawHttp2| client.send(&Frame::new(PING, 0, 0, [0; 8]));
    let goes_on = |client: &mut RawHttp2| {
        let stream = client.ask("/");
        assert_eq!(client.response(stream), Ok((200, b"here".to_vec())));
    };

    let mut client = RawHttp2::connect(web);
    for _ in 0..3 {
        reset(&mut client);
    }
    goes_on(&mut client);
    reset(&mut client);
    assert_eq!(client.end(), Some(ENHANCE_YOUR_CALM));

    // The client's own SETTINGS were the first of the five.
    let mut client = RawHttp2::connect(web);
    for _ in 0..4 {
        ping(&mut client);
    }
    for _ in 0..4 {
        client.read_kind(PING);
    }
    ping(&mut client);
    assert_eq!(client.end(), Some(ENHANCE_YOUR_CALM));

    let head = request("GET", "/", &[]);
    for (count, is_served) in [(1, true), (2, false)] {
        let mut client = RawHttp2::connect(web);
        client.send(&Frame::new(HEADERS, END_STREAM, 1, head.clone()));
        for n in 1..=count {
            let flags = if n == count { END_HEADERS } else { 0 };
            let more = block(&[("x", "y")]);
            let frame = Frame::new(CONTINUATION, flags, 1, more);
            client.try_send(&frame.bytes());
        }
        if is_served {
            assert_eq!(client.response(1), Ok((200, b"here".to_vec())));
        } else {
            assert_eq!(client.end(), Some(ENHANCE_YOUR_CALM));
        }
    }
}

/// GOAWAY in two steps, and what was on its way is served.
#[test]
fn a_connection_ends_after_its_last_request() {
    let (_origin, process) = start("requests_max: 2");
    let mut client = RawHttp2::connect(process.listener("web"));
    let first = client.ask("/");
    assert_eq!(client.response(first), Ok((200, b"here".to_vec())));
    let (second, third) = (3, 5_u32);
    // Together: the third one is on its way when the second one is read.
    let heads = [("POST", second, 0), ("GET", third, END_STREAM)];
    let heads = heads.map(|(method, stream, flags)| {
        let head = request(method, "/", &[]);
        Frame::new(HEADERS, flags | END_HEADERS, stream, head).bytes()
    });
    client.send_bytes(&heads.concat());
    let goaway = client.read_kind(GOAWAY);
    assert_eq!(goaway.payload, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    let ping = client.read_kind(PING);
    client.send(&Frame::new(PING, ACK, 0, ping.payload));
    let goaway = client.read_kind(GOAWAY);
    assert_eq!(goaway.payload[..4], third.to_be_bytes());
    assert_eq!(goaway.code(), NO_ERROR);
    client.send(&Frame::new(DATA, END_STREAM, second, []));
    assert_eq!(client.response(second), Ok((200, b"here".to_vec())));
    assert_eq!(client.end(), None, "nothing is left to be told");
}

/// A pool's limit counts streams, whatever connection they are on.
#[test]
fn streams_wait_for_a_place_and_one_that_is_reset_leaves_the_queue() {
    let held = Held::start();
    let process = Config::http(&[held.origin.addr()])
        .with_pool("limits: { max_connections: 1, queue: 3, queue_timeout: 1h }")
        .start();
    let mut client = RawHttp2::connect(process.listener("web"));
    let first = client.ask("/0");
    held.wait_for(1);
    let leaver = client.ask("/1");
    wait_for_waiting(&process, 1);
    let second = client.ask("/2");
    wait_for_waiting(&process, 2);
    client.send(&Frame::new(RESET, 0, leaver, CANCEL.to_be_bytes()));
    wait_for_waiting(&process, 1);
    for (stream, path) in [(first, "/0"), (second, "/2")] {
        held.answer();
        let expected = (200, path.as_bytes().to_vec());
        assert_eq!(client.response(stream), Ok(expected));
    }
    assert_eq!(limits(&process)["served"], 1);
    assert_eq!(limits(&process)["left"], 1);
}
