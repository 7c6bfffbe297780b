//! Response heads.

use balance_core::Method;
use balance_proto::http1::{HeadSettings, Progress, ResponseContext, ResponseHead};
use balance_proto::{HeadView, ResponseBody, ResponseView};
use proptest::prelude::*;

use crate::pieces::{at_every_byte, damaged, head, joined, line_end, mostly};
use crate::reference::{self, Body, Response};

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
    match (progress, allowed) {
        (Ok(Progress::Complete { .. }), None) => Err("accepted against the grammar".to_owned()),
        (Ok(Progress::Complete { consumed }), Some(response)) => {
            compare(&parsed, consumed, &response)
        }
        (Ok(Progress::Partial), Some(_)) => Err("a whole head passes for a part".to_owned()),
        (Err(error), Some(response)) if is_plain(&response, message) => Err(error.to_string()),
        _ => Ok(()),
    }
    .map_err(|problem| format!("{problem}: {}", message.escape_ascii()))
}

fn compare(parsed: &ResponseHead, consumed: usize, response: &Response<'_>) -> Result<(), String> {
    let body = match response.body {
        Body::None => ResponseBody::None,
        Body::Length(bytes) => ResponseBody::Exact(bytes),
        Body::Chunked => ResponseBody::Chunked,
        Body::UntilClose => ResponseBody::UntilClose,
    };
    let fields: Vec<_> = (0..parsed.field_count())
        .map(|index| (parsed.field(index).name, parsed.field(index).value))
        .collect();
    let is_same = [
        ("length", consumed == response.head.len),
        ("status", parsed.status() == response.status),
        ("reason", parsed.reason() == response.reason),
        ("body", parsed.body() == body),
        ("fields", fields == response.head.fields),
    ];
    match is_same.iter().find(|(_, is_same)| !is_same) {
        Some((what, _)) => Err(format!("another {what}: {parsed:?}")),
        None => Ok(()),
    }
}

/// Whether nothing about it is refused although the grammar allows it (robustness SM-25).
fn is_plain(response: &Response<'_>, message: &[u8]) -> bool {
    let one = |name| reference::values(&response.head, name);
    let framing_passes = match (&one("content-length")[..], &one("transfer-encoding")[..]) {
        ([], []) => true,
        _ if message.contains(&b'\t') => false,
        ([length], []) => length.len() < 19 && length.iter().all(u8::is_ascii_digit),
        ([], [coding]) => coding.eq_ignore_ascii_case(b"chunked"),
        _ => false,
    };
    let names_pass = response.head.fields.iter().all(|(name, _)| {
        !name.eq_ignore_ascii_case(b"content_length")
            && !name.eq_ignore_ascii_case(b"transfer_encoding")
    });
    framing_passes && names_pass && one("host").len() < 2 && response.status >= 100
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

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
