//! Which backend is asked, how often, and what happens when none answers.

use balance_core::Cause;
use balance_proto::BodyLength;

use super::super::memory::{Client, Connect, Connection, Reply, Sends, Step, Takes};
use super::super::sides::ClientEvent;
use super::setup::{Setup, play};
use super::{answers, head, sum};
use crate::upstream::ConnectError;
use Connect::{Fails, Opens, Reused};
use Step::{Do, Later, Never, Until};

fn two_backends() -> Setup {
    Setup {
        pools: &[&["a", "b"]],
        ..Setup::default()
    }
}

#[test]
fn a_refused_connect_goes_to_the_next_backend_and_the_first_rests() {
    let connects = vec![
        ("a", Fails(ConnectError::Refused)),
        ("b", Opens(answers("hello"))),
    ];
    let seen = play(two_backends(), Client::get("/"), connects);
    seen.check(
        "next",
        &sum("keep", Cause::Completed, 200),
        &[
            "a failed",
            "b opened",
            "b got GET example.com/",
            "client got 200",
            "client got [hello]",
            "client got end",
            "b kept",
        ],
    );
    assert!(seen.is_resting("a") && !seen.is_resting("b"));
    assert_eq!((seen.failures("a"), seen.failures("b")), (1, 0));
}

#[test]
fn a_post_goes_to_the_next_backend_too_as_nothing_was_sent() {
    let connects = vec![
        ("a", Fails(ConnectError::Refused)),
        (
            "b",
            Opens(Connection::new([Until("b got end"), head(201, "")])),
        ),
    ];
    let client = Client::post("/").with_body(BodyLength::Exact(4), [Do(Sends::Last("body"))]);
    let seen = play(two_backends(), client, connects);
    seen.check(
        "post",
        &sum("keep", Cause::Completed, 201),
        &[
            "a failed",
            "b opened",
            "b got POST example.com/",
            "b got [body]",
            "b got end",
            "client got 201",
            "client got end",
            "b kept",
        ],
    );
}

/// The last error names the cause; each backend is asked once.
#[test]
fn when_all_connects_fail_the_last_error_is_the_cause() {
    for (error, cause, status) in [
        (ConnectError::Refused, Cause::ConnectionRefused, 502),
        (ConnectError::Unresolved, Cause::DnsError, 502),
        (
            ConnectError::Unreachable,
            Cause::DestinationUnavailable,
            503,
        ),
        (ConnectError::TimedOut, Cause::ConnectionTimeout, 504),
    ] {
        let connects = vec![("a", Fails(ConnectError::Refused)), ("b", Fails(error))];
        let seen = play(two_backends(), Client::get("/"), connects);
        let own = format!("client got own {status}");
        seen.check(
            cause.name(),
            &sum("keep", cause, status),
            &["a failed", "b failed", &own],
        );
        assert!(seen.is_resting("a") && seen.is_resting("b"));
        let proxy_status = format!("balance; error={}", cause.name());
        assert_eq!(seen.journal.field("client", "proxy-status"), proxy_status);
    }
}

#[test]
fn out_of_resources_blames_no_backend_and_asks_no_other() {
    let connects = vec![("a", Fails(ConnectError::OutOfResources))];
    let seen = play(two_backends(), Client::get("/"), connects);
    seen.check(
        "overloaded",
        &sum("keep", Cause::Overloaded, 503),
        &["a failed", "client got own 503"],
    );
    assert!(!seen.is_resting("a"));
    assert_eq!(seen.failures("a"), 0);
    assert_eq!(seen.journal.field("client", "retry-after"), "1");
}

#[test]
fn full_backends_are_not_asked() {
    let full = Setup {
        max_connections: 2,
        taken: 2,
        ..two_backends()
    };
    let seen = play(full, Client::get("/"), Vec::new());
    seen.check(
        "full",
        &sum("keep", Cause::ConnectionLimitReached, 503),
        &["client got own 503"],
    );
    let nearly_full = Setup {
        max_connections: 3,
        taken: 2,
        ..two_backends()
    };
    let seen = play(
        nearly_full,
        Client::get("/"),
        vec![("a", Opens(answers("")))],
    );
    assert_eq!(seen.sum, sum("keep", Cause::Completed, 200));
}

