//! What a backend says in a handshake, to the client's side of TLS: the same end however it is cut, replies that are
//! records, and nobody who is believed without the keys.

use std::sync::OnceLock;

use balance_core::TlsVersion;
use balance_tls::{ClientPolicy, ClientSettings, PeerName, Session, Trust};

use crate::tls_peer::{End, are_records, feed};

/// The bytes of a connection. [`ECHOED`] in a ServerHello becomes the session identifier of the hello, which a server of TLS 1.3
/// must send back (RFC 8446 §4.1.3): no input could know it.
pub fn check(input: &[u8]) {
    let whole = end(input, input.len().max(1));
    let ragged = end(input, 7);
    assert_eq!(whole, ragged);
}

/// Answers of servers, as far as they get without keys.
pub fn seeds() -> Vec<Vec<u8>> {
    let x25519 = [
        &[0, 51][..],
        &block(&[&[0, 29][..], &block(&[9; 32])].concat()),
    ]
    .concat();
    let retry_group = [0, 51, 0, 2, 0, 23].to_vec(); // P-256
    let version = [0, 43, 0, 2, 3, 4].to_vec();
    let tls13 = |random: [u8; 32], more: &[u8]| {
        let extensions = [&version[..], more].concat();
        hello([0x13, 1], random, &ECHOED, &extensions)
    };
    let tls12 = hello([0xc0, 0x2b], [7; 32], &[], &[0xff, 1, 0, 1, 0, 0, 23, 0, 0]);
    let certificate = message(11, &[0, 0, 7, 0, 0, 4, 0x30, 2, 5, 0]);
    let key_exchange = message(
        12,
        &[&[3, 0, 29, 32][..], &[9; 32], &[4, 3], &block(&[0x30; 8])].concat(),
    );
    let done = message(14, &[]);
    let ciphertext = record(23, &[0x17; 40]);
    let retry = record(22, &tls13(RETRY_RANDOM, &retry_group));
    let flight12 = [&tls12[..], &certificate, &key_exchange, &done].concat();
    vec![
        [
            record(22, &tls13([7; 32], &x25519)),
            record(20, &[1]),
            ciphertext,
        ]
        .concat(),
        [retry.clone(), record(22, &tls13([7; 32], &x25519))].concat(),
        [retry.clone(), retry].concat(),
        record(22, &flight12),
        flight12
            .chunks(20)
            .flat_map(|part| record(22, part))
            .collect(),
        record(22, &tls12),
        record(21, &[2, 40]),
        record(21, &[1, 0]),
        record(22, &message(0, &[])),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
    ]
}

fn end(input: &[u8], piece_bytes: usize) -> End {
    let (mut session, said) = begun();
    are_records(&said);
    let session_id = said
        .get(SESSION_ID)
        .expect("a hello of ours has an identifier");
    feed(&mut session, &echo(input, session_id), piece_bytes)
}

/// A session, and the hello that it begins with.
fn begun() -> (Session, Vec<u8>) {
    let (mut session, _) = policy().connect().expect("there is randomness");
    let mut said = Vec::new();
    let opened = session.open(&mut [], &mut [], &mut said);
    opened.expect("a client begins");
    (session, said)
}

fn policy() -> &'static ClientPolicy {
    static POLICY: OnceLock<ClientPolicy> = OnceLock::new();
    POLICY.get_or_init(|| {
        let settings = ClientSettings {
            // More is believed than by any other policy.
            trust: Trust::Anybody,
            certificate: None,
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
            cipher_suites: Vec::new(),
            alpn_protocols: vec![b"http/1.1".to_vec()],
            resumes_sessions: true,
        };
        let name = PeerName::parse("a.example").expect("it is a name");
        ClientPolicy::new(name, settings).expect("nothing contradicts")
    })
}

/// In records that are one message each, and only there: what a session takes for something else must not be other bytes
/// each time.
fn echo(input: &[u8], session_id: &[u8]) -> Vec<u8> {
    let mut echoed = input.to_vec();
    let mut rest = echoed.as_mut_slice();
    while let Some((record, after)) = split_message(rest) {
        let is_hello = record.get(5) == Some(&2) && record.get(SESSION_ID.start - 1) == Some(&32);
        if let Some(place) = record.get_mut(SESSION_ID)
            && is_hello
            && *place == ECHOED
        {
            place.copy_from_slice(session_id);
        }
        rest = after;
    }
    echoed
}

/// A record that is exactly one message of the handshake, and what follows it.
fn split_message(bytes: &mut [u8]) -> Option<(&mut [u8], &mut [u8])> {
    let [22, _, _, high, low, _, 0, message_high, message_low, ..] = *bytes else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let message = usize::from(u16::from_be_bytes([message_high, message_low]));
    let is_one = length == message + 4;
    is_one.then(|| bytes.split_at_mut_checked(5 + length))?
}

/// A ServerHello (RFC 8446 §4.1.3).
fn hello(suite: [u8; 2], random: [u8; 32], session_id: &[u8], extensions: &[u8]) -> Vec<u8> {
    let length = u8::try_from(session_id.len()).expect("32 bytes at most");
    let start = [&[3, 3][..], &random, &[length], session_id, &suite, &[0]].concat();
    message(2, &[start, block(extensions)].concat())
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len())
        .expect("it is short")
        .to_be_bytes();
    [&[kind], &length[1..], body].concat()
}

fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3][..], &block(payload)].concat()
}

/// With its length in front.
fn block(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len())
        .expect("it is short")
        .to_be_bytes();
    [&length[..], bytes].concat()
}

const ECHOED: [u8; 32] = [0x53; 32];
/// Behind the header of the record and of the message, the version, the random and its own length.
const SESSION_ID: std::ops::Range<usize> = 44..76;
/// What makes a ServerHello a HelloRetryRequest (RFC 8446 §4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

#[cfg(test)]
mod tests {
    use super::{End, end, seeds};

    /// They get as far as they are meant to: what is refused is what only keys would give.
    #[test]
    fn seeds_reach_what_they_are_for() {
        let ends: Vec<End> = seeds().iter().map(|seed| end(seed, usize::MAX)).collect();
        for (end, expected) in ends.iter().zip([
            "cannot decrypt",
            "WrongGroupForKeyShare",
            "got HelloRetryRequest",
            "invalid peer certificate",
            "invalid peer certificate",
            "Waiting(0)",
            "HandshakeFailure",
            "Waiting(0)",
            "got HelloRequest",
            "InvalidContentType",
        ]) {
            assert!(format!("{end:?}").contains(expected), "{ends:#?}");
        }
    }
}
