//! Configured retries: when, how often, with what, and when not.

use std::time::Duration;

use balance_core::{Backoff, Cause, RetryConditions, RetryPolicy, Timeouts};
use balance_proto::BodyLength;

use super::super::memory::{Client, Connect, Connection, Reply, Sends, Step, Takes};
use super::super::sides::ClientEvent;
use super::setup::{Seen, Setup, play};
use super::{answers, head, partial_head, sum};
use crate::upstream::ConnectError;
use Connect::{Fails, Hangs, Opens, Reused};
use Step::{Do, Later, Never, Until};

/// Without delays worth speaking of.
fn policy() -> RetryPolicy {
    RetryPolicy {
        backoff: Backoff {
            initial: Duration::from_millis(1),
            max: Duration::from_millis(1),
            ..Backoff::default()
        },
        ..RetryPolicy::default()
    }
}

fn with(retry: RetryPolicy) -> Setup {
    Setup {
        pools: &[&["a", "b"]],
        retry: Some(retry),
        ..Setup::default()
    }
}

fn post() -> Client {
    Client::post("/").with_body(BodyLength::Exact(4), [Do(Sends::Last("body"))])
}

fn put() -> Client {
    let mut client = post();
    client.request.method = "PUT";
    client
}

/// A connection whose backend reads the whole request before it answers so.
fn after_body(name: &'static str, reply: Step<Reply>) -> Connection {
    Connection::new([Until(name), reply])
}

/// The journal, with what the client got last.
fn last(seen: &Seen) -> String {
    seen.journal.lines().pop().unwrap_or_default()
}

#[test]
fn a_status_is_repeated_at_another_backend_and_never_seen() {
    for status in [502, 503, 504] {
        let connects = vec![
            ("a", Opens(Connection::new([head(status, "sorry")]))),
            ("b", Opens(answers("hello"))),
        ];
        let seen = play(with(policy()), Client::get("/"), connects);
        seen.check(
            &status.to_string(),
            &sum("keep", Cause::Completed, 200),
            &[
                "a opened",
                "a got GET example.com/",
                "a kept",
                "b opened",
                "b got GET example.com/",
                "client got 200",
                "client got [hello]",
                "client got end",
                "b kept",
            ],
        );
        assert_eq!(seen.retries, "status 1");
        assert_eq!(seen.retries_under_way, 0);
    }
}

#[test]
fn what_is_not_listed_or_used_up_passes_as_it_came() {
    let only = |word: &str| {
        let mut on = RetryConditions::NONE;
        on.add(word).expect("a known word");
        RetryPolicy { on, ..policy() }
    };
    let once = RetryPolicy {
        max_attempts: 1,
        ..policy()
    };
    for (name, retry, client, status, refused) in [
        ("not by default", policy(), Client::get("/"), 500, ""),
        ("not by default", policy(), Client::get("/"), 429, ""),
        ("not listed", only("429"), Client::get("/"), 503, ""),
        ("a success", only("5xx"), Client::get("/"), 404, ""),
        ("attempts", once, Client::get("/"), 503, "attempts 1"),
        (
            "a POST",
            policy(),
            Client::post("/"),
            503,
            "not_repeatable 1",
        ),
    ] {
        let connects = vec![("a", Opens(Connection::new([head(status, "so")])))];
        let seen = play(with(retry), client, connects);
        assert_eq!(seen.sum, sum("keep", Cause::Completed, status), "{name}");
        assert_eq!(seen.retries, refused, "{name}");
        assert!(seen.journal.lines().contains(&"client got [so]".to_owned()));
    }
    let connects = vec![
        ("a", Opens(Connection::new([head(429, "")]))),
        ("b", Opens(answers(""))),
    ];
    let seen = play(with(only("429")), Client::get("/"), connects);
    assert_eq!(seen.sum, sum("keep", Cause::Completed, 200));
    assert_eq!(seen.backend_failures("a"), 0, "429 blames nobody");
}

