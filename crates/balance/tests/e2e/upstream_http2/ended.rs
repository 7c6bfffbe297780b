//! Streams and connections that backends end: what is sent again, and what must not be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use balance_testkit::http2::{
    DATA, END_STREAM, Frame, GOAWAY, Http2Backend, Http2Peer, PING, RESET,
};
use balance_testkit::{PATIENCE, RawClient, Signal};

use crate::http2::raw::RawHttp2;
use crate::subject::{Config, get, wait_for_cause, wait_until};

const REFUSED_STREAM: u32 = 7;
const INTERNAL_ERROR: u32 = 2;

fn over_http2(backend: &Http2Backend) -> Config {
    Config::http(&[backend.addr()]).with_pool("protocol: h2")
}

fn goaway(last: u32, code: u32) -> Frame {
    let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
    Frame::new(GOAWAY, 0, 0, payload)
}

fn reset(stream: u32, code: u32) -> Frame {
    Frame::new(RESET, 0, stream, code.to_be_bytes())
}

const POST: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nabcde";

/// RFC 9113 §8.7: a backend that says so has processed nothing. Even a POST is sent again, whole.
#[test]
fn what_was_not_processed_is_sent_again() {
    type Refuse = fn(&mut Http2Peer, u32);
    let refusals: [(&str, Refuse); 3] = [
        ("refused", |peer, stream| {
            peer.send(&reset(stream, REFUSED_STREAM))
        }),
        ("excluded by GOAWAY", |peer, stream| {
            peer.send(&goaway(stream - 2, 0));
        }),
        ("excluded, and closed", |peer, stream| {
            peer.send(&goaway(stream - 2, 0));
            peer.number = usize::MAX;
        }),
    ];
    for (name, refuse) in refusals {
        let backend = Http2Backend::start(move |peer| {
            peer.settings(&[]);
            while let Some(asked) = peer.asked() {
                let content = peer.content(&asked);
                // The first request of a connection is answered, so that the second one finds it there.
                if peer.number == 0 && asked.stream > 1 {
                    refuse(peer, asked.stream);
                    if peer.number == usize::MAX {
                        return;
                    }
                    continue;
                }
                peer.answer(asked.stream, &String::from_utf8_lossy(&content));
            }
        });
        let process = over_http2(&backend).start();
        let mut client = RawClient::connect(process.listener("web")).unwrap();
        for _ in 0..2 {
            let response = client.exchange(POST).unwrap();
            assert_eq!(
                (response.status, response.text().as_str()),
                (200, "abcde"),
                "{name}"
            );
        }
        assert_eq!(backend.connections(), 2, "{name}");
        wait_for_cause(&process, "completed", 2);
    }
}

/// Robustness BE-02: a connection that ends without an answer. What is idempotent is sent once more, over a new one.
#[test]
fn a_connection_that_ends_loses_no_get() {
    let backend = Http2Backend::start(|peer| {
        peer.settings(&[]);
        while let Some(asked) = peer.asked() {
            if peer.number == 0 && asked.stream > 1 {
                return;
            }
            peer.answer(asked.stream, "here");
        }
    });
    let process = over_http2(&backend).start();
    let web = process.listener("web");
    for _ in 0..2 {
        assert_eq!(get(web, "/").text(), "here");
    }
    assert_eq!(backend.connections(), 2);
}

#[test]
fn a_post_that_may_have_been_processed_is_not_sent_again() {
    let backend = Http2Backend::start(|peer| {
        peer.settings(&[]);
        while let Some(asked) = peer.asked() {
            peer.content(&asked);
            if asked.stream > 1 {
                return;
            }
            peer.answer(asked.stream, "here");
        }
    });
    let process = over_http2(&backend).start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    assert_eq!(client.exchange(POST).unwrap().status, 200);
    assert_eq!(client.exchange(POST).unwrap().status, 502);
    assert_eq!(backend.requests(), 2);
    wait_for_cause(&process, "connection_terminated", 1);
}

/// A GOAWAY ends a connection with what runs on it, and new requests go elsewhere.
#[test]
fn streams_below_a_goaway_are_finished() {
    let may_finish = Arc::new(AtomicBool::new(false));
    let has_ended = Arc::new(AtomicBool::new(false));
    let (may_go_on, ended) = (Arc::clone(&may_finish), Arc::clone(&has_ended));
    let backend = Http2Backend::start(move |peer| {
        peer.settings(&[]);
        while let Some(asked) = peer.asked() {
            if peer.number > 0 {
                peer.answer(asked.stream, "new");
                continue;
            }
            peer.head(asked.stream, &[(":status", "200")], 0);
            peer.send(&Frame::new(DATA, 0, asked.stream, "be"));
            peer.send(&goaway(asked.stream, 0));
            while !may_go_on.load(Ordering::Acquire) {
                balance_testkit::pause(Duration::from_millis(5));
            }
            peer.send(&Frame::new(DATA, END_STREAM, asked.stream, "gun"));
            // Whoever ends is told goodbye, and the connection is closed by us.
            assert!(peer.read_kind(GOAWAY).is_some());
            assert_eq!(peer.read(), None);
            ended.store(true, Ordering::Release);
        }
    });
    let process = over_http2(&backend).start();
    let web = process.listener("web");
    let mut client = RawHttp2::connect(web);
    client.ask("/");
    assert_eq!(client.read_kind(DATA).payload, b"be");
    wait_until(
        || get(web, "/").text() == "new",
        "a new connection is opened",
    );
    may_finish.store(true, Ordering::Release);
    assert_eq!(client.read_kind(DATA).payload, b"gun");
    wait_until(|| has_ended.load(Ordering::Acquire), "the connection ends");
}

