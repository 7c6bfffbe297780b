//! Backends that speak HTTP/2 badly, or not at all: the client is told, and their connections are given up.

use balance_testkit::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, Http2Backend, Http2Peer,
    PUSH_PROMISE, RESET, SETTINGS, WINDOW_UPDATE, block,
};
use balance_testkit::{Origin, RawClient, Script};

use crate::subject::{Config, backend as state_of, cause, get, wait_for_cause, wait_until};

type Answer = fn(&mut Http2Peer, u32);

/// Before a response has begun. Each costs the backend its connection.
const NONSENSE: &[(&str, Answer)] = &[
    ("content before a head", |peer, stream| {
        peer.send(&Frame::new(DATA, END_STREAM, stream, "x"));
    }),
    ("no status", |peer, stream| {
        peer.head(stream, &[("a", "1")], END_STREAM)
    }),
    ("a status of letters", |peer, stream| {
        peer.head(stream, &[(":status", "abc")], END_STREAM);
    }),
    ("two statuses", |peer, stream| {
        peer.head(
            stream,
            &[(":status", "200"), (":status", "200")],
            END_STREAM,
        );
    }),
    ("101", |peer, stream| {
        peer.head(stream, &[(":status", "101")], 0)
    }),
    ("an interim response that ends", |peer, stream| {
        peer.head(stream, &[(":status", "103")], END_STREAM);
    }),
    ("a name in upper case", |peer, stream| {
        with(peer, stream, "X-Upper", "1")
    }),
    ("a line end in a value", |peer, stream| {
        with(peer, stream, "a", "b\r\nc: d")
    }),
    ("a field of the connection", |peer, stream| {
        with(peer, stream, "connection", "close")
    }),
    ("chunks", |peer, stream| {
        with(peer, stream, "transfer-encoding", "chunked")
    }),
    ("a status behind a field", |peer, stream| {
        peer.head(stream, &[("a", "1"), (":status", "200")], END_STREAM);
    }),
    ("an unknown pseudo-header field", |peer, stream| {
        with(peer, stream, ":path", "/")
    }),
    ("a length that is none", |peer, stream| {
        with(peer, stream, "content-length", "5x")
    }),
    ("a length, and no content", |peer, stream| {
        with(peer, stream, "content-length", "5")
    }),
    ("a head that is too large", |peer, stream| {
        let large = "x".repeat(15_000);
        let fields: Vec<_> = (0..6).map(|_| ("a", large.as_str())).collect();
        let whole = block(&[&[(":status", "200")][..], &fields].concat());
        let mut parts = whole.chunks(16_384).peekable();
        let first = parts.next().unwrap_or_default();
        peer.send(&Frame::new(HEADERS, 0, stream, first));
        while let Some(part) = parts.next() {
            let flags = if parts.peek().is_none() {
                END_HEADERS
            } else {
                0
            };
            peer.send(&Frame::new(CONTINUATION, flags, stream, part));
        }
    }),
    ("an index that HPACK does not have", |peer, stream| {
        peer.send(&Frame::new(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            [0x80],
        ));
    }),
    ("an index beyond the table", |peer, stream| {
        peer.send(&Frame::new(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            [0xff, 0xff, 0x7f],
        ));
    }),
    ("a push", |peer, stream| {
        let promised = [&2_u32.to_be_bytes()[..], &block(&[(":status", "200")])].concat();
        peer.send(&Frame::new(PUSH_PROMISE, END_HEADERS, stream, promised));
    }),
    ("a head on a stream of its own", |peer, _| {
        peer.head(2, &[(":status", "200")], END_STREAM);
    }),
    ("a head on a stream that nobody opened", |peer, stream| {
        peer.head(stream + 100, &[(":status", "200")], END_STREAM);
    }),
    ("content of the connection", |peer, _| {
        peer.send(&Frame::new(DATA, 0, 0, "x"))
    }),
    ("a window that grows by nothing", |peer, _| {
        peer.send(&Frame::new(WINDOW_UPDATE, 0, 0, 0_u32.to_be_bytes()));
    }),
    ("a window that grows too large", |peer, _| {
        peer.send(&Frame::new(
            WINDOW_UPDATE,
            0,
            0,
            0x7fff_ffff_u32.to_be_bytes(),
        ));
    }),
    ("settings of five octets", |peer, _| {
        peer.send(&Frame::new(SETTINGS, 0, 0, "abcde"))
    }),
    ("settings that switch push on", |peer, _| {
        peer.settings(&[(2, 1)])
    }),
    ("a frame that is too large", |peer, stream| {
        peer.send(&Frame::new(DATA, 0, stream, vec![0; 16_385]));
    }),
    ("a continuation of nothing", |peer, stream| {
        peer.send(&Frame::new(
            CONTINUATION,
            END_HEADERS,
            stream,
            block(&[("a", "1")]),
        ));
    }),
    ("a field block that is interrupted", |peer, stream| {
        peer.send(&Frame::new(
            HEADERS,
            0,
            stream,
            block(&[(":status", "200")]),
        ));
        peer.send(&Frame::new(DATA, END_STREAM, stream, "x"));
    }),
    ("bytes of another protocol", |peer, _| {
        peer.send_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }),
];