/// The last attempt's answer is the client's, whatever it is.
#[test]
fn attempts_are_counted_and_the_last_answer_passes() {
    let says = |name| (name, Opens(Connection::new([head(503, name)])));
    let connects = ["a", "b", "a"].map(says);
    let seen = play(with(policy()), Client::get("/"), connects.into());
    assert_eq!(seen.sum, sum("keep", Cause::Completed, 503));
    assert_eq!(seen.retries, "status 2, attempts 1");
    let lines = seen.journal.lines();
    let asked: Vec<&str> = lines
        .iter()
        .map(String::as_str)
        .filter(|line| line.contains("got GET"))
        .collect();
    assert_eq!(
        asked,
        [
            "a got GET example.com/",
            "b got GET example.com/",
            "a got GET example.com/"
        ],
        "another one is preferred, and then one that was tried will do"
    );
}

#[test]
fn an_answer_that_is_put_aside_half_read_costs_its_connection() {
    let connects = vec![
        ("a", Opens(Connection::new([partial_head(503, 9, "part")]))),
        ("b", Opens(answers(""))),
    ];
    let seen = play(with(policy()), Client::get("/"), connects);
    assert_eq!(seen.sum, sum("keep", Cause::Completed, 200));
    assert!(seen.journal.lines().contains(&"a closed".to_owned()));
}

#[test]
fn a_backend_that_is_lost_or_silent_or_talks_garbage_is_left() {
    let patient = || {
        let mut retry = policy();
        retry.on.add("protocol-error").expect("a known word");
        retry
    };
    let hasty = || RetryPolicy {
        per_try: Duration::from_millis(20),
        ..policy()
    };
    for (name, retry, reply, reason) in [
        ("garbage", patient(), Do(Reply::Garbage), "protocol_error 1"),
        ("silence", hasty(), Never, "timeout 1"),
    ] {
        let connects = vec![
            ("a", Opens(Connection::new([reply]))),
            ("b", Opens(answers(""))),
        ];
        let seen = play(with(retry), Client::get("/"), connects);
        assert_eq!(seen.sum, sum("keep", Cause::Completed, 200), "{name}");
        assert_eq!(seen.retries, reason, "{name}");
    }
    let connects = vec![("a", Hangs), ("b", Opens(answers("")))];
    let seen = play(with(hasty()), Client::get("/"), connects);
    assert_eq!(seen.sum, sum("keep", Cause::Completed, 200), "connecting");
}

/// Each backend once without configuration, then again as the policy says.
#[test]
fn a_pool_that_refuses_is_tried_again_until_attempts_are_used_up() {
    let refused = || Fails(ConnectError::Refused);
    let connects = vec![
        ("a", refused()),
        ("a", refused()),
        ("a", Opens(answers(""))),
    ];
    let setup = Setup {
        pools: &[&["a"]],
        ..with(policy())
    };
    let seen = play(setup, post(), connects);
    assert_eq!(
        seen.sum,
        sum("keep", Cause::Completed, 200),
        "nothing was sent"
    );
    assert_eq!(seen.retries, "connect_failure 2");
    let connects = vec![("a", refused()), ("b", refused()), ("a", refused())];
    let seen = play(with(policy()), Client::get("/"), connects);
    assert_eq!(seen.sum, sum("keep", Cause::ConnectionRefused, 502));
}

/// The first two attempts are those of the rules without configuration.
#[test]
fn a_request_that_was_lost_twice_is_sent_a_third_time() {
    let dying = || Opens(Connection::new([Do(Reply::Closes)]));
    let connects = vec![("a", dying()), ("b", dying()), ("a", Opens(answers("")))];
    let seen = play(with(policy()), Client::get("/"), connects);
    assert_eq!(seen.sum, sum("keep", Cause::Completed, 200));
    assert_eq!(seen.retries, "reset 1");
}

