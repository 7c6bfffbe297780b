//! Copies of requests to a second pool, and that they change nothing for the first.

use std::sync::Arc;
use std::time::Duration;

use balance_core::{Cause, PoolId, RouteId};
use balance_lb::Places;
use balance_proto::{BodyLength, Version};
use balance_route::RouteSpec;

use super::super::memory::{Client, Connect, Connection, Reply, Sends, Step, Takes};
use super::setup::{Seen, Setup, play};
use super::{answers, head, interim, partial_head, response, sum};
use crate::exchange::sides::ClientError;
use crate::upstream::ConnectError;
use crate::{Action, MirrorRules, Sample};
use Step::{Do, Later, Never, Until};

fn rules() -> MirrorRules {
    MirrorRules {
        route: RouteId(0),
        pool: PoolId(1),
        sample: Sample::of_share(1.0),
        body_bytes_max: 8,
        timeout: Duration::from_millis(50),
        in_flight_max: 1,
        in_flight: Arc::default(),
    }
}

/// Requests go to `a`, copies to `m`.
fn mirrored(rules: MirrorRules) -> Setup {
    Setup {
        pools: &[&["a"], &["m"]],
        routes: vec![(RouteSpec::any(RouteId(0)), Action::Forward(PoolId(0)))],
        mirror: Some(rules),
        ..Setup::default()
    }
}

fn opens(backend: &'static str, connection: Connection) -> (&'static str, Connect) {
    (backend, Connect::Opens(connection))
}

fn replies(steps: impl IntoIterator<Item = Step<Reply>>) -> Connect {
    Connect::Opens(Connection::new(steps))
}

/// A body that comes in two pieces.
fn upload() -> Client {
    let pieces = [Do(Sends::Piece("ab")), Later, Do(Sends::Last("cd"))];
    Client::post("/x").with_body(BodyLength::Exact(4), pieces)
}

/// `a` answers when it has the whole upload.
fn takes_upload() -> Connection {
    Connection::new([Until("a got end"), head(200, "hello")])
}

/// A request, and how `a` serves it.
type Served = (fn() -> Client, fn() -> Connection);

/// Without a body and with one.
const EXCHANGES: [Served; 2] = [
    (|| Client::get("/x"), || answers("hello")),
    (upload, takes_upload),
];

/// What `m` does, and what the copy is counted as.
type Case = (&'static str, fn() -> Connect, &'static str);

/// What happened at `m`.
fn copy_of(seen: &Seen) -> Vec<String> {
    let lines = seen.journal.lines().into_iter();
    lines.filter(|line| line.starts_with("m ")).collect()
}

/// The exchange is to the letter what it is without a mirror. The copy is counted, and its place given back.
fn check_same(name: &str, (client, serve): Served, connect: Connect, outcome: &str) -> Seen {
    let primary = || opens("a", serve());
    let without = Setup {
        mirror: None,
        ..mirrored(rules())
    };
    let expected = play(without, client(), vec![primary()]);
    let places = Arc::new(Places::new());
    let setup = mirrored(MirrorRules {
        in_flight: Arc::clone(&places),
        ..rules()
    });
    let seen = play(setup, client(), vec![primary(), ("m", connect)]);
    assert_eq!(seen.lines_without("m"), expected.journal.lines(), "{name}");
    assert_eq!(seen.sum, expected.sum, "{name}");
    assert_eq!(seen.copies, outcome, "{name}");
    assert_eq!(places.in_use(), 0, "{name}");
    assert_eq!(seen.failures("a"), 0, "{name}");
    seen
}

