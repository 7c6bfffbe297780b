//! What passes over streams of shared connections, and what becomes of the others when one stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use balance_testkit::RawClient;
use balance_testkit::http2::{
    DATA, END_HEADERS, END_STREAM, Frame, HEADERS, Http2Backend, RESET, WINDOW_UPDATE, block,
};

use crate::http2::raw::RawHttp2;
use crate::subject::{Config, get, get_on, metric, reload, wait_for_cause, wait_until};

const CANCEL: u32 = 8;

fn over_http2(backends: &[&Http2Backend]) -> Config {
    let addresses: Vec<_> = backends.iter().map(|backend| backend.addr()).collect();
    Config::http(&addresses).with_pool("protocol: h2")
}

/// One connection for all, whatever the clients speak.
#[test]
fn clients_share_a_connection() {
    let backend = Http2Backend::start(|peer| {
        peer.settings(&[]);
        while let Some(asked) = peer.asked() {
            let content = peer.content(&asked);
            let length = content.len().to_string();
            let fields = [(":status", "200"), ("content-length", length.as_str())];
            peer.head(asked.stream, &fields, 0);
            peer.send(&Frame::new(DATA, END_STREAM, asked.stream, content));
        }
    });
    let process = over_http2(&[&backend]).start();
    let web = process.listener("web");
    assert_eq!(get(web, "/").body, b"");
    let mut client = RawClient::connect(web).unwrap();
    for upload in [
        "Content-Length: 5\r\n\r\nabcde",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        "Content-Length: 0\r\n\r\n",
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: test\r\n{upload}");
        let response = client.exchange(request).unwrap();
        let body = if upload.ends_with("0\r\n\r\n") && !upload.contains("abc") {
            ""
        } else {
            "abcde"
        };
        assert_eq!((response.status, response.text()), (200, body.to_owned()));
    }
    let mut client = RawHttp2::connect(web);
    let stream = client.begin("POST", "/", &[], 0);
    client.send(&Frame::new(DATA, 0, stream, "of any "));
    client.send(&Frame::new(DATA, END_STREAM, stream, "length"));
    assert_eq!(
        client.response(stream),
        Ok((200, b"of any length".to_vec()))
    );
    assert_eq!((backend.connections(), backend.requests()), (1, 5));
    wait_for_cause(&process, "completed", 5);
}

#[test]
fn what_the_backend_reads_is_a_clean_request() {
    let backend = Http2Backend::start(|peer| {
        peer.settings(&[]);
        while let Some(asked) = peer.asked() {
            let text = asked.text.clone();
            peer.answer(asked.stream, &text);
        }
    });
    let process = over_http2(&[&backend]).start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    let request = "GET /path?query HTTP/1.1\r\nHost: a.test\r\nConnection: x-hop, keep-alive\r\nX-Hop: 1\r\n\
                   Keep-Alive: timeout=5\r\nTE: trailers\r\nUpgrade: websocket\r\nX-Other: Kept\r\n\r\n";
    let seen = client.exchange(request).unwrap().text();
    for part in [
        "a.test",
        "/path?query",
        "x-other\u{4}Kept",
        "trailers",
        "x-forwarded-for",
    ] {
        assert!(seen.contains(part), "`{part}` is missing in {seen:?}");
    }
    for part in [
        "x-hop",
        "keep-alive",
        "upgrade",
        "websocket",
        "connection",
        "\u{4}host",
    ] {
        assert!(!seen.contains(part), "`{part}` is in {seen:?}");
    }
}

