//! Hygiene as seen on the wire: a request goes in as bytes and comes out as bytes.

use super::{
    ForwardContext, HygieneError, RequestIdChoice, client_address, edit_request, edit_response,
};
use crate::edits::HeadEdits;
use crate::framing::FramingLine;
use crate::head::{Scheme, Version};
use crate::http1::{
    ConnectionLine, HeadSettings, RequestHead, ResponseContext, ResponseHead, encode_request,
    encode_response,
};
use balance_core::Method;
use std::net::IpAddr;

const ID: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

fn context(peer: &str, peer_is_trusted: bool) -> ForwardContext<'static> {
    ForwardContext {
        peer: peer.parse().unwrap(),
        client: "9.9.9.9".parse().unwrap(),
        peer_is_trusted,
        scheme: Scheme::Https,
        via_name: "balance-00c0ffee",
        new_request_id: ID,
        add_forwarded: false,
    }
}

fn parse(fields: &str) -> RequestHead {
    let mut head = RequestHead::default();
    let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    head.parse(text.as_bytes(), &HeadSettings::default())
        .unwrap();
    head
}

fn forward(fields: &str, ctx: &ForwardContext<'_>) -> Result<String, HygieneError> {
    let head = parse(fields);
    let mut edits = HeadEdits::default();
    edit_request(&head, &mut edits, ctx)?;
    let mut out = Vec::new();
    encode_request(
        &mut out,
        &head,
        &edits,
        FramingLine::None,
        ConnectionLine::None,
    );
    Ok(String::from_utf8(out)
        .unwrap()
        .strip_prefix("GET / HTTP/1.1\r\nHost: a\r\n")
        .unwrap()
        .to_owned())
}

const MADE: &str = "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a\r\n\
    X-Real-IP: 9.9.9.9\r\nVia: 1.1 balance-00c0ffee\r\nX-Request-ID: 0123456789abcdef0123456789abcdef\r\n\r\n";

#[test]
fn an_untrusted_peer_says_nothing_about_the_client() {
    let ctx = context("::ffff:10.0.0.1", false);
    for fields in [
        "",
        "X-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2\r\nX-Forwarded-Proto: ftp\r\n\
         X-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Client-Cert: x\r\n\
         Forwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\nX-Request-ID: mine\r\n",
        "Connection: X-Forwarded-For, X-Real-IP, Forwarded, Via\r\n",
    ] {
        assert_eq!(forward(fields, &ctx).as_deref(), Ok(MADE), "{fields}");
    }
}

#[test]
fn a_trusted_peer_is_continued() {
    let fields = "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\nX-Forwarded-Proto: http\r\n\
        X-Forwarded-Proto: ftp\r\nX-Forwarded-Host: b\r\nX-Forwarded-Port: 1\r\nX-Request-ID: id-1\r\n\
        X-Request-ID: id-2\r\nVia: 1.1 balance-11111111\r\n";
    let seen = forward(fields, &context("10.0.0.1", true)).unwrap();
    assert_eq!(
        seen,
        "X-Forwarded-Proto: http\r\nX-Forwarded-Host: b\r\nX-Forwarded-Port: 1\r\nX-Request-ID: id-1\r\n\
         Via: 1.1 balance-11111111\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2, 10.0.0.1\r\nX-Real-IP: 9.9.9.9\r\n\
         Via: 1.1 balance-00c0ffee\r\n\r\n"
    );
}

#[test]
fn connection_cannot_take_away_what_a_trusted_peer_said() {
    let fields = "Connection: X-Forwarded-Proto, X-Forwarded-Port, X-Request-ID\r\nX-Forwarded-Proto: ftp\r\n\
        X-Forwarded-Port: 1\r\nX-Request-ID: id-1\r\n";
    let seen = forward(fields, &context("10.0.0.1", true)).unwrap();
    assert!(
        seen.starts_with("X-Forwarded-Proto: ftp\r\nX-Forwarded-Port: 1\r\nX-Request-ID: id-1\r\n"),
        "{seen}"
    );
}

#[test]
fn request_ids_are_kept_only_when_sane() {
    let mut edits = HeadEdits::default();
    let long = "x".repeat(129);
    for (value, kept) in [("abc", true), ("a b", false), (long.as_str(), false)] {
        let head = parse(&format!("X-Request-ID: {value}\r\n"));
        edits.clear();
        let choice = edit_request(&head, &mut edits, &context("10.0.0.1", true)).unwrap();
        assert_eq!(choice == RequestIdChoice::Kept(1), kept, "{value}");
    }
}

#[test]
fn forwarded_on_request() {
    let mut ctx = context("2001:db8::1", false);
    ctx.add_forwarded = true;
    let seen = forward("", &ctx).unwrap();
    assert!(seen.contains("Forwarded: for=\"[2001:db8::1]\";proto=https;host=\"a\"\r\n"));
    assert!(seen.contains("X-Forwarded-For: 2001:db8::1\r\n"));
}

#[test]
fn hop_by_hop_fields_go() {
    let ctx = context("10.0.0.1", false);
    for fields in [
        "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\n",
        "Connection: close, X-Hop,\r\nX-Hop: 1\r\nx-hop: 2\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n",
        "Connection: TE\r\nTE: gzip\r\nTrailer: X\r\n",
    ] {
        assert_eq!(forward(fields, &ctx).as_deref(), Ok(MADE), "{fields}");
    }
    for kept in ["TE: trailers\r\n", "Expect: 100-continue\r\n"] {
        let expected = format!("{kept}{MADE}");
        assert_eq!(forward(kept, &ctx), Ok(expected));
    }
}

