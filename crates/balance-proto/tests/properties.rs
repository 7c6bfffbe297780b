//! What holds for any input: one verdict however it is cut, the same bytes with and without runs,
//! and what we write is what we would accept.

#[path = "shared/plain_view.rs"]
mod plain_view;

use balance_core::Method;
use balance_proto::http1::{
    ConnectionLine, HeadSettings, Progress, RequestHead, ResponseContext, ResponseHead,
    encode_request, encode_response,
};
use balance_proto::hygiene::{ForwardContext, edit_request, edit_response};
use balance_proto::{
    BodyLength, FieldName, FieldValue, FramingLine, HeadEdits, RequestView, Scheme, Version,
};
use proptest::prelude::*;

use plain_view::Plain;

fn context(peer_is_trusted: bool) -> ForwardContext<'static> {
    ForwardContext {
        peer: [192, 0, 2, 1].into(),
        client: [192, 0, 2, 1].into(),
        peer_is_trusted,
        scheme: Scheme::Http,
        via_name: "balance-00000000",
        new_request_id: b"00000000000000000000000000000000",
        add_forwarded: true,
    }
}

fn forward<V: RequestView>(view: &V, body: BodyLength, edits: &HeadEdits) -> Vec<u8> {
    let mut out = Vec::new();
    let framing = FramingLine::for_request(view.method_kind(), body);
    encode_request(&mut out, view, edits, framing, ConnectionLine::None);
    out
}

/// Field lines with every class among them, any white space, and lines that must be dropped.
fn field_line() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "Accept",
        "X-A",
        "x-b",
        "Cookie",
        "X_Under",
        "Keep-Alive",
        "Connection",
        "TE",
        "Via",
        "Upgrade",
        "Trailer",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "Forwarded",
        "X-Real-IP",
        "X-Request-ID",
        "User-Agent",
    ]);
    let value = prop::sample::select(vec![
        "",
        "v",
        "a, b",
        "trailers",
        "keep-alive",
        "x-b",
        "close, X-A",
        "1.1.1.1",
        "websocket",
        "Mozilla/5.0 (X11; Linux) \u{fc}",
        "w x\ty",
    ]);
    let space = || prop::sample::select(vec!["", " ", "  ", "\t"]);
    (name, space(), value, space())
        .prop_map(|(name, before, value, after)| format!("{name}:{before}{value}{after}\r\n"))
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "GET / HTTP/1.1",
        "POST /a?b HTTP/1.1",
        "GET http://a/x HTTP/1.1",
        "GET /1 HTTP/1.0",
        "OPTIONS * HTTP/1.1",
        "PURGE /%41 HTTP/1.1",
    ]);
    let framing = prop::sample::select(vec![
        "",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length:0\r\n",
        "Expect: 100-continue\r\n",
    ]);
    let fields = prop::collection::vec(field_line(), 0..12);
    (line, framing, fields, 0_usize..12).prop_map(|(line, framing, mut fields, at)| {
        fields.insert(at.min(fields.len()), framing.to_owned());
        fields.insert((at * 7) % (fields.len() + 1), "Host: a\r\n".to_owned());
        format!("{line}\r\n{}\r\n", fields.concat()).into_bytes()
    })
}

