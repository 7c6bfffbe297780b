//! Whatever this pass accepts, the other way accepts too, and reads alike; and it takes what is ordinary.

use super::super::{HeadSettings, Progress, RequestHead, ResponseContext, ResponseHead};
use super::{Bounds, HeadFacts, HeadLines, Stops, request, response};
use balance_core::Method;
use std::fmt::Debug;

const CONTEXT: ResponseContext = ResponseContext {
    request_method: Method::Get,
    upgrade_offered: true,
};

/// Whether this pass takes `input`; if so, the other way must read the same or refuse it for the same reason.
fn check_request(input: &[u8]) -> bool {
    let settings = HeadSettings::default();
    let (mut lines, mut facts) = (HeadLines::default(), HeadFacts::default());
    if request(input, settings.bounds(), &mut lines, &mut facts).is_none() {
        return false;
    }
    let (mut seen, mut expected) = (RequestHead::default(), RequestHead::default());
    let lengths = (
        seen.parse(input, &settings).map(consumed),
        expected.read_unusual(input, &settings),
    );
    check_alike(input, lengths, (&seen, &expected));
    true
}

/// As [`check_request`].
fn check_response(input: &[u8]) -> bool {
    let settings = HeadSettings::default();
    let (mut lines, mut facts) = (HeadLines::default(), HeadFacts::default());
    if response(input, settings.bounds(), &mut lines, &mut facts).is_none() {
        return false;
    }
    let (mut seen, mut expected) = (ResponseHead::default(), ResponseHead::default());
    let lengths = (
        seen.parse(input, CONTEXT, &settings).map(consumed),
        expected.read_unusual(input, CONTEXT, &settings),
    );
    check_alike(input, lengths, (&seen, &expected));
    true
}

fn check_alike<E: Debug + PartialEq, H: Debug>(
    input: &[u8],
    lengths: (Result<Option<usize>, E>, Result<Option<usize>, E>),
    heads: (&H, &H),
) {
    let text = String::from_utf8_lossy(input);
    assert_eq!(lengths.0, lengths.1, "{text:?}");
    if lengths.0.is_ok() {
        assert_eq!(
            format!("{:?}", heads.0),
            format!("{:?}", heads.1),
            "{text:?}"
        );
    }
}

fn consumed(progress: Progress) -> Option<usize> {
    match progress {
        Progress::Partial => None,
        Progress::Complete { consumed } => Some(consumed),
    }
}

const REQUEST: &[u8] =
    b"POST /a/b?c=d HTTP/1.1\r\nHost: example.com:80\r\nX-Some-Thing: v\xe4lue; q=1\r\n\
    Content-Length: 12\r\nx-forwarded-what: 1\r\n\r\nGET";
const RESPONSE: &[u8] =
    b"HTTP/1.1 404 Not F\xf6und\r\nContent-Length: 12\r\nDate: Tue, 24 Nov 2026 08:00:00 GMT\r\n\
    X-A: b\r\n\r\nHTTP";

#[test]
fn ordinary_heads_are_taken() {
    for head in [
        REQUEST,
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"DELETE /%20 HTTP/1.1\r\nhost: [::1]:8080\r\nConnection: keep-alive, te\r\n\r\n",
    ] {
        assert!(check_request(head), "{:?}", String::from_utf8_lossy(head));
    }
    for head in [
        RESPONSE,
        b"HTTP/1.0 200 \r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n",
    ] {
        assert!(check_response(head), "{:?}", String::from_utf8_lossy(head));
    }
}

/// Every byte of a head replaced by every byte, left out, doubled, and the input cut there.
#[test]
fn both_ways_agree_on_heads_with_any_change_of_one_byte() {
    let mut taken = 0;
    for (head, check) in [
        (REQUEST, check_request as fn(&[u8]) -> bool),
        (RESPONSE, check_response),
    ] {
        for at in 0..head.len() {
            for byte in 0..=255 {
                let mut changed = head.to_vec();
                changed[at] = byte;
                taken += usize::from(check(&changed));
            }
            let (before, after) = head.split_at(at);
            check(before);
            check(&[before, &after[1..]].concat());
            check(&[before, &after[..1], after].concat());
        }
    }
    assert!(
        taken > 10_000,
        "nearly every changed head was unusual: {taken}"
    );
}

#[test]
fn both_ways_agree_on_white_space_and_line_ends() {
    let parts = [
        "", " ", "  ", "\t", "\r", "\n", "\r\n", "a", ":", "_", "a: b\r\n", "\u{7f}",
    ];
    for a in parts {
        for b in parts {
            for c in parts {
                check_request(format!("GET{a}/{b}HTTP/1.1{c}Host: a\r\n\r\n").as_bytes());
                check_request(
                    format!("GET / HTTP/1.1\r\nHost: a\r\nX{a}:{b}v{c}\r\n\r\n").as_bytes(),
                );
                check_request(format!("GET / HTTP/1.1\r\nHost: a\r\n{a}{b}{c}\r\n\r\n").as_bytes());
                check_request(format!("GET / HTTP/1.1\r\n{a}{b}{c}\r\n\r\n").as_bytes());
                check_response(format!("HTTP/1.1{a}200{b}OK{c}\r\n\r\n").as_bytes());
                check_response(format!("HTTP/1.1 200 OK\r\nX{a}:{b}v{c}\r\n\r\n").as_bytes());
            }
        }
    }
}

#[test]
fn bounds_are_left_to_the_other_way() {
    let taken = |head: &[u8], head_bytes_max, fields_max, target_bytes_max| {
        let bounds = Bounds {
            head_bytes_max,
            fields_max,
            target_bytes_max,
        };
        let (mut lines, mut facts) = (HeadLines::default(), HeadFacts::default());
        request(head, bounds, &mut lines, &mut facts).is_some()
    };
    let length = REQUEST.len() - "GET".len();
    assert!(taken(REQUEST, length, 4, 8));
    assert!(!taken(REQUEST, length - 1, 4, 8));
    assert!(!taken(REQUEST, length, 3, 8));
    assert!(!taken(REQUEST, length, 4, 7));
}

/// Byte by byte, beside every neighbour that could send a borrow over.
#[test]
fn stops_are_found_beside_any_neighbours() {
    type IsStop = fn(u8) -> bool;
    let sets: [(Stops, IsStop); 3] = [
        (Stops::VALUE, |byte| byte < b' ' || byte == 0x7f),
        (Stops::TARGET, |byte| !byte.is_ascii_graphic()),
        (Stops::NAME, |byte| matches!(byte, b':' | b'\r')),
    ];
    for (stops, is_stop) in sets {
        for low in 0..=255 {
            for high in 0..=255 {
                let bytes = [b'a', low, high, b'a', b'a', b'a', high, low];
                let expected = bytes.iter().position(|byte| is_stop(*byte));
                assert_eq!(stops.first_in(bytes), expected, "{bytes:x?}");
            }
        }
    }
}
