//! Peers that do not take what is sent to them, and many streams that stand still: little is held for them, and all
//! others are served.

use std::collections::BTreeMap;
use std::net::TcpListener;

use balance_testkit::{Origin, Process, Script};

use super::raw::{ACK, DATA, END_STREAM, Frame, HEADERS, PING, RawHttp2, SETTINGS, WINDOW_UPDATE};
use crate::subject::{Config, get, metric, wait_until};

/// More than all windows of a connection.
const LARGE: usize = 3_000_000;

/// Answers without content, whatever the backends do.
const OK: &str = "routes: [ { name: ok, match: { path: /ok }, respond: { status: 204 } } ]";

const INITIAL_WINDOW_SIZE: u16 = 4;

fn held(process: &Process) -> f64 {
    metric(process, "balance_buffered_bytes")
}

#[track_caller]
fn assert_holds_at_most(process: &Process, bytes_max: usize) {
    let held = held(process);
    assert!(held <= bytes_max as f64, "{held} of {bytes_max}");
}

/// What a window grows by.
fn grow(client: &mut RawHttp2, stream: u32, octets: u32) {
    let payload = octets.to_be_bytes();
    client.send(&Frame::new(WINDOW_UPDATE, 0, stream, payload));
}

/// Other streams of the connection, and other connections, are served.
#[track_caller]
fn assert_others_are_served(process: &Process, client: &mut RawHttp2) {
    let stream = client.ask("/ok");
    assert_eq!(client.response(stream), Ok((204, Vec::new())));
    assert_eq!(get(process.listener("web"), "/ok").status, 204);
}

/// An upload that keeps to the windows.
struct Upload {
    connection_window: i64,
    stream_windows: BTreeMap<u32, i64>,
}

impl Upload {
    /// Sends what the windows allow.
    fn send(&mut self, client: &mut RawHttp2) {
        let payload = vec![b'x'; 16_384];
        for (stream, window) in &mut self.stream_windows {
            while *window > 0 && self.connection_window > 0 {
                let octets = (*window).min(self.connection_window).min(16_384);
                let piece = &payload[..usize::try_from(octets).unwrap()];
                client.send(&Frame::new(DATA, 0, *stream, piece));
                *window -= octets;
                self.connection_window -= octets;
            }
        }
    }

    /// Takes what the windows have grown by until a PING comes back: whether they have.
    fn receive(&mut self, client: &mut RawHttp2) -> bool {
        client.send(&Frame::new(PING, 0, 0, [7; 8]));
        let mut has_grown = false;
        loop {
            let frame = client.read().expect("the connection has ended");
            match frame.kind {
                PING if frame.flags & ACK != 0 => return has_grown,
                WINDOW_UPDATE => {
                    has_grown = true;
                    let window = match frame.stream {
                        0 => &mut self.connection_window,
                        stream => self.stream_windows.get_mut(&stream).unwrap(),
                    };
                    *window += i64::from(frame.code());
                }
                kind => assert_eq!(kind, SETTINGS, "{frame:?}"),
            }
        }
    }
}

/// The backend's kernel takes some megabytes for each; beyond that the client may send what its windows hold.
#[test]
fn a_backend_that_reads_nothing_holds_its_uploads_back() {
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let process = Config::http(&[deaf.local_addr().unwrap()]).with(OK).start();
    let mut client = RawHttp2::connect(process.listener("web"));
    let begin = |_| (client.begin("POST", "/", &[], 0), 256 * 1024);
    let mut upload = Upload {
        connection_window: 65_535,
        stream_windows: (0..16).map(begin).collect(),
    };
    let mut quiet_rounds = 0;
    while quiet_rounds < 30 {
        upload.send(&mut client);
        quiet_rounds = match upload.receive(&mut client) {
            true => 0,
            false => quiet_rounds + 1,
        };
        // The window of the connection, and heads.
        assert_holds_at_most(&process, 1_048_576 + 16 * 4_000);
    }
    assert_others_are_served(&process, &mut client);
    drop(client);
    wait_until(|| held(&process) == 0.0, "nothing is held any more");
}