/// Behind the head of a response, whose client must see that it is broken.
const BROKEN: &[(&str, Answer)] = &[
    ("less than was announced", |peer, stream| {
        begin(peer, stream, "5");
        peer.send(&Frame::new(DATA, END_STREAM, stream, "abc"));
    }),
    ("more than was announced", |peer, stream| {
        begin(peer, stream, "5");
        peer.send(&Frame::new(DATA, 0, stream, "abcdef"));
    }),
    ("padding beyond the frame", |peer, stream| {
        begin(peer, stream, "5");
        peer.send(&Frame::new(DATA, 8, stream, [9, b'a', b'b']));
    }),
    ("a second head that does not end", |peer, stream| {
        begin(peer, stream, "5");
        peer.head(stream, &[("a", "1")], 0);
    }),
    ("trailers with a status", |peer, stream| {
        begin(peer, stream, "3");
        peer.send(&Frame::new(DATA, 0, stream, "abc"));
        peer.head(stream, &[(":status", "200")], END_STREAM);
    }),
];

fn with(peer: &mut Http2Peer, stream: u32, name: &str, value: &str) {
    peer.head(stream, &[(":status", "200"), (name, value)], END_STREAM);
}

fn begin(peer: &mut Http2Peer, stream: u32, length: &str) {
    peer.head(stream, &[(":status", "200"), ("content-length", length)], 0);
}

/// Answers `/N` with the row of that number, everything else well.
fn backend_of(rows: &'static [(&'static str, Answer)]) -> Http2Backend {
    Http2Backend::start(move |peer| {
        peer.settings(&[]);
        while let Some(asked) = peer.asked() {
            let path = asked.text.split("/row-").nth(1);
            let row = path.map(|path| {
                let digits: String = path.chars().take_while(char::is_ascii_digit).collect();
                digits.parse::<usize>().ok()
            });
            match row.flatten().and_then(|row| rows.get(row)) {
                Some((_, answer)) => answer(peer, asked.stream),
                None => peer.answer(asked.stream, "here"),
            }
        }
    })
}

#[test]
fn nonsense_is_502_and_costs_the_connection() {
    let backend = backend_of(NONSENSE);
    let process = Config::http(&[backend.addr()])
        .with_pool("protocol: h2")
        .start();
    let web = process.listener("web");
    for (row, (name, _)) in NONSENSE.iter().enumerate() {
        let before = backend.connections();
        assert_eq!(get(web, &format!("/row-{row}.")).status, 502, "{name}");
        assert_eq!(get(web, "/").text(), "here", "after {name}");
        assert_eq!(backend.connections(), before.max(1) + 1, "after {name}");
    }
    wait_for_cause(&process, "http_protocol_error", NONSENSE.len() as u32);
    wait_for_cause(&process, "completed", NONSENSE.len() as u32);
}

