//! How request and response travel between the two sides.

use balance_core::{Cause, Limits, ProtocolSettings};
use balance_proto::{BodyLength, ResponseBody};

use super::super::memory::{Client, Connect, Connection, Reply, Sends, Step, Takes};
use super::super::sides::ClientEvent;
use super::setup::{Setup, play};
use super::{REQUEST, UPLOAD, after, answers, head, interim, play_one, response, sum};
use Connect::Opens;
use Step::{Do, Later, Never, Until};

/// Wherever either side is not ready, the outcome is the same.
#[test]
fn pieces_pass_in_order_whatever_has_to_wait() {
    let chunked = Do(Reply::Head(response(200), ResponseBody::Chunked, "r1"));
    let upload = [
        Do(Sends::Piece("q1")),
        Later,
        Do(Sends::Piece("q2")),
        Later,
        Do(Sends::Last("")),
    ];
    let replies = [
        Until("a got end"),
        Later,
        chunked,
        Later,
        Do(Reply::Piece("r2")),
        Do(Reply::Last("r3")),
    ];
    let slow = [Do(Takes::One), Later, Later, Do(Takes::One), Later];
    for (name, client_takes, backend_takes) in [
        ("fast", vec![], vec![]),
        ("slow backend", vec![], slow.to_vec()),
        ("slow client", slow.to_vec(), vec![]),
        ("both slow", slow.to_vec(), slow.to_vec()),
    ] {
        let client = Client::post("/")
            .with_body(BodyLength::Chunked, upload)
            .with_takes(client_takes);
        let connection = Connection::new(replies.clone()).with_takes(backend_takes);
        play_one(client, connection).check(
            name,
            &sum("keep", Cause::Completed, 200),
            &after(
                UPLOAD,
                &[
                    "a got [q1]",
                    "a got [q2]",
                    "a got end",
                    "client got 200",
                    "client got [r1]",
                    "client got [r2]",
                    "client got [r3]",
                    "client got end",
                    "a kept",
                ],
            ),
        );
    }
}

#[test]
fn the_head_does_not_wait_for_the_body() {
    let upload = [Until("client got 100"), Do(Sends::Last("body"))];
    let client = Client::post("/")
        .field("Expect", "100-continue")
        .with_body(BodyLength::Exact(4), upload);
    let replies = [
        Until("a got POST example.com/"),
        interim(100),
        Until("a got end"),
        head(204, ""),
    ];
    let seen = play_one(client, Connection::new(replies));
    seen.check(
        "100",
        &sum("keep", Cause::Completed, 204),
        &after(
            UPLOAD,
            &[
                "client got 100",
                "a got [body]",
                "a got end",
                "client got 204",
                "client got end",
                "a kept",
            ],
        ),
    );
    assert_eq!(seen.journal.field("a", "expect"), "100-continue");
}

/// The client sends its body only when it has the 100, so nobody else will push it out.
#[test]
fn a_100_that_had_to_wait_is_written_as_soon_as_it_can_be() {
    let upload = [Until("client got 100"), Do(Sends::Last("body"))];
    let client = Client::post("/")
        .field("Expect", "100-continue")
        .with_takes([Later, Later])
        .with_body(BodyLength::Exact(4), upload);
    let replies = [
        Until("a got POST example.com/"),
        interim(100),
        Until("a got end"),
        head(204, ""),
    ];
    let seen = play_one(client, Connection::new(replies));
    assert_eq!(seen.sum, sum("keep", Cause::Completed, 204));
}

/// Robustness BE-07.
#[test]
fn interim_responses_pass_up_to_the_limit() {
    let max = Limits::default().interim_responses_max as usize;
    assert_eq!(max, 8);
    let replies = |count| {
        let mut replies = vec![interim(103); count];
        replies.push(head(200, ""));
        replies
    };
    let mut expected = after(REQUEST, &["client got 103"; 8]);
    let seen = play_one(Client::get("/"), Connection::new(replies(max)));
    let (good, bad) = (
        ["client got 200", "client got end", "a kept"],
        ["a closed", "client got own 502"],
    );
    expected.extend(good);
    seen.check("8", &sum("keep", Cause::Completed, 200), &expected);
    let mut expected = after(REQUEST, &["client got 103"; 8]);
    expected.extend(bad);
    let seen = play_one(Client::get("/"), Connection::new(replies(max + 1)));
    seen.check("9", &sum("keep", Cause::HttpProtocolError, 502), &expected);
}

/// Robustness BE-08: the answer is passed on at once. The rest of the request is still to come, so neither
/// connection is used again.
#[test]
fn an_early_response_is_passed_on_while_the_body_is_in_flight() {
    let client =
        Client::post("/").with_body(BodyLength::Exact(9), [Do(Sends::Piece("part")), Never]);
    let connection = Connection::new([Until("a got [part]"), head(413, "no")]);
    play_one(client, connection).check(
        "early",
        &sum("linger", Cause::Completed, 413),
        &after(
            UPLOAD,
            &[
                "a got [part]",
                "client got 413 close",
                "client got [no]",
                "client got end",
                "a closed",
            ],
        ),
    );
}

