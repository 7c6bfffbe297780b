//! What the tables of tests/data do not show: what heads say about their connection, our own
//! responses, limits and causes.

use super::{
    ConnectionLine, HeadSettings, Progress, RequestError, RequestHead, ResponseContext,
    ResponseError, ResponseHead, encode_own_response, encode_request, encode_response,
    worth_parsing,
};
use crate::authority::Authority;
use crate::edits::HeadEdits;
use crate::field::{FieldClass, FieldName, FieldValue};
use crate::framing::{BodyLength, FramingLine, ResponseBody};
use crate::head::{HeadView, RequestView, ResponseView, Version};
use crate::path::PathAndQuery;
use balance_core::{Cause, Method, PathPolicy};
use std::time::Duration;

fn request(text: &str) -> RequestHead {
    let mut head = RequestHead::default();
    let progress = head.parse(text.as_bytes(), &HeadSettings::default());
    assert!(
        matches!(progress, Ok(Progress::Complete { .. })),
        "{progress:?}"
    );
    head
}

fn response(text: &str) -> ResponseHead {
    let mut head = ResponseHead::default();
    let context = ResponseContext {
        request_method: Method::Get,
        upgrade_offered: true,
    };
    let progress = head.parse(text.as_bytes(), context, &HeadSettings::default());
    assert!(
        matches!(progress, Ok(Progress::Complete { .. })),
        "{progress:?}"
    );
    head
}

#[test]
fn parses_again_at_the_end_or_when_doubled() {
    assert!(worth_parsing(b"G", 0));
    assert!(worth_parsing(b"GE", 1));
    assert!(!worth_parsing(b"GET", 2));
    assert!(worth_parsing(b"GET / HTTP/1.1\r\nA: b\r\n\r\n", 23));
    assert!(worth_parsing(b"GET / HTTP/1.1\r\nA: b\r\n\r\n", 22));
    assert!(worth_parsing(b"GET / HTTP/1.1\r\nA: b\n\n", 20));
    assert!(!worth_parsing(b"GET / HTTP/1.1\r\nA: b\r\n", 20));
}

