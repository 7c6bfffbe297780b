//! Response heads.

use balance_core::Method;
use balance_proto::http1::{HeadSettings, ResponseContext, ResponseHead};
use balance_proto::{ResponseBody, ResponseView};
use proptest::prelude::*;

use crate::pieces::{at_every_byte, damaged, head, joined, line_end, mostly};
use crate::reference::{self, Body, Response};
use crate::verdict::{self, all_same, fields, framing_passes, judge_head};

const CODES: &[&str] = &["200", "204", "304", "100", "103", "404", "999"];
const WRONG_CODES: &[&str] = &["", "20", "2000", "099", "abc", "+20", " 200", "\u{662}00"];
const REASONS: &[&str] = &[" OK", " ", "", " Not  Found", " \u{fc}", " a\tb"];
const WRONG_REASONS: &[&str] = &[" \0", " O\x01K", "OK", " O\rK", " \x7f", "\tOK"];
const WRONG_VERSIONS: &[&str] = &[
    "",
    "HTTP/1.2",
    "HTTP/2.0",
    "http/1.1",
    "HTTP/1.1\t",
    "\r\nHTTP/1.1",
    "xHTTP/1.1",
    "\nHTTP/1.1",
];

fn response() -> impl Strategy<Value = Vec<u8>> {
    let line = joined(vec![
        mostly(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"], WRONG_VERSIONS).boxed(),
        mostly(&[" "], &["  ", "\t", ""]).boxed(),
        mostly(CODES, WRONG_CODES).boxed(),
        mostly(REASONS, WRONG_REASONS).boxed(),
        line_end(),
    ]);
    damaged(head(line, Just(Vec::new()).boxed(), 6))
}

/// The parser and the grammar on the same bytes.
fn check(message: &[u8], answers_head: bool) -> Result<(), String> {
    let context = ResponseContext {
        request_method: if answers_head {
            Method::Head
        } else {
            Method::Get
        },
        upgrade_offered: true,
    };
    let mut parsed = ResponseHead::default();
    let progress = parsed.parse(message, context, &HeadSettings::default());
    let allowed = reference::response(message, answers_head);
    judge_head(
        message,
        progress,
        allowed,
        |consumed, response| compare(&parsed, consumed, response),
        |response| is_plain(response, message),
    )
}

fn compare(parsed: &ResponseHead, consumed: usize, response: &Response<'_>) -> Result<(), String> {
    let body = match response.body {
        Body::None => ResponseBody::None,
        Body::Length(bytes) => ResponseBody::Exact(bytes),
        Body::Chunked => ResponseBody::Chunked,
        Body::UntilClose => ResponseBody::UntilClose,
    };
    let is_same = [
        ("length", consumed == response.head.len),
        ("status", parsed.status() == response.status),
        ("reason", parsed.reason() == response.reason),
        ("body", parsed.body() == body),
        ("fields", fields(parsed) == response.head.fields),
    ];
    all_same(&is_same, parsed)
}

/// Whether nothing about it is refused although the grammar allows it (robustness SM-25).
fn is_plain(response: &Response<'_>, message: &[u8]) -> bool {
    let hosts = reference::values(&response.head, "host");
    framing_passes(&response.head, message) && hosts.len() < 2 && response.status >= 100
}

proptest! {
    #![proptest_config(verdict::config())]

    #[test]
    fn responses_are_read_as_the_grammar_reads_them(message in response(), answers_head in any::<bool>()) {
        let outcome = check(&message, answers_head);
        prop_assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
    }
}

#[test]
fn responses_with_one_other_byte_are_read_as_the_grammar_reads_them() {
    for message in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX:\ty \r\n\r\n",
        "HTTP/1.0 304\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 A reason longer than the 32 bytes of a step\r\nTransfer-Encoding: chunked\r\n\
         X-0123456789-0123456789-0123456789: 0123456789 0123456789 0123456789\r\n\r\n",
    ] {
        at_every_byte(message.as_bytes(), |message| {
            if let Err(problem) = check(message, false) {
                panic!("{problem}");
            }
        });
    }
}