#[test]
fn whatever_the_second_pool_answers_the_exchange_is_the_same() {
    let cases: [Case; 11] = [
        ("answers", || replies([head(200, "thanks")]), "sent 1"),
        ("an error", || replies([head(500, "sorry")]), "sent 1"),
        (
            "interim",
            || replies([interim(103), head(200, "")]),
            "sent 1",
        ),
        (
            "interim without end",
            || replies((0..1_000).map(|_| interim(103)).chain([head(200, "")])),
            "failed 1",
        ),
        (
            "refuses",
            || Connect::Fails(ConnectError::Refused),
            "failed 1",
        ),
        (
            "no port",
            || Connect::Fails(ConnectError::OutOfResources),
            "failed 1",
        ),
        ("closes", || replies([Do(Reply::Closes)]), "failed 1"),
        ("garbage", || replies([Do(Reply::Garbage)]), "failed 1"),
        (
            "garbage in a body",
            || replies([partial_head(200, 9, "x"), Do(Reply::Garbage)]),
            "failed 1",
        ),
        (
            "cuts its answer",
            || replies([partial_head(200, 9, "x"), Do(Reply::Closes)]),
            "failed 1",
        ),
        (
            "switches",
            || replies([Do(Reply::Switch(response(101)))]),
            "failed 1",
        ),
    ];
    for exchange in EXCHANGES {
        for (name, connect, outcome) in cases {
            check_same(name, exchange, connect(), outcome);
        }
    }
}

/// When the exchange is over, the copy is not: nothing was waited for.
#[test]
fn an_exchange_waits_for_nothing_of_its_copy() {
    const IN_THE_END: Step<Reply> = Until("a kept");
    let cases: [Case; 5] = [
        (
            "late",
            || replies([IN_THE_END, Later, head(200, "")]),
            "sent 1",
        ),
        ("hangs in connecting", || Connect::Hangs, "failed 1"),
        ("never answers", || replies([Never]), "failed 1"),
        (
            "never ends",
            || replies([partial_head(200, 9, "x"), Never]),
            "failed 1",
        ),
        (
            "never reads",
            || Connect::Opens(Connection::new([Never]).with_takes([Never])),
            "failed 1",
        ),
    ];
    for exchange in EXCHANGES {
        for (name, connect, outcome) in cases {
            let seen = check_same(name, exchange, connect(), outcome);
            assert_eq!(seen.copies_at_end, "", "{name}");
        }
    }
}

#[test]
fn a_copy_is_the_request_with_one_field_more() {
    let client = upload()
        .field("expect", "100-continue")
        .field("X-Own", "1")
        .field("x-balance-mirror", "no");
    let takes_it_slowly = [Later, Do(Takes::One), Later, Do(Takes::One)];
    let slow = Connection::new([Until("m got end"), head(200, "")]).with_takes(takes_it_slowly);
    let connects = vec![opens("a", takes_upload()), opens("m", slow)];
    let seen = play(mirrored(rules()), client, connects);
    let expected = [
        "m opened",
        "m got POST example.com/x",
        "m got [abcd]",
        "m got end",
        "m kept",
    ];
    assert_eq!(copy_of(&seen), expected);
    for name in ["X-Own", "X-Forwarded-For", "Via", "X-Request-ID"] {
        let original = seen.journal.field("a", name);
        assert_ne!(original, "-", "{name}");
        assert_eq!(seen.journal.field("m", name), original, "{name}");
    }
    assert_eq!(seen.journal.field("m", "X-Balance-Mirror"), "1");
    assert_eq!(seen.journal.field("m", "Expect"), "-");
    assert_eq!(seen.journal.field("a", "X-Balance-Mirror"), "no");
    assert_eq!(seen.journal.field("a", "Expect"), "100-continue");
}

/// Robustness SM-20: the name of the backend that it goes to, which is not the first one's.
#[test]
fn a_copy_without_authority_gets_that_of_its_backend() {
    let mut client = Client::get("/x");
    client.request.authority = "";
    client.request.version = Version::Http10;
    let connects = vec![opens("a", answers("")), opens("m", answers(""))];
    let seen = play(mirrored(rules()), client, connects);
    assert_eq!(copy_of(&seen)[1], "m got GET 127.0.0.1:9001/x");
}

