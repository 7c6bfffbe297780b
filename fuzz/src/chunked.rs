//! The chunked coding: one result at any split, and the payload that a second decoder finds.

use balance_proto::http1::{ChunkError, ChunkLimits, ChunkedDecoder, Keep};
use balance_testkit::Recorded;

use crate::corpus::{request_inputs, response_inputs, with_choice};

/// The first byte chooses the splits, the rest is a body and what follows it.
pub fn check(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else {
        return;
    };
    let piece_len = usize::from(*choice) % 61 + 1;
    for keep in [Keep::Framing, Keep::Payload] {
        let whole = decode(body, body.len().max(1), keep);
        assert_eq!(
            decode(body, piece_len, keep),
            whole,
            "pieces of {piece_len}"
        );
        assert_eq!(decode(body, 1, keep), whole, "byte by byte");
    }
    let framed = decode(body, body.len().max(1), Keep::Framing);
    let plain = decode(body, body.len().max(1), Keep::Payload);
    match (reference(body), framed, plain) {
        (Reference::Body(payload, consumed), Ok(framed), Ok(plain)) => {
            assert!(framed.is_done && plain.is_done, "a whole body");
            assert_eq!((&plain.kept, plain.consumed), (&payload, consumed));
            assert_eq!(framed.consumed, consumed);
            forwarded_is_plain(&framed.kept, &payload);
        }
        // The rest may already be wrong, or not yet.
        (Reference::Unfinished, Ok(framed), Ok(plain)) => {
            assert!(!framed.is_done && !plain.is_done, "more is to come");
        }
        (Reference::Unfinished | Reference::Refused, Err(_), Err(_)) => {}
        (reference, framed, plain) => panic!("{reference:?}, but {framed:?} and {plain:?}"),
    }
}

/// The bodies in the tables, and whole messages: their heads are bodies that are refused.
pub fn seeds() -> Vec<Vec<u8>> {
    let bodies = [request_inputs(), response_inputs()]
        .concat()
        .into_iter()
        .filter_map(|message| {
            let head_len = message.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
            (head_len < message.len()).then(|| message[head_len..].to_vec())
        })
        .collect();
    with_choice(3, bodies)
}

#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    kept: Vec<u8>,
    consumed: usize,
    is_done: bool,
}

fn decode(body: &[u8], piece_len: usize, keep: Keep) -> Result<Decoded, ChunkError> {
    let mut decoder = ChunkedDecoder::default();
    let mut decoded = Decoded {
        kept: Vec::new(),
        consumed: 0,
        is_done: false,
    };
    let mut payload_len = 0;
    for piece in body.chunks(piece_len) {
        let mut buffer = piece.to_vec();
        let filtered = decoder.filter(&mut buffer, keep)?;
        assert!(filtered.kept <= filtered.consumed && filtered.consumed <= piece.len());
        let untouched = &piece[filtered.consumed..];
        assert_eq!(&buffer[filtered.consumed..], untouched, "what follows");
        assert_eq!(filtered.done, decoder.is_done());
        decoded.kept.extend_from_slice(&buffer[..filtered.kept]);
        decoded.consumed += filtered.consumed;
        payload_len += filtered.payload as usize;
        if filtered.done {
            break;
        }
    }
    decoded.is_done = decoder.is_done();
    assert!(keep == Keep::Framing || payload_len == decoded.kept.len());
    Ok(decoded)
}

/// What goes on to a backend has no extension, no trailer field, and the same payload.
fn forwarded_is_plain(framed: &[u8], payload: &[u8]) {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let message = [head, framed].concat();
    let seen = Recorded::parse_all(&message).expect("a strict backend reads it");
    assert_eq!(seen.len(), 1, "one body");
    assert_eq!(seen[0].body, payload);
    assert_eq!(seen[0].trailers, []);
}

/// What the grammar says about a body.
#[derive(Debug)]
enum Reference {
    /// Its payload and its length.
    Body(Vec<u8>, usize),
    Unfinished,
    /// A line of it is wrong.
    Refused,
}

/// RFC 9112 §7.1 once more, line by line.
fn reference(body: &[u8]) -> Reference {
    let mut rest = body;
    let mut payload = Vec::new();
    let mut extension_len = 0;
    loop {
        let Some(line) = take_line(&mut rest) else {
            return Reference::Unfinished;
        };
        let Some((size, extensions)) = size_line(line) else {
            return Reference::Refused;
        };
        extension_len += extensions.len();
        if extension_len > usize::from(ChunkLimits::default().extension_bytes_max) {
            return Reference::Refused;
        }
        if size == 0 {
            return reference_trailers(body.len(), rest, payload);
        }
        let Some((chunk, after)) = rest.split_at_checked(size) else {
            return Reference::Unfinished;
        };
        payload.extend_from_slice(chunk);
        rest = match after {
            [b'\r', b'\n', after @ ..] => after,
            [] | [b'\r'] => return Reference::Unfinished,
            _ => return Reference::Refused,
        };
    }
}

/// RFC 9112 §7.1.2.
fn reference_trailers(body_len: usize, mut rest: &[u8], payload: Vec<u8>) -> Reference {
    let limits = ChunkLimits::default();
    let (mut length, mut count) = (0, 0);
    loop {
        let Some(line) = take_line(&mut rest) else {
            return Reference::Unfinished;
        };
        if line.is_empty() {
            return Reference::Body(payload, body_len - rest.len());
        }
        length += line.len() + 2;
        count += 1;
        let is_within = length <= usize::from(limits.trailer_bytes_max)
            && count <= usize::from(limits.trailer_fields_max);
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(0);
        let (name, value) = line.split_at(colon);
        if !is_within || !is_token(name) || !value.iter().all(|byte| is_text(*byte)) {
            return Reference::Refused;
        }
    }
}

/// The size, below 2^63, and the extensions.
fn size_line(line: &[u8]) -> Option<(usize, &[u8])> {
    let is_digit = |byte: &&u8| byte.is_ascii_hexdigit();
    let (digits, extensions) = line.split_at(line.iter().take_while(is_digit).count());
    let text = std::str::from_utf8(digits).ok()?;
    let size = i64::from_str_radix(text, 16).ok()?;
    let fits = digits.len() <= 16 && is_extensions(extensions);
    let size = usize::try_from(size).ok()?;
    fits.then_some((size, extensions))
}

fn take_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, after) = rest.split_at(end);
    *rest = &after[2..];
    Some(line)
}

/// RFC 9112 §7.1.1, without the white space that only a recipient has to bear.
fn is_extensions(mut text: &[u8]) -> bool {
    while let Some(rest) = text.strip_prefix(b";") {
        let name_len = rest.iter().take_while(|byte| is_token(&[**byte])).count();
        let (name, rest) = rest.split_at(name_len);
        if name.is_empty() {
            return false;
        }
        text = match rest.strip_prefix(b"=") {
            None => rest,
            Some(value) => match after_value(value) {
                Some(after) => after,
                None => return false,
            },
        };
    }
    text.is_empty()
}

/// What follows a token or a quoted string (RFC 9110 §5.6.4).
fn after_value(value: &[u8]) -> Option<&[u8]> {
    let Some(mut quoted) = value.strip_prefix(b"\"") else {
        let length = value.iter().take_while(|byte| is_token(&[**byte])).count();
        return (length > 0).then(|| &value[length..]);
    };
    loop {
        quoted = match quoted {
            [b'"', after @ ..] => return Some(after),
            [b'\\', byte, after @ ..] | [byte, after @ ..] if is_text(*byte) => after,
            _ => return None,
        };
    }
}

fn is_token(bytes: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_tchar)
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