#[test]
fn a_query_begins_after_the_first_question_mark() {
    for (target, path, query) in [
        ("/a", "/a", ""),
        ("/a?", "/a", ""),
        ("/a?b?c", "/a", "b?c"),
        ("/?=", "/", "="),
    ] {
        let head = request(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(head.path(), path.as_bytes(), "{target}");
        assert_eq!(head.query(), query.as_bytes(), "{target}");
    }
}

#[test]
fn a_request_shows_its_parts() {
    let head =
        request("GET /a?b HTTP/1.1\r\nX:1\r\nHost: Example.com:80\r\nCOOKIE: c\r\nx: 2\r\n\r\n");
    assert_eq!(head.method(), b"GET");
    assert_eq!(head.method_kind(), Method::Get);
    assert_eq!(RequestView::version(&head), Version::Http11);
    assert_eq!(head.authority(), b"Example.com:80");
    assert_eq!(head.path_and_query(), b"/a?b");
    assert_eq!(head.path(), b"/a");
    assert_eq!(head.query(), b"b");
    assert_eq!(head.field_count(), 4);
    assert_eq!(head.field(0).value, b"1");
    assert_eq!(head.field(4).name, b"");
    assert_eq!(head.get(b"x"), Some(&b"1"[..]));
    assert_eq!(head.get(b"y"), None);
    assert_eq!(head.find(FieldClass::Cookie), Some(2));
    assert_eq!(head.find(FieldClass::Via), None);
    assert_eq!(head.run(2, 4), Some(&b"COOKIE: c\r\nx: 2\r\n"[..]));
    assert_eq!(head.run(4, 5), None);
    assert_eq!(head.run(1, 0), None);
    assert_eq!(head.encoder_owned(), 0b10);
    assert!(head.bytes().starts_with(b"GET /a?b HTTP/1.1\r\nX: 1\r\n"));
}

#[test]
fn keep_alive_of_requests() {
    for (line, connection, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x, Close\r\n", false),
        (
            "1.1",
            "Connection: keep-alive\r\nConnection: close\r\n",
            false,
        ),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let head = request(&format!("GET / HTTP/{line}\r\nHost: a\r\n{connection}\r\n"));
        assert_eq!(head.keep_alive(), expected, "{line} {connection}");
    }
}

#[test]
fn keep_alive_of_responses() {
    for (text, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\n\r\n", false),
        ("HTTP/1.1 204 OK\r\nConnection: close\r\n\r\n", false),
        ("HTTP/1.0 204 OK\r\n\r\n", false),
        ("HTTP/1.0 204 OK\r\nConnection: keep-alive\r\n\r\n", true),
    ] {
        assert_eq!(response(text).keep_alive(), expected, "{text}");
    }
}

#[test]
fn keep_alive_timeouts() {
    for (value, expected) in [
        ("timeout=5, max=100", Some(5)),
        ("max=100,Timeout=72", Some(72)),
        ("timeout=x", None),
        ("timeout=99999999999", None),
        ("timeout", None),
        ("", None),
    ] {
        let head = response(&format!("HTTP/1.1 204 OK\r\nKeep-Alive: {value}\r\n\r\n"));
        assert_eq!(
            head.keep_alive_timeout(),
            expected.map(Duration::from_secs),
            "{value}"
        );
    }
}

#[test]
fn kinds_of_responses() {
    let switch = response("HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n");
    assert!(switch.is_switching() && !switch.is_interim());
    assert_eq!(switch.upgrade(), Some(&b"websocket"[..]));
    let hints = response("HTTP/1.1 103 X\r\n\r\n");
    assert!(hints.is_interim() && !hints.is_switching());
    let unmodified = response("HTTP/1.1 304 X\r\nContent-Length: 7\r\n\r\n");
    assert_eq!(unmodified.body(), ResponseBody::None);
    assert_eq!(unmodified.content_length(), Some(7));
    assert_eq!(unmodified.reason(), b"X");
    assert_eq!(response("HTTP/1.1 204\r\n\r\n").reason(), b"");
}

#[test]
fn an_expectation_and_an_upgrade() {
    let head = request(
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    );
    assert!(head.expects_continue());
    assert_eq!(head.body(), BodyLength::Exact(3));
    assert_eq!(head.content_length(), Some(3));
    let head = request(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    assert_eq!(head.upgrade(), Some(&b"websocket"[..]));
    assert_eq!(head.content_length(), None);
}

#[test]
fn a_head_forgets_the_request_before() {
    let mut head = request("GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 x\r\n\r\n");
    assert_eq!(
        head.parse(b"GET /2", &HeadSettings::default()),
        Ok(Progress::Partial)
    );
    assert_eq!((head.field_count(), head.method()), (0, &b""[..]));
    assert!(
        head.parse(b"GET / HTTP/1.1\r\nX: y\r\n\r\n", &HeadSettings::default())
            .is_err()
    );
    assert_eq!((head.field_count(), head.path_and_query()), (0, &b""[..]));
    assert_eq!(head.find(FieldClass::Via), None);
}

#[test]
fn limits_are_inclusive() {
    let text = "GET /abc HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    let exact = HeadSettings {
        head_bytes_max: text.len(),
        fields_max: 2,
        target_bytes_max: 4,
        ..HeadSettings::default()
    };
    let check = |settings: HeadSettings, expected| {
        let result = RequestHead::default().parse(text.as_bytes(), &settings);
        assert_eq!(result, expected);
    };
    let consumed = text.len();
    check(exact, Ok(Progress::Complete { consumed }));
    let head_bytes_max = text.len() - 1;
    check(
        HeadSettings {
            head_bytes_max,
            ..exact
        },
        Err(RequestError::HeadTooLarge),
    );
    check(
        HeadSettings {
            fields_max: 1,
            ..exact
        },
        Err(RequestError::TooManyFields),
    );
    check(
        HeadSettings {
            target_bytes_max: 3,
            ..exact
        },
        Err(RequestError::TargetTooLong),
    );
}

#[test]
fn errors_have_a_status_a_cause_and_a_reason() {
    for (error, status, cause) in [
        (RequestError::HostMissing, 400, Cause::HttpRequestError),
        (RequestError::HeadTooLarge, 431, Cause::RequestTooLarge),
        (RequestError::TooManyFields, 431, Cause::RequestTooLarge),
        (RequestError::TargetTooLong, 414, Cause::RequestTooLarge),
        (
            RequestError::ExpectationUnknown,
            417,
            Cause::HttpRequestError,
        ),
        (
            RequestError::VersionUnsupported,
            505,
            Cause::HttpRequestError,
        ),
    ] {
        assert_eq!(error.status(), status);
        assert_eq!(error.cause(), cause);
        assert!(!error.to_string().is_empty());
    }
    let error = ResponseError::BareLineFeed;
    assert_eq!(
        (error.status(), error.cause()),
        (502, Cause::HttpProtocolError)
    );
    assert!(size_of::<RequestError>() <= 2);
}

#[test]
fn edits_replace_path_and_authority() {
    let head = request("GET /a HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n");
    let mut edits = HeadEdits::default();
    edits.replace_path(PathAndQuery::new(b"/b?c", PathPolicy::Safe).unwrap());
    edits.replace_authority(Authority::new(b"b:81").unwrap());
    let name = FieldName::new(b"X-New").unwrap();
    edits.append(name, FieldValue::new(b"1").unwrap());
    let mut out = Vec::new();
    let upgrade = ConnectionLine::Upgrade(b"websocket");
    encode_request(&mut out, &head, &edits, FramingLine::None, upgrade);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "GET /b?c HTTP/1.1\r\nHost: b:81\r\nX: y\r\nX-New: 1\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\n\r\n"
    );
}