/// It says why it stopped reading: the answer counts, not the failed write, whenever that is noticed.
#[test]
fn a_backend_that_stops_reading_may_still_answer() {
    let (one, fails) = (Do(Takes::One), Do(Takes::Fails));
    let part = || vec![Do(Sends::Piece("part")), Never];
    let whole = || vec![Do(Sends::Last("whole"))];
    for (name, upload, takes, sent, next) in [
        ("before the body", vec![Never], vec![fails], 0, "linger"),
        ("at once", part(), vec![one, fails], 1, "linger"),
        ("later", part(), vec![one, Later, fails], 1, "linger"),
        (
            "after the last",
            whole(),
            vec![one, one, Later, fails],
            2,
            "keep",
        ),
    ] {
        let client = Client::post("/").with_body(BodyLength::Exact(5), upload);
        let connection = Connection::new([Later, Later, head(403, "no")]).with_takes(takes);
        let suffix = if next == "keep" { "" } else { " close" };
        let answer = format!("client got 403{suffix}");
        let request = ["a got POST example.com/", "a got [whole]"];
        let mut expected = vec!["a opened"];
        expected.extend(&request[..sent]);
        expected.extend([&*answer, "client got [no]", "client got end", "a closed"]);
        play_one(client, connection).check(name, &sum(next, Cause::Completed, 403), &expected);
    }
}

#[test]
fn both_directions_stream_at_the_same_time() {
    let upload = [
        Do(Sends::Piece("q1")),
        Until("client got [r1]"),
        Do(Sends::Last("q2")),
    ];
    let client = Client::post("/").with_body(BodyLength::Chunked, upload);
    let chunked = Do(Reply::Head(response(200), ResponseBody::Chunked, ""));
    let replies = [
        Until("a got [q1]"),
        chunked,
        Do(Reply::Piece("r1")),
        Until("a got [q2]"),
        Do(Reply::Last("r2")),
    ];
    play_one(client, Connection::new(replies)).check(
        "both",
        // The head was sent while the request was not complete, so it said that it closes.
        &sum("close", Cause::Completed, 200),
        &after(
            UPLOAD,
            &[
                "a got [q1]",
                "client got 200 close",
                "client got [r1]",
                "a got [q2]",
                "a got end",
                "client got [r2]",
                "client got end",
                "a kept",
            ],
        ),
    );
}

#[test]
fn a_half_closed_client_gets_its_response() {
    let client = Client::get("/")
        .with_events([Until("a got GET example.com/"), Do(ClientEvent::HalfClosed)]);
    let connection = Connection::new([Later, Later, head(200, "hello")]);
    play_one(client, connection).check(
        "half-closed",
        &sum("keep", Cause::Completed, 200),
        &after(
            REQUEST,
            &[
                "client got 200",
                "client got [hello]",
                "client got end",
                "a kept",
            ],
        ),
    );
}

/// As operators may wish whose clients never half-close.
#[test]
fn a_half_closed_client_is_gone_with_abort_on_close() {
    for (name, connect, line, expected) in [
        ("connecting", Connect::Hangs, "a hangs", vec!["a hangs"]),
        (
            "awaiting",
            Opens(Connection::new([Never])),
            "a got GET example.com/",
            after(REQUEST, &["a closed"]),
        ),
    ] {
        let setup = Setup {
            protocol: ProtocolSettings {
                abort_on_close: true,
                ..ProtocolSettings::default()
            },
            ..Setup::default()
        };
        let client = Client::get("/").with_events([Until(line), Do(ClientEvent::HalfClosed)]);
        let seen = play(setup, client, vec![("a", connect)]);
        seen.check(name, &sum("abort", Cause::ClientClosed, 0), &expected);
        assert_eq!(seen.failures("a"), 0, "{name}");
    }
}

#[test]
fn a_switch_of_protocols_is_left_to_the_tunnel() {
    let mut client = Client::get("/");
    client.upgrade = Some("websocket");
    let mut switch = response(101);
    switch.fields.push(("Upgrade", "WebSocket"));
    let seen = play_one(client, Connection::new([Later, Do(Reply::Switch(switch))]));
    seen.check(
        "switch",
        "tunnel, -, -",
        &[
            "a opened",
            "a got GET example.com/ upgrade websocket",
            "client got 101",
            "client got end",
        ],
    );
}

/// RFC 9110 §7.8.
#[test]
fn a_switch_to_another_protocol_than_offered_fails() {
    for fields in [
        vec![],
        vec![("Upgrade", "tls")],
        vec![("Upgrade", "websocket, tls")],
    ] {
        let mut client = Client::get("/");
        client.upgrade = Some("websocket");
        let mut switch = response(101);
        switch.fields.extend(fields);
        let seen = play_one(client, Connection::new([Do(Reply::Switch(switch))]));
        assert_eq!(seen.sum, sum("keep", Cause::HttpUpgradeFailed, 502));
    }
}

/// A refused upgrade is an ordinary response.
#[test]
fn an_upgrade_may_be_refused() {
    let mut client = Client::get("/");
    client.upgrade = Some("websocket");
    let seen = play_one(client, answers("no"));
    assert_eq!(seen.sum, sum("keep", Cause::Completed, 200));
}

#[test]
fn draining_and_retired_listeners_close_with_the_response() {
    for (name, is_draining, is_retired) in [("draining", true, false), ("retired", false, true)] {
        let setup = || Setup {
            is_draining,
            is_retired,
            ..Setup::default()
        };
        let seen = play(setup(), Client::get("/"), vec![("a", Opens(answers("")))]);
        seen.check(
            name,
            &sum("close", Cause::Completed, 200),
            &after(
                REQUEST,
                &["client got 200 close", "client got end", "a kept"],
            ),
        );
        let own = Setup {
            listener_pool: None,
            ..setup()
        };
        let seen = play(own, Client::get("/"), Vec::new());
        seen.check(
            name,
            &sum("close", Cause::NoRoute, 404),
            &["client got own 404 close"],
        );
    }
}