#[test]
fn a_client_without_a_window_holds_its_downloads_back() {
    const STREAMS: usize = 100;
    let large = vec![b'x'; LARGE];
    let answer = Script::ok(large.clone()).then_close();
    let origin = Origin::start(move |_| answer.clone());
    let process = Config::http(&[origin.addr()]).with(OK).start();
    let no_window = [(INITIAL_WINDOW_SIZE, 0)];
    let mut client = RawHttp2::connect_with(process.listener("web"), &no_window);
    let streams: Vec<u32> = (0..STREAMS).map(|_| client.ask("/")).collect();
    for _ in 0..STREAMS {
        client.read_kind(HEADERS);
    }
    for _ in 0..10 {
        assert_others_are_served(&process, &mut client);
        // A piece and two heads of each.
        assert_holds_at_most(&process, STREAMS * 20_000);
    }
    // One that gets a window gets all of its body, in pieces of that window.
    let mut received = 0;
    while received < large.len() {
        grow(&mut client, 0, 100_000);
        grow(&mut client, streams[50], 100_000);
        let wanted = large.len().min(received + 100_000);
        while received < wanted {
            let frame = client.read_kind(DATA);
            assert_eq!(frame.stream, streams[50]);
            received += frame.payload.len();
        }
    }
    assert_eq!(received, large.len());
    drop(client);
    origin.wait_for_open_connections(0);
    wait_until(|| held(&process) == 0.0, "nothing is held any more");
}

#[test]
fn a_client_that_reads_nothing_holds_its_downloads_back() {
    const STREAMS: usize = 100;
    let origin = Origin::start(|_| Script::ok(vec![b'x'; LARGE]).then_close());
    let process = Config::http(&[origin.addr()]).with(OK).start();
    let largest = 0x7fff_ffff;
    let settings = [(INITIAL_WINDOW_SIZE, largest)];
    let mut client = RawHttp2::connect_with(process.listener("web"), &settings);
    grow(&mut client, 0, largest - 65_535);
    for _ in 0..STREAMS {
        client.ask("/");
    }
    // What is put out in a turn and what a piece takes it beyond that; of each stream a small piece and two heads.
    let bytes_max = (256 + 68) * 1024 + STREAMS * 20_000;
    wait_until(
        || {
            assert_holds_at_most(&process, bytes_max);
            held(&process) > 64.0 * 1024.0
        },
        "the kernel takes no more",
    );
    for _ in 0..10 {
        assert_eq!(get(process.listener("web"), "/ok").status, 204);
        assert_holds_at_most(&process, bytes_max);
    }
    drop(client);
    origin.wait_for_open_connections(0);
    wait_until(|| held(&process) == 0.0, "nothing is held any more");
}

/// A thousand streams whose responses nobody takes, and a hundred on the same connection that are taken at once.
#[test]
fn a_thousand_slow_streams_hold_back_no_fast_one() {
    const SLOW: usize = 1_000;
    let body = vec![b'x'; 1_000];
    let answer = body.clone();
    let origin = Origin::start(move |_| Script::ok(answer.clone()));
    let process = Config::http(&[origin.addr()])
        .with("limits: { http2: { max_concurrent_streams: 1200 } }")
        // What a busy machine takes for all of them is none of the streams' fault.
        .with("timeouts: { write_progress: 1h, read: 1h }")
        .start();
    let no_window = [(INITIAL_WINDOW_SIZE, 0)];
    let mut client = RawHttp2::connect_with(process.listener("web"), &no_window);
    let mut slow = Vec::new();
    while slow.len() < SLOW {
        // Not all at once: each has a connection to the origin until its response is here.
        let batch: Vec<u32> = (0..50).map(|_| client.ask("/slow")).collect();
        for _ in &batch {
            client.read_kind(HEADERS);
        }
        slow.extend(batch);
    }
    grow(&mut client, 0, 10_000_000);
    for _ in 0..100 {
        let stream = client.ask("/fast");
        grow(&mut client, stream, 1_000);
        assert_eq!(client.response(stream), Ok((200, body.clone())));
    }
    assert_holds_at_most(&process, SLOW * 3_000);
    // All of them get what is theirs.
    let window = [
        &INITIAL_WINDOW_SIZE.to_be_bytes()[..],
        &1_000_u32.to_be_bytes(),
    ]
    .concat();
    client.send(&Frame::new(SETTINGS, 0, 0, window));
    let mut received: BTreeMap<u32, usize> = BTreeMap::new();
    let mut ended = 0;
    while ended < SLOW {
        let frame = client.read_kind(DATA);
        *received.entry(frame.stream).or_default() += frame.payload.len();
        ended += usize::from(frame.flags & END_STREAM != 0);
    }
    assert!(slow.iter().all(|stream| received[stream] == body.len()));
}
