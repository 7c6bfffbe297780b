//! Frames that are cheap to send and make no progress (robustness §2): the connection is told to calm down and
//! closed, and everybody else is served meanwhile.

use balance_testkit::{Origin, Process, Script};

use super::raw::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PING, PRIORITY, RESET, RawHttp2,
    SETTINGS, WINDOW_UPDATE, block, request,
};
use crate::subject::{Config, get};

const ENHANCE_YOUR_CALM: u32 = 11;
const REFUSED_STREAM: u32 = 7;

fn start() -> (Origin, Process) {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/slow" => Script::never(),
        _ => Script::ok("here"),
    });
    let process = Config::http(&[origin.addr()]).start();
    (origin, process)
}

/// Sends frames as long as they are taken; afterwards the connection must have been closed for it.
#[track_caller]
fn flood(process: &Process, name: &str, before: &[Frame], mut next: impl FnMut(u32) -> Vec<u8>) {
    let web = process.listener("web");
    let mut canary = RawHttp2::connect(web);
    let mut client = RawHttp2::connect(web);
    for frame in before {
        client.send(frame);
    }
    for round in 0..200 {
        let batch: Vec<u8> = (0..100).flat_map(|n| next(round * 100 + n)).collect();
        let is_taken = client.try_send(&batch);
        if round % 20 == 0 {
            let stream = canary.ask("/");
            assert_eq!(
                canary.response(stream),
                Ok((200, b"here".to_vec())),
                "{name}"
            );
        }
        if !is_taken {
            break;
        }
    }
    if let Some(code) = client.end() {
        assert_eq!(code, ENHANCE_YOUR_CALM, "{name}");
    }
    let stream = canary.ask("/");
    assert_eq!(
        canary.response(stream),
        Ok((200, b"here".to_vec())),
        "{name}"
    );
    assert_eq!(get(web, "/").status, 200, "{name}");
}

#[test]
fn floods_of_frames_end_their_connection_alone() {
    let (_origin, process) = start();
    let repeat = |frame: Frame| move |_| frame.bytes();
    let post = Frame::new(HEADERS, END_HEADERS, 1, request("POST", "/slow", &[]));
    flood(
        &process,
        "PING",
        &[],
        repeat(Frame::new(PING, 0, 0, [0; 8])),
    );
    flood(
        &process,
        "SETTINGS",
        &[],
        repeat(Frame::new(SETTINGS, 0, 0, [])),
    );
    let empty = Frame::new(DATA, 0, 1, []);
    flood(
        &process,
        "empty DATA",
        std::slice::from_ref(&post),
        repeat(empty),
    );
    let window = Frame::new(WINDOW_UPDATE, 0, 0, 1_u32.to_be_bytes());
    flood(&process, "WINDOW_UPDATE", &[], repeat(window));
    let priority = Frame::new(PRIORITY, 0, 3, [0, 0, 0, 1, 0]);
    flood(&process, "PRIORITY", &[], repeat(priority));
    let unknown = Frame::new(0xbb, 0, 0, "?");
    flood(&process, "unknown frames", &[], repeat(unknown));
    let begun = Frame::new(HEADERS, 0, 1, request("GET", "/", &[]));
    let more = Frame::new(CONTINUATION, 0, 1, block(&[("x", "y")]));
    flood(&process, "CONTINUATION", &[begun], repeat(more));
}

/// CVE-2023-44487, and its relative that makes us reset (CVE-2025-8671).
#[test]
fn rapid_resets_end_their_connection_alone() {
    let (_origin, process) = start();
    flood(&process, "rapid reset", &[], |n| {
        let stream = n * 2 + 1;
        let head = request("GET", "/slow", &[]);
        let flags = END_STREAM | END_HEADERS;
        let head = Frame::new(HEADERS, flags, stream, head).bytes();
        let reset = Frame::new(RESET, 0, stream, 8_u32.to_be_bytes());
        [head, reset.bytes()].concat()
    });
    flood(&process, "provoked resets", &[], |n| {
        let stream = n * 2 + 1;
        let head = request("POST", "/slow", &[]);
        let head = Frame::new(HEADERS, END_HEADERS, stream, head).bytes();
        let zero = Frame::new(WINDOW_UPDATE, 0, stream, [0; 4]);
        [head, zero.bytes()].concat()
    });
}

/// Heads that are small on the wire and large when decoded (RFC 7541 §7.3), and ones that never end.
#[test]
fn heads_that_unfold_are_refused() {
    let (origin, process) = start();
    let web = process.listener("web");
    let mut client = RawHttp2::connect(web);
    let mut bomb = request("GET", "/", &[]);
    // Literal with incremental indexing, then the same by its index, thousands of times.
    bomb.extend([0x40, 1, b'x', 127, 0xa1, 0x1e]);
    bomb.extend(vec![b'y'; 4000]);
    bomb.extend(vec![0xbe; 10_000]);
    client.send(&Frame::new(HEADERS, END_STREAM | END_HEADERS, 1, bomb));
    assert_eq!(client.response(1).unwrap().0, 431);
    assert!(origin.requests().is_empty());
    let stream = 3;
    let head = request("GET", "/", &[]);
    client.send(&Frame::new(HEADERS, END_STREAM | END_HEADERS, stream, head));
    assert_eq!(client.response(stream).unwrap().0, 200);
}

/// What is above the number of streams is refused, and may be tried again.
#[test]
fn streams_above_the_limit_are_refused() {
    let (_origin, process) = start();
    let mut client = RawHttp2::connect(process.listener("web"));
    let streams: Vec<u32> = (0..129).map(|_| client.ask("/slow")).collect();
    assert_eq!(client.response(streams[128]), Err(REFUSED_STREAM));
    assert_eq!(get(process.listener("web"), "/").status, 200);
}
