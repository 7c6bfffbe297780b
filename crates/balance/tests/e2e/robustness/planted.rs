//! The judge, judged: proxies with planted faults must be found out, or the verdicts of the tables mean nothing.

use std::time::Duration;

use balance_testkit::sm_data::{Row, request_rows};
use balance_testkit::{CarelessProxy, Carelessness, Origin, RawClient};

use super::requests::origin;
use super::verdict::{Seen, judge, tail};

fn row(rule: &str, name: &str) -> Row {
    let rows = request_rows();
    let row = rows.iter().find(|row| row.rule == rule && row.name == name);
    row.unwrap().clone()
}

/// What a proxy of this carelessness makes of a row.
fn seen(carelessness: Carelessness, row: &Row) -> Seen {
    let origin: Origin = origin(false);
    let proxy = CarelessProxy::start(origin.addr(), carelessness);
    let mut client = RawClient::connect(proxy.addr()).unwrap();
    if carelessness == Carelessness::Swallows {
        client.set_read_timeout(SILENCE).unwrap();
    }
    let length = row.input.len() - row.rest.len();
    let second = tail(row).as_bytes();
    judge(&mut client, &origin, row, [&row.input[..length], second]).seen
}

#[track_caller]
fn check(carelessness: Carelessness, rule: &str, name: &str, why: &str) {
    let seen = seen(carelessness, &row(rule, name));
    let is_found = matches!(&seen, Seen::Unsafe(reason) if reason.contains(why));
    assert!(is_found, "{carelessness:?}, {rule} {name}: {seen:?}");
}

#[test]
fn bytes_that_pass_unparsed_are_unsafe() {
    let carelessness = Carelessness::PassesBytes;
    check(
        carelessness,
        "SM-01",
        "length_then_encoding",
        "a strict backend refuses it: framing",
    );
    check(
        carelessness,
        "SM-11",
        "lf_ends_a_field",
        "a strict backend refuses it: bare LF",
    );
    check(
        carelessness,
        "SM-10",
        "extensions_are_dropped",
        "a strict backend refuses it: chunk size",
    );
    check(
        carelessness,
        "SM-22",
        "named_fields_are_dropped",
        "forwarded",
    );
    check(
        carelessness,
        "SM-28",
        "dot_dot",
        "answered as if it were good",
    );
}

#[test]
fn a_message_of_two_lengths_that_is_cleaned_is_unsafe() {
    let why = "answered as if it were good";
    check(
        Carelessness::IgnoresEncoding,
        "SM-01",
        "length_then_encoding",
        why,
    );
    let why = "a strict backend refuses it: bare LF";
    check(
        Carelessness::IgnoresEncoding,
        "SM-02",
        "encoding_then_length",
        why,
    );
}

#[test]
fn a_request_in_a_body_is_found_at_the_backend() {
    let name = "get_body_that_looks_like_a_request";
    check(Carelessness::IgnoresLength, "SM-04", name, "smuggled");
}

#[test]
fn the_answer_to_something_else_is_unsafe() {
    let why = "answers that nobody asked for";
    check(
        Carelessness::AnswersTwice,
        "SM-04",
        "get_with_zero_length",
        why,
    );
}

#[test]
fn a_refusal_after_forwarding_is_unsafe() {
    let why = "refused, but the backend saw";
    check(
        Carelessness::ForwardsWhatItRefuses,
        "SM-04",
        "get_with_zero_length",
        why,
    );
}

#[test]
fn silence_is_a_hang() {
    let row = row("SM-04", "get_with_zero_length");
    assert!(matches!(seen(Carelessness::Swallows, &row), Seen::Hang(_)));
}

/// Any will do: the proxy never answers.
const SILENCE: Duration = Duration::from_millis(200);