/// RFC 9113 §8.1; robustness SM-13: to HTTP/1 none are passed on.
#[test]
fn trailers_pass_both_ways_and_reach_no_client_of_http1() {
    let backend = Http2Backend::start(|peer| {
        peer.settings(&[]);
        while let Some(asked) = peer.asked() {
            let mut trailers = String::new();
            let mut has_ended = asked.ends;
            while !has_ended {
                let Some(frame) = peer.read() else { return };
                if frame.kind == HEADERS {
                    trailers = String::from_utf8_lossy(&frame.payload).into_owned();
                }
                has_ended = frame.has(END_STREAM);
            }
            peer.head(asked.stream, &[(":status", "200")], 0);
            peer.send(&Frame::new(DATA, 0, asked.stream, trailers));
            peer.head(asked.stream, &[("x-sum", "2")], END_STREAM);
        }
    });
    let process = over_http2(&[&backend]).start();
    let web = process.listener("web");
    let mut client = RawHttp2::connect(web);
    let stream = client.begin("POST", "/", &[("te", "trailers")], 0);
    client.send(&Frame::new(DATA, 0, stream, "x"));
    let trailers = block(&[("x-checksum", "1"), ("content-length", "9")]);
    client.send(&Frame::new(
        HEADERS,
        END_STREAM | END_HEADERS,
        stream,
        trailers,
    ));
    let head = client.read_kind(HEADERS);
    assert!(!head.has(END_STREAM));
    let seen = String::from_utf8_lossy(&client.read_kind(DATA).payload).into_owned();
    assert!(seen.contains("x-checksum\u{1}1"), "{seen:?}");
    assert!(!seen.contains("content-length"), "{seen:?}");
    let trailers = client.read_kind(HEADERS);
    assert!(trailers.has(END_STREAM));
    let text = String::from_utf8_lossy(&trailers.payload).into_owned();
    assert!(text.contains("x-sum\u{1}2"), "{text:?}");
    let response = get(web, "/");
    assert_eq!((response.status, response.text().as_str()), (200, ""));
    assert_eq!(response.header("x-sum"), None);
}

type Fields = &'static [(&'static str, &'static str)];

/// The method of the request; status, fields and content of the response; the head that the client gets.
const RESPONSES: &[(&str, &str, Fields, &str, &str)] = &[
    (
        "GET",
        "200",
        &[("content-length", "1")],
        "d",
        "HTTP/1.1 200 OK\r\ncontent-length: 1",
    ),
    (
        "GET",
        "200",
        &[],
        "d",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked",
    ),
    (
        "GET",
        "200",
        &[("content-length", "0")],
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 0",
    ),
    (
        "GET",
        "204",
        &[("x-own", "1")],
        "",
        "HTTP/1.1 204 No Content\r\nx-own: 1",
    ),
    (
        "GET",
        "304",
        &[("content-length", "5")],
        "",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 5",
    ),
    (
        "HEAD",
        "200",
        &[("content-length", "5")],
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 5",
    ),
    (
        "GET",
        "404",
        &[("b", "1"), ("a", "2"), ("b", "3"), ("content-length", "1")],
        "d",
        "HTTP/1.1 404 Not Found\r\nb: 1\r\na: 2\r\nb: 3\r\ncontent-length: 1",
    ),
    (
        "GET",
        "200",
        &[
            ("set-cookie", "a=b"),
            ("set-cookie", "c=d"),
            ("content-length", "1"),
        ],
        "d",
        "HTTP/1.1 200 OK\r\nset-cookie: a=b\r\nset-cookie: c=d\r\ncontent-length: 1",
    ),
    (
        "GET",
        "599",
        &[("content-length", "1")],
        "d",
        "HTTP/1.1 599 \r\ncontent-length: 1",
    ),
    (
        "GET",
        "200",
        &[("host", "x"), ("content-length", "1")],
        "d",
        "HTTP/1.1 200 OK\r\ncontent-length: 1",
    ),
];