/// Robustness BE-02: whatever happens to it.
#[test]
fn a_post_whose_bytes_were_sent_is_never_sent_again_without_opt_in() {
    let hasty = || RetryPolicy {
        per_try: Duration::from_millis(20),
        ..policy()
    };
    let half = [Do(Sends::Piece("bo")), Never];
    let half = Client::post("/").with_body(BodyLength::Exact(4), half);
    for (name, client, connect) in [
        ("503", post(), Opens(after_body("a got end", head(503, "")))),
        (
            "reset",
            post(),
            Opens(after_body("a got end", Do(Reply::Closes))),
        ),
        (
            "stale",
            post(),
            Reused(after_body("a got end", Do(Reply::Closes))),
        ),
        ("timeout", post(), Opens(Connection::new([Never]))),
        (
            "half a body",
            half,
            Opens(after_body("a got [bo]", head(503, ""))),
        ),
    ] {
        let seen = play(with(hasty()), client, vec![("a", connect)]);
        let lines = seen.journal.lines();
        let sent = lines
            .iter()
            .filter(|line| line.contains("got POST"))
            .count();
        assert_eq!(sent, 1, "{name}: {lines:?}");
        assert!(!lines.contains(&"b opened".to_owned()), "{name}");
    }
}

#[test]
fn a_body_that_is_kept_is_sent_again_from_its_start() {
    let opted_in = || RetryPolicy {
        methods: Some(vec!["POST".to_owned()]),
        ..policy()
    };
    let pieces = || [Do(Sends::Piece("bo")), Later, Do(Sends::Last("dy"))];
    for (name, retry, client, length) in [
        ("a PUT", policy(), put(), BodyLength::Exact(4)),
        ("a POST by opt-in", opted_in(), post(), BodyLength::Exact(4)),
        ("a chunked PUT", policy(), put(), BodyLength::Chunked),
    ] {
        let client = client.with_body(length, pieces());
        let connects = vec![
            ("a", Opens(after_body("a got end", head(503, "")))),
            ("b", Opens(after_body("b got end", head(200, "")))),
        ];
        let seen = play(with(retry), client, connects);
        assert_eq!(seen.sum, sum("keep", Cause::Completed, 200), "{name}");
        let lines = seen.journal.lines();
        let of_b: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.strip_prefix("b got ["))
            .collect();
        assert_eq!(of_b, ["body]"], "{name}");
    }
}

/// What an earlier attempt got of it goes out first, then the rest as the client sends it.
#[test]
fn a_body_that_is_still_coming_goes_on_at_the_next_backend() {
    let upload = [
        Do(Sends::Piece("bo")),
        Until("b got [bo]"),
        Do(Sends::Last("dy")),
    ];
    let client = put().with_body(BodyLength::Exact(4), upload);
    let connects = vec![
        ("a", Opens(after_body("a got [bo]", head(503, "")))),
        ("b", Opens(after_body("b got end", head(200, "")))),
    ];
    let seen = play(with(policy()), client, connects);
    assert_eq!(seen.sum, sum("keep", Cause::Completed, 200));
    let lines = seen.journal.lines();
    assert!(
        lines.contains(&"a closed".to_owned()),
        "its request was not complete"
    );
    let of_b: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("b got ["))
        .collect();
    assert_eq!(of_b, ["bo]", "dy]"]);
}

#[test]
fn a_body_above_the_limit_is_not_kept() {
    let small = |body_bytes_max| RetryPolicy {
        body_bytes_max,
        ..policy()
    };
    let pieces = || [Do(Sends::Piece("bo")), Do(Sends::Last("dy"))];
    for (name, body_bytes_max, length, repeated) in [
        ("announced, at the limit", 4, BodyLength::Exact(4), true),
        ("announced, above", 3, BodyLength::Exact(4), false),
        ("chunked, at the limit", 4, BodyLength::Chunked, true),
        ("chunked, above", 3, BodyLength::Chunked, false),
        ("off", 0, BodyLength::Chunked, false),
    ] {
        let mut connects = vec![("a", Opens(after_body("a got end", head(503, ""))))];
        if repeated {
            connects.push(("b", Opens(after_body("b got end", head(200, "")))));
        }
        let client = put().with_body(length, pieces());
        let seen = play(with(small(body_bytes_max)), client, connects);
        let expected = if repeated { 200 } else { 503 };
        assert_eq!(seen.sum, sum("keep", Cause::Completed, expected), "{name}");
        if !repeated {
            assert_eq!(seen.retries, "not_repeatable 1", "{name}");
        }
    }
}

