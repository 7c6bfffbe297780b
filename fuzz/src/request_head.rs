//! A request head: what is accepted, what becomes of it, and what a backend would read in that.

use balance_core::{Limits, PathPolicy, UnderscorePolicy};
use balance_proto::http1::{HeadSettings, Progress, RequestHead};
use balance_proto::{BodyLength, FieldClass, HeadView, RequestView, Scheme};
use balance_testkit::Recorded;

use crate::corpus::{request_inputs, with_choice};
use crate::plain_view::Plain;
use crate::sender::{PEER_TEXT, Sender, VIA_NAME, latin1};

/// The first byte chooses the settings, the rest is what a client sends.
pub fn check(input: &[u8]) {
    let Some((choice, message)) = input.split_first() else {
        return;
    };
    let settings = settings(*choice);
    let sender = Sender {
        is_trusted: choice & 0x20 != 0,
        adds_forwarded: choice & 0x40 != 0,
        scheme: settings.scheme,
        ..Sender::UNTRUSTED
    };
    let mut head = RequestHead::default();
    match head.parse(message, &settings) {
        Ok(Progress::Partial) => {}
        Err(_) => refused_stays_refused(message, &settings),
        Ok(Progress::Complete { consumed }) => {
            verdict_is_stable(&head, message, consumed, &settings);
            forwarded_is_read_as_meant(&head, sender, &settings);
        }
    }
}

/// The tables of requests under the defaults, and once with everything the other way.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = with_choice(0, request_inputs());
    seeds.extend(with_choice(0xe6, request_inputs()));
    // From a client and from a proxy that is trusted.
    for choice in [0, 0x20, 0x60] {
        seeds.extend(with_choice(choice, vec![IDENTITY.to_vec()]));
    }
    seeds
}

fn settings(choice: u8) -> HeadSettings {
    HeadSettings {
        paths: match choice & 3 {
            1 => PathPolicy::Reject,
            2 => PathPolicy::Off,
            _ => PathPolicy::Safe,
        },
        underscores: match choice >> 2 & 3 {
            1 => UnderscorePolicy::Pass,
            2 => UnderscorePolicy::Reject,
            _ => UnderscorePolicy::Drop,
        },
        scheme: match choice & 0x10 {
            0 => Scheme::Http,
            _ => Scheme::Https,
        },
        // Limits that inputs of this size reach.
        ..match choice & 0x80 {
            0 => HeadSettings::default(),
            _ => HeadSettings {
                head_bytes_max: 512,
                fields_max: 8,
                target_bytes_max: 64,
                ..HeadSettings::default()
            },
        }
    }
}

/// More bytes never make an error good: it would depend on the reads whether a request passes.
fn refused_stays_refused(message: &[u8], settings: &HeadSettings) {
    for more in [&b"\r\n\r\n"[..], b"a", b"\n", b": b\r\n\r\n"] {
        let longer = [message, more].concat();
        let result = RequestHead::default().parse(&longer, settings);
        assert!(result.is_err(), "refused, then accepted with {more:?}");
    }
}

/// What follows a head does not change it, and no shorter input was a head.
fn verdict_is_stable(head: &RequestHead, message: &[u8], consumed: usize, settings: &HeadSettings) {
    let alone = &message[..consumed];
    assert!(
        alone.ends_with(b"\r\n\r\n"),
        "a head ends with an empty line"
    );
    assert!(consumed <= settings.head_bytes_max + 2, "above its limit");
    assert!(head.field_count() <= settings.fields_max);
    let mut again = RequestHead::default();
    let progress = again.parse(alone, settings);
    assert_eq!(progress, Ok(Progress::Complete { consumed }));
    assert_eq!(again.bytes(), head.bytes());
    for end in [consumed - 1, consumed - 2, consumed / 2, consumed / 3] {
        let progress = again.parse(&message[..end], settings);
        assert_eq!(progress, Ok(Progress::Partial), "cut at {end}");
    }
}