#[test]
fn responses_become_those_of_http1() {
    let backend = Http2Backend::start(|peer| {
        peer.settings(&[]);
        for (_, status, fields, content, _) in RESPONSES {
            let Some(asked) = peer.asked() else { return };
            let fields = [&[(":status", *status)][..], fields].concat();
            let ends = if content.is_empty() { END_STREAM } else { 0 };
            peer.head(asked.stream, &fields, ends);
            if ends == 0 {
                peer.send(&Frame::new(DATA, END_STREAM, asked.stream, *content));
            }
        }
    });
    let process = over_http2(&[&backend]).start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    for (method, status, fields, content, expected) in RESPONSES {
        client
            .send(format!("{method} / HTTP/1.1\r\nHost: test\r\n\r\n"))
            .unwrap();
        let response = client.read_final_response(*method == "HEAD").unwrap();
        let title = format!("{method} {status} {fields:?}");
        assert_eq!(response.text(), *content, "{title}");
        let head = String::from_utf8_lossy(&response.raw).into_owned();
        let (head, _) = head.split_once("\r\n\r\n").unwrap();
        assert_eq!(head, *expected, "{title}");
    }
    assert_eq!(backend.connections(), 1);
}

/// A client that goes away takes its stream with it, and nothing else.
#[test]
fn a_cancelled_attempt_leaves_its_connection_alone() {
    let resets = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&resets);
    let backend = Http2Backend::start(move |peer| {
        peer.settings(&[]);
        while let Some(frame) = peer.read() {
            match frame.kind {
                HEADERS if String::from_utf8_lossy(&frame.payload).contains("/slow") => {
                    peer.head(frame.stream, &[(":status", "200")], 0);
                }
                HEADERS => peer.answer(frame.stream, "fast"),
                RESET => {
                    assert_eq!(frame.code(), CANCEL);
                    counted.fetch_add(1, Ordering::AcqRel);
                }
                _ => {}
            }
        }
    });
    let process = over_http2(&[&backend]).start();
    let web = process.listener("web");
    for count in 1..=3 {
        let mut client = RawClient::connect(web).unwrap();
        client
            .send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")
            .unwrap();
        client.read_exact(12).unwrap();
        client.reset().unwrap();
        wait_until(|| resets.load(Ordering::Acquire) == count, "a reset came");
        assert_eq!(get(web, "/").text(), "fast");
    }
    wait_for_cause(&process, "client_closed", 3);
    assert_eq!(backend.connections(), 1);
}

/// A client that does not read stops its own stream: the backend may send one window of it, and the others go on.
#[test]
fn a_slow_client_stops_its_stream_alone() {
    const WINDOW: usize = 256 * 1024;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let backend = Http2Backend::start(move |peer| {
        peer.settings(&[]);
        let mut window = WINDOW;
        let mut large = 0;
        while let Some(frame) = peer.read() {
            match frame.kind {
                HEADERS if String::from_utf8_lossy(&frame.payload).contains("/large") => {
                    large = frame.stream;
                    peer.head(large, &[(":status", "200")], 0);
                }
                HEADERS => peer.answer(frame.stream, "fast"),
                WINDOW_UPDATE if large != 0 && frame.stream == large => {
                    let increment: [u8; 4] = frame.payload[..4].try_into().unwrap();
                    window += u32::from_be_bytes(increment) as usize;
                }
                _ => {}
            }
            while large != 0 && window > 0 {
                let octets = window.min(16 * 1024);
                peer.send(&Frame::new(DATA, 0, large, vec![b'x'; octets]));
                window -= octets;
                counted.fetch_add(octets, Ordering::AcqRel);
            }
        }
    });
    let process = over_http2(&[&backend]).start();
    let web = process.listener("web");
    let mut slow = RawHttp2::connect(web);
    slow.ask("/large");
    wait_until(
        || sent.load(Ordering::Acquire) >= WINDOW,
        "a window is full",
    );
    let mut client = RawClient::connect(web).unwrap();
    for _ in 0..50 {
        assert_eq!(get_on(&mut client, "/").text(), "fast");
    }
    // What the client's own window let pass went on; beyond that nothing was asked for.
    let sent = sent.load(Ordering::Acquire);
    assert!(sent <= 2 * WINDOW, "{sent} octets were taken");
    assert_eq!(backend.connections(), 1);
}