#[test]
fn a_response_that_turns_out_wrong_is_seen_to_be_broken() {
    let backend = backend_of(BROKEN);
    let process = Config::http(&[backend.addr()])
        .with_pool("protocol: h2")
        .start();
    let web = process.listener("web");
    for (row, (name, _)) in BROKEN.iter().enumerate() {
        let mut client = RawClient::connect(web).unwrap();
        let request = format!("GET /row-{row}. HTTP/1.1\r\nHost: test\r\n\r\n");
        client.send(request).unwrap();
        let received = String::from_utf8_lossy(&client.read_to_end().unwrap()).into_owned();
        // If it was known to be wrong before anything was written, the client can still be told.
        let is_told = received.starts_with("HTTP/1.1 502 ");
        let body = received.split("\r\n\r\n").nth(1).unwrap_or_default();
        assert!(is_told || body.len() < 5 || row == 4, "{name}: {received}");
        assert_eq!(get(web, "/").text(), "here", "after {name}");
    }
    wait_for_cause(&process, "completed", BROKEN.len() as u32);
    assert_eq!(cause(&process, "http_protocol_error"), BROKEN.len() as f64);
}

/// Robustness BE-07.
#[test]
fn interim_responses_without_end_are_502() {
    let backend = Http2Backend::start(|peer| {
        peer.settings(&[]);
        while let Some(asked) = peer.asked() {
            if asked.text.contains("/flood") {
                for _ in 0..200 {
                    peer.head(asked.stream, &[(":status", "103")], 0);
                }
            }
            peer.answer(asked.stream, "here");
        }
    });
    let config = Config::http(&[backend.addr()]).with_pool("protocol: h2");
    let process = config.start();
    let web = process.listener("web");
    assert_eq!(get(web, "/flood").status, 502);
    assert_eq!(get(web, "/").text(), "here");
    wait_for_cause(&process, "http_protocol_error", 1);
}

/// Who does not speak HTTP/2 gets no request, and counts as one that cannot be reached.
#[test]
fn a_backend_without_http2_rests() {
    let old = Origin::answering(Script::ok("over HTTP/1"));
    let new = Http2Backend::start(|peer| {
        peer.settings(&[]);
        peer.answer_all();
    });
    let config = Config::http(&[old.addr(), new.addr()]).with_pool("protocol: h2");
    let process = config.start();
    let web = process.listener("web");
    for _ in 0..4 {
        assert_eq!(get(web, "/").text(), "here");
    }
    assert_eq!(state_of(&process, "a")["state"], "resting");
    let got = old.requests();
    assert!(got.iter().all(|request| request.target != "/"), "{got:?}");
    let process = Config::http(&[old.addr()])
        .with_pool("protocol: h2")
        .start();
    assert_eq!(get(process.listener("web"), "/").status, 502);
    wait_for_cause(&process, "http_protocol_error", 1);
}

#[test]
fn a_stream_that_is_reset_before_its_answer_is_502() {
    let backend = Http2Backend::start(|peer| {
        peer.settings(&[]);
        while let Some(asked) = peer.asked() {
            match asked.text.contains("/reset") {
                true => peer.send(&Frame::new(RESET, 0, asked.stream, 2_u32.to_be_bytes())),
                false => peer.answer(asked.stream, "here"),
            }
        }
    });
    let process = Config::http(&[backend.addr()])
        .with_pool("protocol: h2")
        .start();
    let web = process.listener("web");
    assert_eq!(get(web, "/").text(), "here");
    assert_eq!(get(web, "/reset").status, 502);
    assert_eq!(get(web, "/").text(), "here");
    wait_for_cause(&process, "connection_terminated", 1);
    assert_eq!(backend.connections(), 1);
}

/// A window that never opens holds its request back until the deadline, and no other.
#[test]
fn a_window_that_stays_shut_is_a_deadline() {
    let backend = Http2Backend::start(|peer| {
        peer.settings(&[(4, 0)]);
        while let Some(asked) = peer.asked() {
            if asked.ends {
                peer.answer(asked.stream, "here");
            }
        }
    });
    let config = Config::http(&[backend.addr()])
        .with_pool("protocol: h2")
        .with("timeouts: { write_progress: 1s }");
    let process = config.start();
    let web = process.listener("web");
    let mut client = RawClient::connect(web).unwrap();
    let head = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nabcde";
    assert_eq!(client.exchange(head).unwrap().status, 504);
    wait_for_cause(&process, "connection_write_timeout", 1);
    wait_until(|| get(web, "/").text() == "here", "others are served");
}