/// Each request is counted under one outcome, and the second pool sees nothing of a copy that is not made.
#[test]
fn what_is_not_copied_is_counted() {
    let large = |length| {
        let pieces = [Do(Sends::Piece("12345")), Do(Sends::Last("6789"))];
        Client::post("/").with_body(length, pieces)
    };
    let broken = || {
        let fails = Do(Sends::Fails(ClientError::Closed));
        Client::post("/").with_body(BodyLength::Exact(4), [Do(Sends::Piece("ab")), fails])
    };
    let upgrade = || {
        let mut client = Client::get("/");
        client.upgrade = Some("websocket");
        client
    };
    let connect = || {
        let mut client = Client::get("/");
        client.request.method = "CONNECT";
        client
    };
    let nothing = || MirrorRules {
        sample: Sample::of_share(0.0),
        ..rules()
    };
    let places = Arc::new(Places::new());
    let _taken = places.take(1).expect("a place");
    let full = || MirrorRules {
        in_flight: Arc::clone(&places),
        ..rules()
    };
    for (name, rules, client, outcome) in [
        (
            "larger than announced",
            rules(),
            large(BodyLength::Exact(9)),
            "skipped_body 1",
        ),
        (
            "grows too large",
            rules(),
            large(BodyLength::Chunked),
            "skipped_body 1",
        ),
        ("answered before", rules(), upload(), "skipped_body 1"),
        ("breaks off", rules(), broken(), "skipped_body 1"),
        ("tunnel", rules(), upgrade(), "skipped_upgrade 1"),
        ("connect", rules(), connect(), "skipped_upgrade 1"),
        (
            "too large where there is no place",
            full(),
            large(BodyLength::Exact(9)),
            "skipped_body 1",
        ),
        ("sample", nothing(), Client::get("/"), "skipped_sample 1"),
        ("limit", full(), upload(), "skipped_limit 1"),
    ] {
        let seen = play(mirrored(rules), client, vec![opens("a", answers(""))]);
        assert_eq!(seen.copies, outcome, "{name}");
    }
    assert_eq!(places.in_use(), 1, "only the one that was taken here");
}

/// A body of exactly the limit, and one without any byte.
#[test]
fn bodies_up_to_the_limit_are_copied() {
    for (name, length, text, expected) in [
        (
            "exact",
            BodyLength::Exact(8),
            "12345678",
            &["m got [12345678]", "m got end"][..],
        ),
        (
            "chunked",
            BodyLength::Chunked,
            "12345678",
            &["m got [12345678]", "m got end"],
        ),
        ("empty", BodyLength::Chunked, "", &["m got end"]),
    ] {
        let client = Client::post("/").with_body(length, [Do(Sends::Last(text))]);
        let connects = vec![opens("a", answers("")), opens("m", answers(""))];
        let seen = play(mirrored(rules()), client, connects);
        let copy = copy_of(&seen);
        assert_eq!(copy[2..copy.len() - 1], *expected, "{name}");
        assert_eq!(seen.copies, "sent 1", "{name}");
    }
}

/// The first pool's trouble is its own: a request is copied once, however often it is sent.
#[test]
fn retries_make_no_second_copy_and_failures_none_less() {
    let closes = || Connection::new([Do(Reply::Closes)]);
    for (name, connects, cause, status) in [
        (
            "repeated",
            vec![("a", Connect::Reused(closes())), opens("a", answers(""))],
            Cause::Completed,
            200,
        ),
        (
            "unreachable",
            vec![("a", Connect::Fails(ConnectError::Refused))],
            Cause::ConnectionRefused,
            502,
        ),
    ] {
        let mut connects = connects;
        connects.push(opens("m", answers("")));
        let seen = play(mirrored(rules()), Client::get("/"), connects);
        assert_eq!(seen.sum, sum("keep", cause, status), "{name}");
        assert_eq!(seen.copies, "sent 1", "{name}");
    }
}

