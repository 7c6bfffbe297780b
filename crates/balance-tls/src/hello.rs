//! What is looked at in a ClientHello before rustls reads it: the record and handshake headers, and the first suite.

/// Whether bytes that a client sends first begin a TLS handshake record (RFC 8446 §5.1).
pub fn begins_handshake(first_bytes: &[u8]) -> bool {
    first_bytes.first() == Some(&CONTENT_HANDSHAKE)
}

/// Whether the first suite that a client lists is one with ChaCha20 (GREASE, RFC 8701, is passed over). No: also
/// when the bytes do not reach that far.
pub(crate) fn prefers_chacha20(first_bytes: &[u8]) -> bool {
    first_suite(first_bytes).is_some_and(|suite| CHACHA20.contains(&suite))
}

fn first_suite(record: &[u8]) -> Option<u16> {
    if !begins_handshake(record) {
        return None;
    }
    // Record header, handshake header, legacy_version, random (RFC 8446 §4.1.2).
    let hello = record.get(5 + 4 + 2 + 32..)?;
    let (session_id_bytes, rest) = hello.split_first()?;
    let suites = rest.get(usize::from(*session_id_bytes)..)?;
    let bytes = usize::from(u16::from_be_bytes(suites.first_chunk::<2>().copied()?));
    let listed = suites.get(2..)?;
    let listed = &listed[..bytes.min(listed.len())];
    listed
        .chunks_exact(2)
        .map(|suite| u16::from_be_bytes([suite[0], suite[1]]))
        .find(|suite| !is_grease(*suite))
}

fn is_grease(suite: u16) -> bool {
    suite & 0x0f0f == 0x0a0a && suite >> 8 == suite & 0xff
}

const CONTENT_HANDSHAKE: u8 = 22;
/// TLS 1.3, ECDHE-RSA and ECDHE-ECDSA (RFC 8446 §B.4, RFC 7905 §2).
const CHACHA20: [u16; 3] = [0x1303, 0xcca8, 0xcca9];

#[cfg(test)]
mod tests {
    use super::prefers_chacha20;

    fn hello(session_id: &[u8], suites: &[u16]) -> Vec<u8> {
        let mut hello = vec![22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
        hello.extend_from_slice(&[7; 32]);
        hello.push(u8::try_from(session_id.len()).unwrap());
        hello.extend_from_slice(session_id);
        let bytes = u16::try_from(suites.len() * 2).unwrap();
        hello.extend_from_slice(&bytes.to_be_bytes());
        for suite in suites {
            hello.extend_from_slice(&suite.to_be_bytes());
        }
        hello
    }

    #[test]
    fn the_first_suite_that_is_no_grease_decides() {
        for (suites, expected) in [
            (&[0x1303, 0x1301][..], true),
            (&[0x3a3a, 0xcca8], true),
            (&[0x1301, 0x1303], false),
            (&[0x3a3a, 0x1301, 0x1303], false),
            (&[0x3a3a], false),
            (&[], false),
        ] {
            for session_id in [&[][..], &[1; 32]] {
                let hello = hello(session_id, suites);
                assert_eq!(prefers_chacha20(&hello), expected, "{suites:x?}");
            }
        }
    }

    #[test]
    fn bytes_that_end_too_early_say_nothing() {
        let whole = hello(&[1; 32], &[0x1303]);
        assert!(prefers_chacha20(&whole));
        for end in 0..whole.len() {
            assert!(!prefers_chacha20(&whole[..end]), "{end}");
        }
        assert!(!prefers_chacha20(b"GET / HTTP/1.1\r\n"));
    }
}