/// A valid request with a few bytes changed to ones that matter.
fn damaged(message: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop::sample::select(b"\r\n \t:,\0\x7f\x80aH/_;0".to_vec());
    let change = (any::<prop::sample::Index>(), byte, 0_u8..3);
    (message, prop::collection::vec(change, 0..3)).prop_map(|(mut message, changes)| {
        for (index, byte, kind) in changes {
            let at = index.index(message.len());
            match kind {
                0 => message[at] = byte,
                1 => message.insert(at, byte),
                _ => {
                    message.remove(at);
                }
            }
        }
        message
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn runs_and_single_fields_give_the_same_request(
        message in request(),
        trusted in any::<bool>(),
        dropped in any::<u32>(),
        keep in any::<bool>(),
    ) {
        let mut head = RequestHead::default();
        if head.parse(&message, &HeadSettings::default()).is_ok() {
            let mut edits = HeadEdits::default();
            let mut plain_edits = HeadEdits::default();
            let result = edit_request(&head, &mut edits, &context(trusted));
            let plain = edit_request(&Plain(&head), &mut plain_edits, &context(trusted));
            prop_assert_eq!(plain, result);
            prop_assert_eq!(edits.dropped(), plain_edits.dropped());
            for index in (0..32).filter(|index| dropped & (1 << index) != 0) {
                edits.drop_field(index);
            }
            let name = FieldName::new(b"x-a").unwrap();
            edits.set(&head, name, FieldValue::new(b"set").unwrap());
            let framing = if keep { FramingLine::Keep } else { FramingLine::Chunked };
            let (mut fast, mut slow) = (Vec::new(), Vec::new());
            encode_request(&mut fast, &head, &edits, framing, ConnectionLine::Close);
            encode_request(&mut slow, &Plain(&head), &edits, framing, ConnectionLine::Close);
            prop_assert_eq!(fast.escape_ascii().to_string(), slow.escape_ascii().to_string());
        }
    }

    #[test]
    fn runs_and_single_fields_give_the_same_response(
        fields in prop::collection::vec(field_line(), 0..12),
        length in prop::sample::select(vec!["", "Content-Length: 5\r\n"]),
        method in prop::sample::select(vec![Method::Get, Method::Head]),
    ) {
        let message = format!("HTTP/1.1 200 Fine\r\n{}{length}\r\n", fields.concat());
        let mut head = ResponseHead::default();
        let context = ResponseContext { request_method: method, upgrade_offered: false };
        head.parse(message.as_bytes(), context, &HeadSettings::default()).unwrap();
        let mut edits = HeadEdits::default();
        edit_response(&head, &mut edits, Some("p"));
        let framing = FramingLine::for_response(method, 200, head.body(), Version::Http11);
        let (mut fast, mut slow) = (Vec::new(), Vec::new());
        let (to, connection) = (Version::Http11, ConnectionLine::None);
        encode_response(&mut fast, &head, &edits, to, framing, connection);
        encode_response(&mut slow, &Plain(&head), &edits, to, framing, connection);
        prop_assert_eq!(fast.escape_ascii().to_string(), slow.escape_ascii().to_string());
    }

    #[test]
    fn what_is_forwarded_would_be_accepted_and_forwarded_the_same(message in damaged(request())) {
        let settings = HeadSettings::default();
        let mut head = RequestHead::default();
        let Ok(Progress::Complete { .. }) = head.parse(&message, &settings) else {
            return Ok(());
        };
        let mut edits = HeadEdits::default();
        let result = edit_request(&head, &mut edits, &context(false));
        if result.is_err() || head.authority().is_empty() {
            return Ok(());
        }
        let first = forward(&head, head.body(), &edits);
        let mut again = RequestHead::default();
        let progress = again.parse(&first, &settings);
        prop_assert_eq!(progress, Ok(Progress::Complete { consumed: first.len() }));
        prop_assert_eq!(again.body(), head.body());
        prop_assert_eq!(again.path_and_query(), head.path_and_query());
        prop_assert_eq!(again.authority(), head.authority());
        prop_assert!(again.keep_alive());
        let second = forward(&again, again.body(), &HeadEdits::default());
        prop_assert_eq!(first.escape_ascii().to_string(), second.escape_ascii().to_string());
    }

    #[test]
    fn every_cut_of_a_request_gives_one_verdict(message in damaged(request())) {
        let settings = HeadSettings::default();
        let mut head = RequestHead::default();
        let whole = head.parse(&message, &settings);
        let mut first = None;
        for end in 0..=message.len() {
            match head.parse(&message[..end], &settings) {
                Ok(Progress::Partial) => {}
                other => {
                    first = Some(other);
                    break;
                }
            }
        }
        match (whole, first) {
            (Ok(Progress::Partial), first) => prop_assert_eq!(first, None),
            (Ok(complete), first) => prop_assert_eq!(first, Some(Ok(complete))),
            // Which rule is named may depend on how much was there; that one is broken may not.
            (Err(_), first) => prop_assert!(matches!(first, Some(Err(_))), "{:?}", first),
        }
    }

    #[test]
    fn every_cut_of_a_response_gives_one_verdict(
        fields in prop::collection::vec(field_line(), 0..6),
        seed in any::<prop::sample::Index>(),
        byte in prop::sample::select(b"\r\n \t:\0a".to_vec()),
    ) {
        let mut message = format!("HTTP/1.1 200 OK\r\n{}\r\n", fields.concat()).into_bytes();
        let at = seed.index(message.len());
        message[at] = byte;
        let context = ResponseContext { request_method: Method::Get, upgrade_offered: false };
        let settings = HeadSettings::default();
        let mut head = ResponseHead::default();
        let whole = head.parse(&message, context, &settings);
        let first = (0..=message.len())
            .map(|end| head.parse(&message[..end], context, &settings))
            .find(|result| *result != Ok(Progress::Partial));
        match whole {
            Ok(Progress::Partial) => prop_assert_eq!(first, None),
            Ok(complete) => prop_assert_eq!(first, Some(Ok(complete))),
            Err(_) => prop_assert!(matches!(first, Some(Err(_)))),
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let settings = HeadSettings::default();
        let context = ResponseContext { request_method: Method::Get, upgrade_offered: true };
        let _ = RequestHead::default().parse(&bytes, &settings);
        let _ = ResponseHead::default().parse(&bytes, context, &settings);
        let response = [b"HTTP/1.1 200 ", &bytes[..]].concat();
        let _ = ResponseHead::default().parse(&response, context, &settings);
    }
}

/// Every control character at every position of a field line: httparse looks at 8, 16 or 32 bytes
/// at a time, and each of these paths must refuse what the grammar refuses.
#[test]
fn controls_are_refused_at_every_position_of_a_value() {
    let settings = HeadSettings::default();
    let mut head = RequestHead::default();
    for length in 1..70 {
        for at in 0..length {
            for control in (0..0x20_u8).chain([0x7f]).filter(|byte| *byte != b'\t') {
                let mut value = vec![b'v'; length];
                value[at] = control;
                let message =
                    [b"GET / HTTP/1.1\r\nHost: a\r\nX: ", &value[..], b"\r\n\r\n"].concat();
                let result = head.parse(&message, &settings);
                assert!(
                    result.is_err(),
                    "{control:#x} at {at} of {length}: {result:?}"
                );
            }
        }
    }
}

/// The hot path allocates only to grow: the same memory serves the second message.
#[test]
fn memory_is_reused() {
    let message =
        b"GET /a/b?c HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test\r\nAccept: */*\r\n\
        Connection: keep-alive\r\nCookie: a=b\r\n\r\n";
    let (mut head, mut edits, mut out) = (RequestHead::default(), HeadEdits::default(), Vec::new());
    let mut round = || {
        head.parse(message, &HeadSettings::default()).unwrap();
        edits.clear();
        edit_request(&head, &mut edits, &context(false)).unwrap();
        out.clear();
        encode_request(
            &mut out,
            &head,
            &edits,
            FramingLine::None,
            ConnectionLine::None,
        );
        (
            head.bytes().as_ptr(),
            edits.appended_lines().as_ptr(),
            out.as_ptr(),
            out.capacity(),
        )
    };
    let first = round();
    for _ in 0..10 {
        assert_eq!(round(), first);
    }
}
