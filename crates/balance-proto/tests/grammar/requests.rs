//! Request heads.

use balance_proto::http1::{HeadSettings, Progress, RequestHead};
use balance_proto::{BodyLength, RequestView, Version};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::pieces::{at_every_byte, damaged, head, host_line, joined, line_end, mostly};
use crate::reference::{self, Body, Request};
use crate::verdict::{self, all_same, fields, framing_passes, judge_head};

const LINE_METHODS: &[&str] = &["GET", "POST", "HEAD", "OPTIONS", "BREW", "get", "CONNECT"];
const WRONG_METHODS: &[&str] = &[
    "",
    "G ET",
    "G:T",
    "\u{e4}",
    " GET",
    "\r\nGET",
    "\nGET",
    "GET\0",
    "\r\n\r\nGET",
];
const TARGETS: &[&str] = &[
    "/",
    "/a/b?c=d",
    "/%41;p=1",
    "//x",
    "*",
    "http://a/x?y",
    "HTTP://A",
    "http://a?q",
    "/a|b^{}\"<>`[]",
    "a:80",
];
const WRONG_TARGETS: &[&str] = &[
    "",
    "a",
    "/a b",
    "/\u{e4}",
    "/#",
    "/\\",
    "/\0",
    "http:/a/",
    "http://",
    "http://u@a/",
    "ftp://a/",
    "https://a/",
    "http://b/",
    "/\t",
    "?a",
    "*x",
    "/../a",
    "/%2f",
    "/a%",
    "http://a:80:80/",
    "http://[::1/",
];
const WRONG_VERSIONS: &[&str] = &[
    "",
    "HTTP/1.2",
    "HTTP/2.0",
    "HTTP/0.9",
    "http/1.1",
    "HTTP/1.10",
    "HTTP/11",
    "HTTP /1.1",
    "HTTP/1.1 ",
    "HTTP/1,1",
];

fn request() -> impl Strategy<Value = Vec<u8>> {
    let line = joined(vec![
        mostly(&["", "", "", "\r\n"], &["\n", "\r", "\r\n\r\n"]).boxed(),
        mostly(LINE_METHODS, WRONG_METHODS).boxed(),
        mostly(&[" "], &["  ", "\t", "", " \t"]).boxed(),
        mostly(TARGETS, WRONG_TARGETS).boxed(),
        mostly(&[" "], &["  ", "\t", "", "\r "]).boxed(),
        mostly(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"], WRONG_VERSIONS).boxed(),
        line_end(),
    ]);
    damaged(head(line, host_line(), 6))
}

/// The parser and the grammar on the same bytes.
fn check(message: &[u8]) -> Result<(), String> {
    let mut parsed = RequestHead::default();
    let progress = parsed.parse(message, &HeadSettings::default());
    let allowed = reference::request(message);
    judge_head(
        message,
        progress,
        allowed,
        |consumed, request| compare(&parsed, consumed, request),
        |request| is_plain(request, message),
    )
}

fn compare(parsed: &RequestHead, consumed: usize, request: &Request<'_>) -> Result<(), String> {
    let version = match request.minor_version {
        0 => Version::Http10,
        _ => Version::Http11,
    };
    let body = match request.body {
        Body::Length(bytes) => BodyLength::Exact(bytes),
        _ => BodyLength::Chunked,
    };
    let is_same = [
        ("length", consumed == request.head.len),
        ("method", parsed.method() == request.method),
        ("version", parsed.version() == version),
        ("body", parsed.body() == body),
        ("target", parsed.path_and_query() == origin_form(request)),
        ("authority", parsed.authority() == authority(request)),
        ("fields", fields(parsed) == kept_fields(request)),
    ];
    all_same(&is_same, parsed)
}

/// Names with an underscore are dropped by default (robustness SM-24).
fn kept_fields<'a>(request: &Request<'a>) -> Vec<(&'a [u8], &'a [u8])> {
    let fields = request.head.fields.iter().copied();
    fields.filter(|(name, _)| !name.contains(&b'_')).collect()
}

/// RFC 9112 §3.2.2 and §3.2.4: what a proxy forwards of a target.
fn origin_form(request: &Request<'_>) -> Vec<u8> {
    match reference::absolute_form(request.target) {
        Some((_, b"")) if request.method == b"OPTIONS" => b"*".to_vec(),
        Some((_, rest)) if rest.starts_with(b"/") => rest.to_vec(),
        Some((_, rest)) => [b"/", rest].concat(),
        None => request.target.to_vec(),
    }
}