/// A copy is not worth a second try, not even where a connection had been idle for too long.
#[test]
fn a_copy_is_sent_once() {
    let stale = Connect::Reused(Connection::new([Do(Reply::Closes)]));
    let connects = vec![opens("a", answers("")), ("m", stale)];
    let seen = play(mirrored(rules()), Client::get("/"), connects);
    assert_eq!(
        copy_of(&seen),
        ["m reused", "m got GET example.com/", "m closed"]
    );
    assert_eq!(seen.copies, "failed 1");
}

/// Its connection is not worth the reading.
#[test]
fn a_giant_answer_is_not_read_to_its_end() {
    let piece: &'static str = Box::leak("x".repeat(200 * 1024).into_boxed_str());
    let mut steps = vec![partial_head(200, 1 << 40, "")];
    steps.extend((0..6).map(|_| Do(Reply::Piece(piece))));
    let connects = vec![opens("a", answers("")), ("m", replies(steps))];
    let seen = play(mirrored(rules()), Client::get("/"), connects);
    assert_eq!(seen.copies, "sent 1");
    assert_eq!(copy_of(&seen).last().map(String::as_str), Some("m closed"));
}

/// A backend may answer what it does not take; nothing else can be sent behind it.
#[test]
fn a_connection_that_did_not_take_the_whole_copy_is_closed() {
    let breaks = Connection::new([head(200, "")]).with_takes([Do(Takes::One), Do(Takes::Fails)]);
    let connects = vec![opens("a", takes_upload()), opens("m", breaks)];
    let seen = play(mirrored(rules()), upload(), connects);
    assert_eq!(seen.copies, "sent 1");
    assert_eq!(
        copy_of(&seen),
        ["m opened", "m got POST example.com/x", "m closed"]
    );
}

/// It is as much of a sign of life as the answer to an exchange.
#[test]
fn the_answer_to_a_copy_ends_a_rest() {
    let stale = Connect::Reused(Connection::new([Do(Reply::Closes)]));
    let alive = Connect::Reused(Connection::new([Until("a failed"), head(200, "")]));
    let same_pool = MirrorRules {
        pool: PoolId(0),
        ..rules()
    };
    let refuses = Connect::Fails(ConnectError::Refused);
    let connects = vec![("a", stale), ("a", alive), ("a", refuses)];
    let seen = play(mirrored(same_pool), Client::get("/"), connects);
    assert_eq!(seen.sum, sum("keep", Cause::ConnectionRefused, 502));
    assert_eq!(seen.copies, "sent 1");
    assert_eq!((seen.failures("a"), seen.is_resting("a")), (0, false));
}

#[test]
fn a_backend_that_copies_cannot_reach_rests() {
    for connect in [Connect::Fails(ConnectError::Refused), Connect::Hangs] {
        let mut setup = mirrored(MirrorRules {
            timeout: Duration::from_secs(60),
            ..rules()
        });
        setup.timeouts.connect = Duration::from_millis(30);
        let connects = vec![opens("a", answers("")), ("m", connect)];
        let seen = play(setup, Client::get("/"), connects);
        assert_eq!((seen.failures("m"), seen.failures("a")), (1, 0));
    }
    // The copy's own time was up.
    let connects = vec![opens("a", answers("")), ("m", Connect::Hangs)];
    let seen = play(mirrored(rules()), Client::get("/"), connects);
    assert_eq!((seen.copies.as_str(), seen.failures("m")), ("failed 1", 0));
}

#[test]
fn a_drain_does_not_wait_for_the_answer_to_a_copy() {
    let mut setup = mirrored(MirrorRules {
        timeout: Duration::from_secs(3_600),
        ..rules()
    });
    setup.is_draining = true;
    let connects = vec![opens("a", answers("")), ("m", replies([Never]))];
    let seen = play(setup, Client::get("/"), connects);
    assert_eq!(seen.sum, sum("close", Cause::Completed, 200));
    assert_eq!(seen.copies, "failed 1");
}