#[test]
fn a_reset_in_the_middle_of_a_response_is_seen_by_the_client() {
    let backend = Http2Backend::start(|peer| {
        peer.settings(&[]);
        while let Some(asked) = peer.asked() {
            if asked.text.contains("/cut") {
                peer.head(asked.stream, &[(":status", "200")], 0);
                peer.send(&Frame::new(DATA, 0, asked.stream, "half"));
                peer.send(&reset(asked.stream, INTERNAL_ERROR));
            } else {
                peer.answer(asked.stream, "here");
            }
        }
    });
    let process = over_http2(&backend).start();
    let web = process.listener("web");
    let mut client = RawHttp2::connect(web);
    let stream = client.ask("/cut");
    assert_eq!(client.response(stream), Err(INTERNAL_ERROR));
    let mut client = RawClient::connect(web).unwrap();
    client
        .send("GET /cut HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    let received = String::from_utf8_lossy(&client.read_to_end().unwrap()).into_owned();
    assert!(!received.ends_with("0\r\n\r\n"), "{received}");
    wait_for_cause(&process, "http_response_incomplete", 2);
    assert_eq!(get(web, "/").text(), "here");
    assert_eq!(backend.connections(), 1);
}

/// A backend that answers before it has read all, and then wants no more (RFC 9113 §8.1).
#[test]
fn an_early_answer_is_the_answer() {
    let backend = Http2Backend::start(|peer| {
        peer.settings(&[]);
        while let Some(asked) = peer.asked() {
            peer.head(asked.stream, &[(":status", "403")], 0);
            peer.send(&Frame::new(DATA, END_STREAM, asked.stream, "no"));
            peer.send(&reset(asked.stream, 0));
        }
    });
    let process = over_http2(&backend).start();
    let mut client = RawHttp2::connect(process.listener("web"));
    let stream = client.begin("POST", "/", &[], 0);
    client.send(&Frame::new(DATA, 0, stream, vec![b'x'; 1000]));
    assert_eq!(client.response(stream), Ok((403, b"no".to_vec())));
    wait_for_cause(&process, "completed", 1);
}

/// A connection on which nothing comes any more is asked whether it lives, and not used meanwhile.
#[test]
fn a_silent_connection_is_left_alone() {
    let backend = Http2Backend::start(|peer| {
        peer.settings(&[]);
        if peer.number > 0 {
            return peer.answer_all();
        }
        // Acknowledges nothing, PING least of all.
        let mut has_pinged = false;
        while let Some(frame) = peer.read_silently() {
            has_pinged |= frame.kind == PING;
        }
        assert!(has_pinged);
    });
    let process = over_http2(&backend)
        .with("timeouts: { first_byte: 1s }")
        .start();
    let web = process.listener("web");
    assert_eq!(get(web, "/").status, 504);
    wait_until(
        || get(web, "/").text() == "here",
        "another connection answers",
    );
}

/// Nothing is lost when Balance ends: what runs is finished, then the backend is told.
#[test]
fn a_drain_finishes_what_runs() {
    let backend = Http2Backend::start(|peer| {
        peer.settings(&[]);
        let Some(asked) = peer.asked() else { return };
        peer.head(asked.stream, &[(":status", "200")], 0);
        balance_testkit::pause(Duration::from_millis(300));
        peer.send(&Frame::new(DATA, END_STREAM, asked.stream, "late"));
        assert!(peer.read_kind(GOAWAY).is_some());
    });
    let mut process = over_http2(&backend).start();
    let mut client = RawHttp2::connect(process.listener("web"));
    let stream = client.ask("/");
    wait_until(|| backend.requests() == 1, "the request came");
    process.signal(Signal::Terminate).unwrap();
    assert_eq!(client.response(stream), Ok((200, b"late".to_vec())));
    drop(client);
    assert!(process.wait_for_exit(PATIENCE).success());
}

#[test]
fn an_idle_connection_is_closed() {
    let backend = Http2Backend::start(|peer| {
        peer.settings(&[]);
        peer.answer_all();
    });
    let config = over_http2(&backend).with("http: { idle_conn_timeout: 300ms }");
    let process = config.start();
    let web = process.listener("web");
    assert_eq!(get(web, "/").text(), "here");
    wait_until(
        || {
            let before = backend.connections();
            balance_testkit::pause(Duration::from_millis(500));
            get(web, "/");
            backend.connections() > before
        },
        "an idle connection ended",
    );
}