/// Host, or the target when there is none.
fn authority<'a>(request: &Request<'a>) -> &'a [u8] {
    let host = reference::values(&request.head, "host").first().copied();
    let target = reference::absolute_form(request.target).map(|(authority, _)| authority);
    host.or(target).unwrap_or_default()
}

/// Whether nothing about it is refused although the grammar allows it: the rules of robustness §1 that go beyond.
fn is_plain(request: &Request<'_>, message: &[u8]) -> bool {
    let one = |name| reference::values(&request.head, name);
    let target = origin_form(request);
    let path = target
        .split(|byte| *byte == b'?')
        .next()
        .unwrap_or_default();
    let in_target = reference::absolute_form(request.target);

    // SM-18: no CONNECT, no endless method.
    let method_passes = request.method != b"CONNECT" && request.method.len() <= 32;
    // SM-28: dots and escapes; here any of them is left to the tests of the path policy.
    let path_passes = !path.contains(&b'%')
        && path
            .split(|byte| *byte == b'/')
            .all(|segment| !segment.starts_with(b"."));
    // SM-19: the connection's scheme, and the authority of Host.
    let form_passes = in_target.is_none_or(|(authority, _)| {
        request.target[..5].eq_ignore_ascii_case(b"http:")
            && is_plain_host(authority)
            && one("host")
                .iter()
                .all(|host| host.eq_ignore_ascii_case(authority))
    });
    // SM-20.
    let host_passes = one("host").iter().all(|host| is_plain_host(host));
    let connection_passes = one("connection")
        .iter()
        .flat_map(|value| value.split(|byte| *byte == b','))
        .all(|option| option.trim_ascii().is_empty() || reference::is_token(option.trim_ascii()));
    // SM-05.
    let expectation_passes = match one("expect")[..] {
        [] => true,
        [value] => value.eq_ignore_ascii_case(b"100-continue"),
        _ => false,
    };
    method_passes
        && path_passes
        && form_passes
        && host_passes
        && framing_passes(&request.head, message)
        && connection_passes
        && expectation_passes
}

/// A name of letters, digits and hyphens with single dots, or an address; a port that can be connected to.
fn is_plain_host(authority: &[u8]) -> bool {
    let (host, port) = match authority.iter().rposition(|byte| *byte == b':') {
        Some(at) if !authority.ends_with(b"]") => (&authority[..at], Some(&authority[at + 1..])),
        _ => (authority, None),
    };
    let port = port.map(|port| String::from_utf8_lossy(port).into_owned());
    let is_name = host.split(|byte| *byte == b'.').all(|label| {
        !label.is_empty()
            && label
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    });
    let port_passes =
        port.is_none_or(|port| port.len() <= 5 && port.parse::<u16>().is_ok_and(|port| port > 0));
    port_passes && host.len() <= 254 && (is_name || host.starts_with(b"["))
}

proptest! {
    #![proptest_config(verdict::config())]

    #[test]
    fn requests_are_read_as_the_grammar_reads_them(message in request()) {
        let outcome = check(&message);
        prop_assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
    }
}

#[test]
fn requests_with_one_other_byte_are_read_as_the_grammar_reads_them() {
    for message in [
        "\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST http://a/x?y HTTP/1.1\r\nHost: a\r\nContent-Length: 13\r\nX:\ty \r\n\r\n",
        "PUT / HTTP/1.1\r\nhost: a:8080\r\nTransfer-Encoding: chunked\r\nConnection: close, x\r\n\r\n",
        // Longer than the 16 and 32 bytes that a scanner looks at in one step, in each of its parts.
        "OPTIONS /0123456789/0123456789/0123456789 HTTP/1.1\r\nHost: [::1]\r\nX-0123456789-0123456789-0123456789: \
         0123456789 0123456789 0123456789\r\nExpect: 100-continue\r\n\r\n",
    ] {
        at_every_byte(message.as_bytes(), |message| {
            if let Err(problem) = check(message) {
                panic!("{problem}");
            }
        });
    }
}

/// The properties above would hold for a parser that refuses everything, and for a generator of nothing but
/// rubbish.
#[test]
fn both_verdicts_are_common() {
    let mut runner = TestRunner::deterministic();
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..1_000 {
        let message = request().new_tree(&mut runner).unwrap().current();
        match RequestHead::default().parse(&message, &HeadSettings::default()) {
            Ok(Progress::Complete { .. }) => accepted += 1,
            Ok(Progress::Partial) => {}
            Err(_) => refused += 1,
        }
    }
    assert!(
        accepted > 100 && refused > 100,
        "{accepted} accepted, {refused} refused"
    );
}
