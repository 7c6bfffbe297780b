//! Every wait has a deadline, and every deadline its cause. Real time, and no upper bounds on it: a
//! deadline that never came would reach the limit of [`play`](super::setup::play).

use std::time::Duration;

use balance_core::{Cause, Timeouts};
use balance_proto::BodyLength;

use super::super::memory::{Client, Connect, Connection, Reply, Sends, Step, Takes};
use super::setup::{Seen, Setup, play};
use super::{answers, head, partial_head, sum};
use Connect::{Hangs, Opens};
use Step::{Do, Never};

const SHORT: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_secs(3600);

/// Plays with one short deadline. The others are too long to be what ends it.
fn play_with(
    set: impl Fn(&mut Timeouts),
    client: Client,
    connects: Vec<(&'static str, Connect)>,
) -> Seen {
    let mut timeouts = Timeouts {
        connect: LONG,
        first_byte: LONG,
        read: LONG,
        write_progress: LONG,
        ..Timeouts::default()
    };
    set(&mut timeouts);
    let setup = Setup {
        pools: &[&["a", "b"]],
        timeouts,
        ..Setup::default()
    };
    play(setup, client, connects)
}

fn silent() -> Connect {
    Opens(Connection::new([Never]))
}

fn uploads_a_part() -> Client {
    Client::post("/").with_body(BodyLength::Exact(9), [Do(Sends::Piece("part")), Never])
}

#[test]
fn connect_leads_to_the_next_backend() {
    let connect = |timeouts: &mut Timeouts| timeouts.connect = SHORT;
    let connects = vec![("a", Hangs), ("b", Opens(answers("")))];
    let seen = play_with(connect, Client::get("/"), connects);
    assert_eq!(seen.sum, sum("keep", Cause::Completed, 200));
    assert!(seen.is_resting("a"));
    let seen = play_with(connect, Client::get("/"), vec![("a", Hangs), ("b", Hangs)]);
    seen.check(
        "both",
        &sum("keep", Cause::ConnectionTimeout, 504),
        &["a hangs", "b hangs", "client got own 504"],
    );
    assert!(seen.is_resting("a") && seen.is_resting("b"));
}

#[test]
fn first_byte_bounds_the_wait_for_an_answer() {
    let first_byte = |timeouts: &mut Timeouts| timeouts.first_byte = SHORT;
    let seen = play_with(first_byte, Client::get("/"), vec![("a", silent())]);
    seen.check(
        "first_byte",
        &sum("keep", Cause::HttpResponseTimeout, 504),
        &[
            "a opened",
            "a got GET example.com/",
            "a closed",
            "client got own 504",
        ],
    );
    assert_eq!(seen.failures("a"), 0, "the gate only learns from connects");
}

/// Once it runs: a body that is still coming is the client's time.
#[test]
fn read_bounds_the_wait_for_either_body() {
    let read = |timeouts: &mut Timeouts| timeouts.read = SHORT;
    let seen = play_with(read, uploads_a_part(), vec![("a", silent())]);
    seen.check(
        "the client's",
        &sum("linger", Cause::ClientTimeout, 408),
        &[
            "a opened",
            "a got POST example.com/",
            "a got [part]",
            "a closed",
            "client got own 408 close",
        ],
    );
    let connection = Connection::new([partial_head(200, 9, "par"), Never]);
    let seen = play_with(read, Client::get("/"), vec![("a", Opens(connection))]);
    seen.check(
        "the backend's",
        &sum("abort", Cause::ConnectionReadTimeout, 200),
        &[
            "a opened",
            "a got GET example.com/",
            "client got 200",
            "client got [par]",
            "a closed",
        ],
    );
}

#[test]
fn write_progress_bounds_the_wait_for_either_reader() {
    let write_progress = |timeouts: &mut Timeouts| timeouts.write_progress = SHORT;
    let post = || Client::post("/").with_body(BodyLength::Exact(4), [Do(Sends::Last("body"))]);
    for (name, client, takes) in [
        ("not even the head", Client::get("/"), vec![Never]),
        ("no head before the body", post(), vec![Never]),
        ("the head only", post(), vec![Do(Takes::One), Never]),
    ] {
        let connection = Connection::new([Never]).with_takes(takes);
        let seen = play_with(write_progress, client, vec![("a", Opens(connection))]);
        let expected = sum("keep", Cause::ConnectionWriteTimeout, 504);
        assert_eq!(seen.sum, expected, "{name}");
    }
    for (name, takes) in [
        ("not even the head", vec![Never]),
        ("the head only", vec![Do(Takes::One), Never]),
    ] {
        let client = Client::get("/").with_takes(takes);
        let seen = play_with(write_progress, client, vec![("a", Opens(answers("hello")))]);
        assert_eq!(seen.sum, sum("abort", Cause::ClientTimeout, 200), "{name}");
        assert_eq!(seen.failures("a"), 0);
    }
}

/// A client that does not read is never waited for without end, whoever the answer comes from.
#[test]
fn write_progress_bounds_our_own_answers() {
    let setup = Setup {
        listener_pool: None,
        timeouts: Timeouts {
            write_progress: SHORT,
            ..Timeouts::default()
        },
        ..Setup::default()
    };
    let seen = play(setup, Client::get("/").with_takes([Never]), Vec::new());
    seen.check("own", &sum("abort", Cause::ClientTimeout, 404), &[]);
}

/// Counted to its end, not to the moment when the answer was ready.
#[test]
fn the_duration_of_an_own_answer_includes_its_wait() {
    let setup = Setup {
        listener_pool: None,
        ..Setup::default()
    };
    let slow = Client::get("/").with_takes([Step::Passes(SHORT)]);
    let seen = play(setup, slow, Vec::new());
    assert_eq!(seen.sum, sum("keep", Cause::NoRoute, 404));
    assert!(seen.duration >= SHORT, "{:?}", seen.duration);
}

#[test]
fn request_bounds_the_whole_exchange_whatever_it_waits_for() {
    let request = |timeouts: &mut Timeouts| timeouts.request = SHORT;
    let half = Connection::new([partial_head(200, 9, "par"), Never]);
    let deaf = Connection::new([Never]).with_takes([Never]);
    let unread = Client::get("/").with_takes([Never]);
    for (name, client, connect, next, status) in [
        ("connecting", Client::get("/"), Hangs, "keep", 504),
        ("awaiting", Client::get("/"), silent(), "keep", 504),
        ("uploading", uploads_a_part(), silent(), "linger", 504),
        ("sending", Client::get("/"), Opens(deaf), "keep", 504),
        ("streaming", Client::get("/"), Opens(half), "abort", 200),
        ("answering", unread, Opens(answers("hello")), "abort", 200),
    ] {
        let seen = play_with(request, client, vec![("a", connect)]);
        let expected = sum(next, Cause::HttpResponseTimeout, status);
        assert_eq!(seen.sum, expected, "{name}");
        assert_eq!(seen.failures("a"), 0, "{name}");
    }
}

/// A deadline is of silence, not of the whole: every step of progress starts it anew.
#[test]
fn progress_moves_a_deadline() {
    let half = || Step::Passes(Duration::from_millis(250));
    let read = |timeouts: &mut Timeouts| timeouts.read = Duration::from_millis(500);
    let piece = |text| Do(Reply::Piece(text));
    let replies = [
        partial_head(200, 4, "a"),
        half(),
        piece("b"),
        half(),
        piece("c"),
        half(),
        piece("d"),
    ];
    let seen = play_with(
        read,
        Client::get("/"),
        vec![("a", Opens(Connection::new(replies)))],
    );
    assert_eq!(seen.sum, sum("keep", Cause::Completed, 200));
}

/// Zero switches a deadline off; the others still hold.
#[test]
fn zero_means_no_deadline() {
    let zero = |timeouts: &mut Timeouts| {
        timeouts.connect = Duration::ZERO;
        timeouts.first_byte = Duration::ZERO;
        timeouts.read = Duration::ZERO;
        timeouts.write_progress = Duration::ZERO;
    };
    let connection = Connection::new([Step::Later, head(200, "hello")]);
    let slow = Client::get("/").with_takes([Step::Later, Do(Takes::One), Step::Later]);
    let seen = play_with(zero, slow, vec![("a", Opens(connection))]);
    assert_eq!(seen.sum, sum("keep", Cause::Completed, 200));
    let only_request = |timeouts: &mut Timeouts| {
        zero(timeouts);
        timeouts.request = SHORT;
    };
    let seen = play_with(only_request, Client::get("/"), vec![("a", silent())]);
    assert_eq!(seen.sum, sum("keep", Cause::HttpResponseTimeout, 504));
}