/// Heads without a class that matters are not walked over: each class must count as one, alone.
#[test]
fn one_field_is_enough_to_be_looked_at() {
    for field in [
        "Connection: close",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: close",
        "TE: gzip",
        "Trailer: X",
        "Upgrade: x",
        "X-Forwarded-For: 1.1.1.1",
        "X-Forwarded-Proto: ftp",
        "X-Forwarded-Host: b",
        "X-Forwarded-Port: 1",
        "Forwarded: for=1.1.1.1",
        "X-Real-IP: 1.1.1.1",
        "X-Request-ID: mine",
    ] {
        let seen = forward(&format!("{field}\r\n"), &context("10.0.0.1", false));
        assert_eq!(seen.as_deref(), Ok(MADE), "{field}");
    }
    for field in [
        "Connection: close",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: close",
        "TE: gzip",
        "Trailer: X",
        "Upgrade: x",
        "Transfer-Encoding: chunked",
    ] {
        let mut head = ResponseHead::default();
        let context = ResponseContext {
            request_method: Method::Get,
            upgrade_offered: false,
        };
        let text = format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n");
        head.parse(text.as_bytes(), context, &HeadSettings::default())
            .unwrap();
        let mut edits = HeadEdits::default();
        edit_response(&head, &mut edits, None);
        assert!(edits.is_dropped(0), "{field}");
    }
}

#[test]
fn refuses_loops_and_protected_options() {
    let ctx = context("10.0.0.1", false);
    for via in [
        "1.1 balance-00c0ffee",
        "1.1 a, HTTP/1.1  BALANCE-00c0ffee (x)",
    ] {
        let seen = forward(&format!("Via: {via}\r\n"), &ctx);
        assert_eq!(seen, Err(HygieneError::Loop), "{via}");
    }
    assert!(forward("Via: 1.1 other, 1.1 balance-00c0ffe\r\n", &ctx).is_ok());
    for option in ["Host", "content-length", "close, Transfer-Encoding"] {
        let seen = forward(&format!("Connection: {option}\r\n"), &ctx);
        assert_eq!(seen, Err(HygieneError::ProtectedOption), "{option}");
    }
    let many = format!("Connection: {}\r\n", "x,".repeat(65));
    assert_eq!(forward(&many, &ctx), Err(HygieneError::ProtectedOption));
}

#[test]
fn responses_lose_their_hop_by_hop_fields() {
    let mut head = ResponseHead::default();
    let context = ResponseContext {
        request_method: Method::Get,
        upgrade_offered: false,
    };
    let text = b"HTTP/1.1 200 Fine\r\nConnection: X-Hop, Content-Length, close\r\nX-Hop: 1\r\n\
        Keep-Alive: timeout=5\r\nUpgrade: h2\r\nTrailer: a\r\nA: b\r\nContent-Length: 2\r\n\r\n";
    head.parse(text, context, &HeadSettings::default()).unwrap();
    let mut edits = HeadEdits::default();
    edit_response(&head, &mut edits, Some("p"));
    let mut out = Vec::new();
    encode_response(
        &mut out,
        &head,
        &edits,
        Version::Http11,
        FramingLine::Length(2),
        ConnectionLine::None,
    );
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 200 Fine\r\nA: b\r\nContent-Length: 2\r\nVia: 1.1 p\r\n\r\n"
    );
}

#[test]
fn client_addresses() {
    let trusted = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets()[0] == 10,
        IpAddr::V6(v6) => v6.is_loopback(),
    };
    for (peer, fields, client) in [
        ("10.0.0.1", "", "10.0.0.1"),
        ("1.1.1.1", "X-Forwarded-For: 2.2.2.2\r\n", "1.1.1.1"),
        ("10.0.0.1", "X-Forwarded-For: 2.2.2.2\r\n", "2.2.2.2"),
        ("::ffff:10.0.0.1", "X-Forwarded-For: 2.2.2.2\r\n", "2.2.2.2"),
        (
            "10.0.0.1",
            "X-Forwarded-For: 3.3.3.3, 2.2.2.2 , 10.0.0.2\r\n",
            "2.2.2.2",
        ),
        (
            "10.0.0.1",
            "X-Forwarded-For: 3.3.3.3\r\nX-Forwarded-For: 10.0.0.3\r\n",
            "3.3.3.3",
        ),
        (
            "10.0.0.1",
            "X-Forwarded-For: 3.3.3.3, junk, 10.0.0.3\r\n",
            "10.0.0.3",
        ),
        ("10.0.0.1", "X-Forwarded-For: 3.3.3.3, ,\r\n", "3.3.3.3"),
        (
            "10.0.0.1",
            "X-Forwarded-For: 3.3.3.3\r\nX-Forwarded-For:\r\n",
            "3.3.3.3",
        ),
        ("10.0.0.1", "X-Forwarded-For: 2.2.2.2:1234\r\n", "2.2.2.2"),
        ("10.0.0.1", "X-Forwarded-For: 2.2.2.2:65536\r\n", "10.0.0.1"),
        (
            "::1",
            "X-Forwarded-For: [2001:db8::2]:1234\r\n",
            "2001:db8::2",
        ),
        ("::1", "X-Forwarded-For: ::ffff:4.4.4.4\r\n", "4.4.4.4"),
        ("::1", "X-Forwarded-For: [::2]x\r\n", "::1"),
        ("10.0.0.1", "X-Forwarded-For: 10.0.0.9\r\n", "10.0.0.9"),
    ] {
        let head = parse(fields);
        let seen = client_address(&head, peer.parse().unwrap(), trusted);
        assert_eq!(seen, client.parse::<IpAddr>().unwrap(), "{peer} {fields}");
    }
}