#[test]
fn nothing_is_repeated_once_the_response_began() {
    let connects = vec![(
        "a",
        Opens(Connection::new([
            partial_head(200, 9, "part"),
            Do(Reply::Closes),
        ])),
    )];
    let seen = play(with(policy()), Client::get("/"), connects);
    assert_eq!(seen.sum, sum("abort", Cause::HttpResponseIncomplete, 200));
    assert_eq!(seen.retries, "");
}

/// Until its first body piece is known to be good, nothing was passed on.
#[test]
fn a_head_that_breaks_off_is_repeated() {
    let mut retry = policy();
    retry
        .on
        .add("http_response_incomplete")
        .expect("a known word");
    let connects = vec![
        (
            "a",
            Opens(Connection::new([super::interim(103), Do(Reply::Closes)])),
        ),
        ("b", Opens(answers(""))),
    ];
    let seen = play(with(retry), Client::get("/"), connects);
    assert_eq!(seen.sum, sum("keep", Cause::Completed, 200));
}

#[test]
fn the_deadline_of_the_exchange_holds_over_all_attempts() {
    let slow = RetryPolicy {
        backoff: Backoff {
            initial: Duration::from_secs(3600),
            max: Duration::from_secs(3600),
            jitter: 0.0,
            ..Backoff::default()
        },
        ..RetryPolicy::default()
    };
    let setup = |retry| Setup {
        timeouts: Timeouts {
            request: Duration::from_secs(30),
            ..Timeouts::default()
        },
        ..with(retry)
    };
    // A retry that could not begin in time is not waited for.
    let connects = vec![("a", Opens(Connection::new([head(503, "")])))];
    let seen = play(setup(slow), Client::get("/"), connects);
    assert_eq!(seen.sum, sum("keep", Cause::Completed, 503));
    assert_eq!(seen.retries, "deadline 1");
    // One that has begun ends with the exchange.
    let setup = Setup {
        timeouts: Timeouts {
            request: Duration::from_millis(30),
            ..Timeouts::default()
        },
        ..with(policy())
    };
    let connects = vec![
        ("a", Opens(Connection::new([head(503, "")]))),
        ("b", Opens(Connection::new([Never]))),
    ];
    let seen = play(setup, Client::get("/"), connects);
    assert_eq!(seen.sum, sum("keep", Cause::HttpResponseTimeout, 504));
}

#[test]
fn a_client_that_leaves_while_a_retry_waits_ends_it() {
    let slow = RetryPolicy {
        backoff: Backoff {
            initial: Duration::from_secs(3600),
            max: Duration::from_secs(3600),
            jitter: 0.0,
            ..Backoff::default()
        },
        ..RetryPolicy::default()
    };
    let client = Client::get("/").with_events([Until("a kept"), Do(ClientEvent::Gone)]);
    let connects = vec![("a", Opens(Connection::new([head(503, "")])))];
    let seen = play(with(slow), client, connects);
    assert_eq!(seen.sum, sum("abort", Cause::ClientClosed, 0));
    assert_eq!(last(&seen), "a kept");
    assert_eq!(seen.retries_under_way, 0);
}

#[test]
fn a_retry_without_budget_passes_the_failure() {
    let setup = Setup {
        retries_under_way: RetryPolicy::RETRIES_MIN,
        ..with(policy())
    };
    let connects = vec![("a", Opens(Connection::new([head(503, "so")])))];
    let seen = play(setup, Client::get("/"), connects);
    assert_eq!(seen.sum, sum("keep", Cause::Completed, 503));
    assert_eq!(seen.retries, "budget 1");
}

/// A write that fails because the backend does not read is no reason to lose its answer, and its status counts.
#[test]
fn a_backend_that_stops_reading_and_says_503_is_left() {
    let connection = Connection::new([Later, Later, head(503, "")]);
    let connects = vec![
        (
            "a",
            Opens(connection.with_takes([Do(Takes::One), Do(Takes::Fails)])),
        ),
        ("b", Opens(after_body("b got end", head(200, "")))),
    ];
    let client = put().with_body(
        BodyLength::Exact(4),
        [Do(Sends::Piece("bo")), Do(Sends::Last("dy"))],
    );
    let seen = play(with(policy()), client, connects);
    assert_eq!(seen.sum, sum("keep", Cause::Completed, 200));
}
