//! Bytes through a session, however they are cut, and how it ends.

use std::sync::Arc;

use balance_tls::{RECORD_PLAINTEXT_MAX, ServerPolicy};

use crate::pair::{Authority, ClientOptions, End, Pair, client_config, connect, settings};

fn pair(max_tls12: bool, step: usize) -> Pair {
    let authority = Authority::new();
    let issued = authority.issue(&["a.test"], &rcgen::PKCS_ECDSA_P256_SHA256);
    let policy = ServerPolicy::new(settings(&[issued.entry(&[], false)])).unwrap();
    let options = ClientOptions {
        max_tls12,
        ..ClientOptions::default()
    };
    let config = Arc::new(client_config(&authority, options));
    connect(&policy, config, "a.test", step).unwrap()
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|index| (index * 7 % 251) as u8).collect()
}

/// Lets `records` arrive in steps and reads with that much room until nothing is left.
fn deliver(to: &mut End, records: &[u8], step: usize, room: usize) -> Vec<u8> {
    let mut received = Vec::new();
    for arrived in records.chunks(step) {
        let mut arrived = arrived;
        loop {
            let (opened, replies) = to.take(arrived, room);
            assert!(replies.is_empty());
            received.extend_from_slice(&opened.unwrap());
            arrived = &[];
            if !to.session.has_record(&to.unread) {
                break;
            }
        }
    }
    received
}

#[test]
fn a_handshake_may_come_in_single_bytes() {
    for max_tls12 in [false, true] {
        pair(max_tls12, 1);
    }
}

#[test]
fn bytes_come_through_however_they_are_cut() {
    const FULL: usize = RECORD_PLAINTEXT_MAX;
    for max_tls12 in [false, true] {
        let Pair {
            mut server,
            mut client,
        } = pair(max_tls12, usize::MAX);
        for sizes in [
            &[1][..],
            &[0, 5, 0],
            &[200, FULL - 200],
            &[200, FULL],
            &[FULL, 200],
            &[3 * FULL + 17, 2, 70_000],
            &[100, 100, 2 * FULL, 100],
        ] {
            let sent = bytes(sizes.iter().sum());
            let mut rest = &sent[..];
            let parts: Vec<&[u8]> = sizes
                .iter()
                .map(|size| rest.split_off(..*size).unwrap())
                .collect();
            for (step, room) in [
                (usize::MAX, 1 << 18),
                (usize::MAX, FULL),
                (1000, FULL),
                (17, 1 << 16),
            ] {
                let records = server.seal(&parts);
                assert!(
                    deliver(&mut client, &records, step, room) == sent,
                    "{sizes:?}"
                );
                let records = client.seal(&parts);
                assert!(
                    deliver(&mut server, &records, step, room) == sent,
                    "{sizes:?}"
                );
            }
            assert!(client.unread.is_empty() && server.unread.is_empty());
        }
    }
}

#[test]
fn as_few_records_as_possible_are_sent() {
    let mut server = pair(false, usize::MAX).server;
    let count = |mut records: &[u8]| {
        let mut count = 0;
        while !records.is_empty() {
            let bytes = usize::from(u16::from_be_bytes([records[3], records[4]]));
            records = &records[5 + bytes..];
            count += 1;
        }
        count
    };
    let (head, body) = (bytes(200), bytes(65_536));
    assert_eq!(count(&server.seal(&[&head, &body[..1000], b"\r\n"])), 1);
    assert_eq!(count(&server.seal(&[&head, &body])), 5);
    assert_eq!(count(&server.seal(&[&body])), 4);
}

#[test]
fn an_end_that_was_announced_is_told_apart() {
    for max_tls12 in [false, true] {
        let Pair {
            mut server,
            mut client,
        } = pair(max_tls12, usize::MAX);
        let mut records = server.seal(&[b"last"]);
        let mut close = Vec::new();
        server.session.close(&mut [], &mut close).unwrap();
        assert!(!close.is_empty());
        records.extend_from_slice(&close);
        assert_eq!(
            deliver(&mut client, &records[..records.len() - 1], 1000, 1 << 15),
            b"last"
        );
        assert!(!client.session.is_closed_by_peer());
        assert_eq!(
            deliver(&mut client, &records[records.len() - 1..], 1000, 1 << 15),
            b""
        );
        assert!(client.session.is_closed_by_peer());
        // The other direction goes on (RFC 8446 §6.1).
        let records = client.seal(&[b"still here"]);
        assert_eq!(deliver(&mut server, &records, 1000, 1 << 15), b"still here");
        let mut again = Vec::new();
        server.session.close(&mut [], &mut again).unwrap();
        assert!(again.is_empty(), "it is said once");
    }
}

#[test]
fn what_is_no_record_is_refused_at_once_with_an_alert() {
    for arrived in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[22, 3, 1, 0, 4, 0, 0, 0, 0],
        &[22, 3, 1, 0xff, 0xff, 1, 2, 3],
        &[23, 3, 3, 0, 3, 1, 2, 3],
    ] {
        let authority = Authority::new();
        let issued = authority.issue(&["a.test"], &rcgen::PKCS_ECDSA_P256_SHA256);
        let policy = ServerPolicy::new(settings(&[issued.entry(&[], false)])).unwrap();
        let mut replies = Vec::new();
        let mut session = policy.accept(arrived).unwrap();
        let opened = session.open(&mut arrived.to_vec(), &mut [], &mut replies);
        assert!(opened.is_err(), "{arrived:?}");
        assert_eq!(replies.first(), Some(&21), "{arrived:?}");
    }
}

#[test]
fn a_record_that_was_changed_ends_the_session() {
    let Pair {
        mut server,
        mut client,
    } = pair(false, usize::MAX);
    let mut records = client.seal(&[b"secret"]);
    *records.last_mut().unwrap() ^= 1;
    let (opened, replies) = server.take(&records, 1 << 15);
    assert!(opened.is_err());
    assert!(!replies.is_empty(), "the peer is told");
}