/// The backend's window holds the upload back, and the rest follows when it opens.
#[test]
fn an_upload_waits_for_the_backends_window() {
    let backend = Http2Backend::start(|peer| {
        peer.settings(&[(4, 10)]);
        let Some(asked) = peer.asked() else { return };
        let mut content = peer
            .read_kind(DATA)
            .map_or(Vec::new(), |frame| frame.payload);
        assert_eq!(content.len(), 10);
        let mut has_ended = false;
        while !has_ended {
            for stream in [0, asked.stream] {
                let more = 5_000_u32.to_be_bytes();
                peer.send(&Frame::new(WINDOW_UPDATE, 0, stream, more));
            }
            let Some(frame) = peer.read_kind(DATA) else {
                return;
            };
            content.extend(&frame.payload);
            has_ended = frame.has(END_STREAM);
        }
        let sum: u64 = content.iter().map(|byte| u64::from(*byte)).sum();
        peer.answer(asked.stream, &format!("{} {sum}", content.len()));
    });
    let process = over_http2(&[&backend]).start();
    let body: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let response = client.exchange([head.as_bytes(), &body].concat()).unwrap();
    assert_eq!(response.text(), format!("{} {sum}", body.len()));
}

/// The backend's limit of streams is kept: what is above it goes over another connection.
#[test]
fn streams_above_the_backends_limit_take_another_connection() {
    let came = AtomicUsize::new(0);
    let backend = Http2Backend::start(move |peer| {
        peer.settings(&[(3, 2)]);
        let mut open = Vec::new();
        while let Some(asked) = peer.asked() {
            open.push(asked.stream);
            came.fetch_add(1, Ordering::AcqRel);
            if open.len() == 2 {
                wait_until(|| came.load(Ordering::Acquire) == 4, "all of them came");
                for stream in open.drain(..) {
                    peer.answer(stream, "here");
                }
            }
        }
    });
    let process = over_http2(&[&backend]).start();
    let mut client = RawHttp2::connect(process.listener("web"));
    let streams: Vec<_> = (0..4).map(|_| client.ask("/")).collect();
    wait_until(|| backend.requests() == 4, "all of them came");
    let mut answered = 0;
    while answered < streams.len() {
        let frame = client.read_kind(DATA);
        assert_eq!(frame.payload, b"here");
        answered += 1;
    }
    assert_eq!(backend.connections(), 2);
}

/// Who comes while a connection is being opened waits for it.
#[test]
fn a_burst_opens_one_connection() {
    let backend = Http2Backend::start(|peer| {
        peer.settings(&[]);
        peer.answer_all();
    });
    let process = over_http2(&[&backend]).start();
    let mut client = RawHttp2::connect(process.listener("web"));
    let streams: Vec<_> = (0..50).map(|_| client.ask("/")).collect();
    for _ in &streams {
        assert_eq!(client.read_kind(DATA).payload, b"here");
    }
    assert_eq!(backend.connections(), 1);
    assert_eq!(
        metric(
            &process,
            "balance_backend_retries_total{pool=\"p\",backend=\"a\"}"
        ),
        0.0
    );
}

#[test]
fn a_reload_to_http1_uses_http2_no_more() {
    let backend = Http2Backend::start(|peer| {
        peer.settings(&[]);
        peer.answer_all();
    });
    let origin = balance_testkit::Origin::answering(balance_testkit::Script::ok("old"));
    let config = over_http2(&[&backend]);
    let process = config.start();
    assert_eq!(get(process.listener("web"), "/").text(), "here");
    reload(&process, &Config::http(&[origin.addr()]));
    assert_eq!(get(process.listener("web"), "/").text(), "old");
    reload(&process, &config);
    assert_eq!(get(process.listener("web"), "/").text(), "here");
    wait_until(
        || backend.connections() == 2,
        "the first connection was given up",
    );
}