#[test]
fn never_writes_transfer_encoding_for_http10() {
    let head = response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut out = Vec::new();
    encode_response(
        &mut out,
        &head,
        &HeadEdits::default(),
        Version::Http10,
        FramingLine::Chunked,
        ConnectionLine::Close,
    );
    assert_eq!(out, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
}

/// The length is that of the body that was framed, however the field wrote it.
#[test]
fn a_length_passes_only_as_we_would_write_it() {
    for (field, bytes, expected) in [
        ("Content-Length: 7", 7, "Content-Length: 7\r\nA: b\r\n"),
        ("content-length: 70", 70, "content-length: 70\r\nA: b\r\n"),
        ("Content-Length: 0", 0, "Content-Length: 0\r\nA: b\r\n"),
        ("Content-Length: 07", 7, "A: b\r\nContent-Length: 7\r\n"),
        ("Content-Length: 7", 8, "A: b\r\nContent-Length: 8\r\n"),
        ("B: c", 8, "B: c\r\nA: b\r\nContent-Length: 8\r\n"),
    ] {
        let head = response(&format!("HTTP/1.1 200 OK\r\n{field}\r\nA: b\r\n\r\n"));
        let (edits, framing) = (HeadEdits::default(), FramingLine::Length(bytes));
        let mut out = Vec::new();
        let connection = ConnectionLine::None;
        encode_response(
            &mut out,
            &head,
            &edits,
            Version::Http11,
            framing,
            connection,
        );
        let expected = format!("HTTP/1.1 200 OK\r\n{expected}\r\n");
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{field}");
    }
}

#[test]
fn own_responses() {
    let check = |status, head_only, expected: &str| {
        let mut out = Vec::new();
        let content_type = FieldValue::from_static("text/plain");
        let extra = [(
            FieldName::from_static("Retry-After"),
            FieldValue::from_static("1"),
        )];
        encode_own_response(
            &mut out,
            status,
            Some(content_type),
            &extra,
            b"busy\n",
            head_only,
            ConnectionLine::Close,
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    };
    let head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 1\r\n\
        Content-Length: 5\r\nConnection: close\r\n\r\n";
    check(503, false, &format!("{head}busy\n"));
    check(503, true, head);
    check(
        204,
        false,
        "HTTP/1.1 204 No Content\r\nRetry-After: 1\r\nConnection: close\r\n\r\n",
    );
    check(
        599,
        true,
        "HTTP/1.1 599 \r\nContent-Type: text/plain\r\nRetry-After: 1\r\nContent-Length: 5\r\n\
         Connection: close\r\n\r\n",
    );
}