#[test]
fn an_empty_pool_is_unavailable() {
    let setup = Setup {
        pools: &[&[]],
        ..Setup::default()
    };
    let seen = play(setup, Client::get("/"), Vec::new());
    seen.check(
        "empty",
        &sum("keep", Cause::DestinationUnavailable, 503),
        &["client got own 503"],
    );
}

#[test]
fn a_connection_is_reused_before_one_is_opened() {
    let seen = play(
        Setup::default(),
        Client::get("/"),
        vec![("a", Reused(answers("hello")))],
    );
    seen.check(
        "reused",
        &sum("keep", Cause::Completed, 200),
        &[
            "a reused",
            "a got GET example.com/",
            "client got 200",
            "client got [hello]",
            "client got end",
            "a kept",
        ],
    );
}

/// A reused connection that its backend has closed before it answered (robustness BE-02).
fn stale() -> Connect {
    Reused(Connection::new([Later, Do(Reply::Closes)]))
}

/// As [`stale`], and nothing of the request got through.
fn stale_unsent() -> Connect {
    let connection = Connection::new([Do(Reply::Closes)]);
    Reused(connection.with_takes([Do(Takes::Fails)]))
}

#[test]
fn a_get_is_repeated_once_on_a_fresh_connection_to_the_same_backend() {
    let connects = vec![("a", stale()), ("a", Opens(answers("hello")))];
    let seen = play(two_backends(), Client::get("/"), connects);
    seen.check(
        "repeated",
        &sum("keep", Cause::Completed, 200),
        &[
            "a reused",
            "a got GET example.com/",
            "a closed",
            "a opened",
            "a got GET example.com/",
            "client got 200",
            "client got [hello]",
            "client got end",
            "a kept",
        ],
    );
    assert_eq!(seen.failures("a"), 0);
}

/// A backend that closes before it answers, on a connection that nobody used before.
fn dying() -> Connect {
    Opens(Connection::new([Do(Reply::Closes)]))
}

/// Not even when another reused connection waits: the second time it is a fresh one, and the third time
/// it is another backend.
#[test]
fn a_get_leaves_a_backend_that_closes_a_fresh_connection_too() {
    let connects = vec![
        ("a", stale()),
        ("a", Reused(answers("idle"))),
        ("a", dying()),
        ("b", Opens(answers("hello"))),
    ];
    let seen = play(two_backends(), Client::get("/"), connects);
    seen.check(
        "left",
        &sum("keep", Cause::Completed, 200),
        &[
            "a reused",
            "a got GET example.com/",
            "a closed",
            "a opened",
            "a got GET example.com/",
            "a closed",
            "b opened",
            "b got GET example.com/",
            "client got 200",
            "client got [hello]",
            "client got end",
            "b kept",
        ],
    );
}

#[test]
fn a_request_that_two_backends_leave_unanswered_goes_to_no_third() {
    let setup = Setup {
        pools: &[&["a", "b", "c"]],
        ..Setup::default()
    };
    let connects = vec![("a", dying()), ("b", dying())];
    let seen = play(setup, Client::get("/"), connects);
    seen.check(
        "two",
        &sum("keep", Cause::ConnectionTerminated, 502),
        &[
            "a opened",
            "a got GET example.com/",
            "a closed",
            "b opened",
            "b got GET example.com/",
            "b closed",
            "client got own 502",
        ],
    );
}

/// Once on a reused connection, once on a fresh one, once elsewhere, and there on a fresh one at once.
#[test]
fn an_idempotent_request_is_sent_three_times_at_most() {
    let connects = vec![
        ("a", stale()),
        ("a", dying()),
        ("b", stale()),
        ("b", dying()),
    ];
    let seen = play(two_backends(), Client::get("/"), connects);
    seen.check(
        "three",
        &sum("keep", Cause::ConnectionTerminated, 502),
        &[
            "a reused",
            "a got GET example.com/",
            "a closed",
            "a opened",
            "a got GET example.com/",
            "a closed",
            "b opened",
            "b got GET example.com/",
            "b closed",
            "client got own 502",
        ],
    );
}

#[test]
fn without_another_backend_the_first_failure_is_told() {
    let setup = || Setup {
        pools: &[&["a"]],
        ..Setup::default()
    };
    for connects in [vec![("a", dying())], vec![("a", stale()), ("a", dying())]] {
        let seen = play(setup(), Client::get("/"), connects);
        assert_eq!(seen.sum, sum("keep", Cause::ConnectionTerminated, 502));
    }
}

