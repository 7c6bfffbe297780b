//! A peer without keys: what becomes of the bytes that it sends to a session, and what it gets for them.

use balance_tls::Session;

/// How a connection stands when all bytes are sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Refused(String),
    /// How much of it waits for more.
    Waiting(usize),
}

/// Feeds `input` in pieces. Every reply must be whole records, and nobody may be let in.
pub(crate) fn feed(session: &mut Session, input: &[u8], piece_bytes: usize) -> End {
    let mut held = Vec::new();
    let mut replies = Vec::new();
    for piece in input.chunks(piece_bytes) {
        held.extend_from_slice(piece);
        while session.has_record(&held) {
            let opened = session.open(&mut held, &mut [], &mut replies);
            are_records(&replies);
            match opened {
                Ok(opened) => {
                    assert_eq!(opened.plaintext, 0, "nobody has the keys");
                    held.drain(..opened.consumed);
                }
                Err(error) => return End::Refused(error.to_string()),
            }
        }
        assert!(
            session.is_handshaking(),
            "nobody can finish without the keys"
        );
    }
    End::Waiting(held.len())
}

/// RFC 8446 §5.1: whole ones, of a type that there is, none longer than it may be.
pub(crate) fn are_records(mut bytes: &[u8]) {
    while let [kind, major, _, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        assert!((20..=23).contains(kind) && *major == 3, "{bytes:?}");
        assert!(length <= rest.len() && length <= (1 << 14) + 256);
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "half a record");
}