/// Both ways of writing give the same bytes, a strict parser reads in them what we read, and so do we.
pub(crate) fn forwarded_is_read_as_meant(
    head: &RequestHead,
    sender: Sender,
    settings: &HeadSettings,
) {
    let forwarded = sender.forward(head, head);
    assert_eq!(sender.forward(&Plain(head), head), forwarded);
    let Ok(forwarded) = forwarded else {
        return;
    };
    let Some(body) = body_of(head.body()) else {
        return;
    };
    let message = [forwarded.as_slice(), &body].concat();
    let seen = Recorded::parse_all(&message).expect("a strict backend reads it");
    assert_eq!(seen.len(), 1, "one request is one request");
    let seen = &seen[0];
    assert_eq!(seen.method, latin1(head.method()));
    assert_eq!(seen.target, latin1(head.path_and_query()));
    assert_eq!(seen.body.len() as u64, payload_len(head.body()));
    if !head.authority().is_empty() {
        assert_eq!(seen.headers("host"), [latin1(head.authority())]);
    }
    check_hop_by_hop(head, seen);
    check_identity(head, seen, sender);

    // What we add may go beyond a limit that the request itself kept.
    let settings = HeadSettings {
        head_bytes_max: usize::MAX,
        fields_max: Limits::FIELDS_CEILING,
        ..*settings
    };
    let mut again = RequestHead::default();
    let progress = again.parse(&forwarded, &settings);
    let consumed = forwarded.len();
    assert_eq!(progress, Ok(Progress::Complete { consumed }));
    assert_eq!(again.body(), head.body());
    assert_eq!(again.path_and_query(), head.path_and_query());
    assert_eq!(again.path(), head.path());
    assert_eq!(again.upgrade().is_some(), head.upgrade().is_some());
}

/// RFC 9110 §7.6.1: what was for us alone is gone, and so is what Connection named.
fn check_hop_by_hop(head: &RequestHead, seen: &Recorded) {
    for name in ["keep-alive", "proxy-connection", "trailer"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    let upgrade = head.upgrade().map(latin1);
    assert_eq!(seen.header("upgrade"), upgrade.as_deref());
    let connection = upgrade.map(|_| "Upgrade");
    assert_eq!(seen.header("connection"), connection);
    for value in seen.headers("te") {
        assert!(value.eq_ignore_ascii_case("trailers"), "TE: {value}");
    }
    for index in 0..head.field_count() {
        let field = head.field(index);
        if field.class != FieldClass::Connection {
            continue;
        }
        for option in latin1(field.value).split(',') {
            let option = option.trim_matches([' ', '\t']);
            if FieldClass::of(option.as_bytes()) == FieldClass::Other {
                assert_eq!(seen.header(option), None, "Connection named {option}");
            }
        }
    }
}

/// A client that nobody vouches for cannot say who it is; nobody can leave out who we are.
fn check_identity(head: &RequestHead, seen: &Recorded, sender: Sender) {
    let chain = seen.headers("x-forwarded-for");
    assert_eq!(chain.len(), 1, "one line: {chain:?}");
    assert!(
        chain[0].ends_with(PEER_TEXT),
        "ends with the peer: {chain:?}"
    );
    assert_eq!(seen.headers("x-real-ip"), [PEER_TEXT]);
    assert_eq!(seen.headers("x-request-id").len(), 1);
    assert_eq!(seen.headers("x-forwarded-proto").len(), 1);
    let version = head.version().via_name();
    let own_via = format!("{version} {VIA_NAME}");
    assert_eq!(seen.headers("via").last(), Some(&own_via.as_str()));
    if sender.is_trusted {
        return;
    }
    assert_eq!(chain, [PEER_TEXT]);
    assert_eq!(seen.headers("x-forwarded-proto"), [sender.scheme.name()]);
    let host = latin1(head.authority());
    let hosts = if host.is_empty() { vec![] } else { vec![host] };
    assert_eq!(seen.headers("x-forwarded-host"), hosts);
    assert_eq!(
        seen.headers("forwarded").len(),
        usize::from(sender.adds_forwarded)
    );
}

/// A body of that length, unless it is too long to make one.
fn body_of(length: BodyLength) -> Option<Vec<u8>> {
    match length {
        BodyLength::Exact(bytes) if bytes > 64 * 1024 => None,
        BodyLength::Exact(_) => Some(vec![b'G'; payload_len(length) as usize]),
        BodyLength::Chunked => Some(b"1\r\nG\r\n0\r\n\r\n".to_vec()),
    }
}

fn payload_len(length: BodyLength) -> u64 {
    match length {
        BodyLength::Exact(bytes) => bytes,
        BodyLength::Chunked => 1,
    }
}

/// Every field that says who somebody is, more than once.
const IDENTITY: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\n\
    X-Forwarded-For: 2.2.2.2, 3.3.3.3\r\nX-Real-IP: 1.1.1.1\r\nX-Real-IP: 2.2.2.2\r\nX-Forwarded-Proto: https\r\n\
    X-Forwarded-Proto: http\r\nX-Forwarded-Host: b\r\nX-Forwarded-Host: c\r\nX-Forwarded-Port: 1\r\n\
    Forwarded: for=1.1.1.1\r\nForwarded: for=2.2.2.2\r\nX-Request-ID: 1\r\nX-Request-ID: 2\r\nVia: 1.1 other\r\n\
    Connection: X-Forwarded-For, X-Real-IP, Via, X-Request-ID, X-Named\r\nX-Named: 1\r\n\r\n";