#[test]
fn a_post_stays_with_a_backend_that_closes_a_fresh_connection() {
    let client = Client::post("/").with_body(BodyLength::Exact(4), [Do(Sends::Last("body"))]);
    let seen = play(two_backends(), client, vec![("a", dying())]);
    assert!(
        seen.sum.contains("connection_terminated, 502"),
        "{}",
        seen.sum
    );
    assert!(!seen.journal.lines().contains(&"b opened".to_owned()));
}

#[test]
fn a_post_whose_bytes_were_sent_is_never_repeated() {
    for (name, upload) in [
        ("all of it", vec![Do(Sends::Last("body"))]),
        ("a part", vec![Do(Sends::Piece("bo")), Never]),
        ("the head", vec![Never]),
    ] {
        let client = Client::post("/").with_body(BodyLength::Exact(4), upload);
        let seen = play(two_backends(), client, vec![("a", stale())]);
        let lines = seen.journal.lines();
        assert_eq!(
            lines[..2],
            ["a reused", "a got POST example.com/"],
            "{name}"
        );
        assert!(
            seen.sum.contains("connection_terminated, 502"),
            "{name}: {}",
            seen.sum
        );
    }
}

/// A PUT may be sent twice, but what was read of its body is gone.
#[test]
fn an_idempotent_request_is_repeated_only_with_its_whole_body() {
    for (upload, repeats) in [
        (vec![Do(Sends::Last("body"))], false),
        (vec![Do(Sends::Piece("bo")), Never], false),
        (vec![Until("a closed"), Do(Sends::Last("body"))], true),
    ] {
        let mut client = Client::post("/").with_body(BodyLength::Exact(4), upload);
        client.request.method = "PUT";
        let mut connects = vec![("a", stale())];
        if repeats {
            let fresh = Connection::new([Until("a got end"), head(200, "")]);
            connects.push(("a", Opens(fresh)));
        }
        let seen = play(two_backends(), client, connects);
        let expected = if repeats {
            "completed, 200"
        } else {
            "connection_terminated, 502"
        };
        assert!(seen.sum.ends_with(expected), "{}", seen.sum);
    }
}

#[test]
fn a_post_of_which_nothing_was_sent_is_sent_again_from_its_first_byte() {
    let fresh = || Opens(Connection::new([Until("a got end"), head(201, "")]));
    for (name, upload) in [
        ("whole", vec![Do(Sends::Last("body"))]),
        (
            "in pieces",
            vec![
                Do(Sends::Piece("bo")),
                Until("a got [bo]"),
                Do(Sends::Last("dy")),
            ],
        ),
    ] {
        let client = Client::post("/").with_body(BodyLength::Chunked, upload);
        let seen = play(
            two_backends(),
            client,
            vec![("a", stale_unsent()), ("a", fresh())],
        );
        let mut expected = vec![
            "a reused",
            "a closed",
            "a opened",
            "a got POST example.com/",
        ];
        expected.extend(match name {
            "whole" => vec!["a got [body]"],
            _ => vec!["a got [bo]", "a got [dy]"],
        });
        expected.extend(["a got end", "client got 201", "client got end", "a kept"]);
        seen.check(name, &sum("keep", Cause::Completed, 201), &expected);
    }
}

#[test]
fn a_client_that_leaves_while_a_connection_opens_is_nobodys_fault() {
    let client = Client::get("/").with_events([Until("a hangs"), Do(ClientEvent::Gone)]);
    let seen = play(two_backends(), client, vec![("a", Connect::Hangs)]);
    seen.check("gone", &sum("abort", Cause::ClientClosed, 0), &["a hangs"]);
    assert_eq!(seen.failures("a"), 0);
    assert!(!seen.is_resting("a"));
}

#[test]
fn a_client_that_half_closes_while_a_connection_opens_is_served() {
    let client = Client::get("/").with_events([Do(ClientEvent::HalfClosed)]);
    let seen = play(Setup::default(), client, vec![("a", Opens(answers("")))]);
    assert_eq!(seen.sum, sum("keep", Cause::Completed, 200));
}
