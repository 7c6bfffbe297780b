//! Chunked bodies.

use balance_proto::http1::{ChunkError, ChunkedDecoder, Keep};
use proptest::prelude::*;

use crate::pieces::{at_every_byte, damaged, joined, line_end, mostly};
use crate::reference::{self, ChunkedBody};
use crate::verdict::{self, all_same};

const SIZES: &[&str] = &[
    "3",
    "3",
    "03",
    "0000000000000003",
    "3;a",
    "3;a=b;c",
    "3;a=\"b;\\\" c\"",
];
const WRONG_SIZES: &[&str] = &[
    "",
    "+3",
    "-3",
    "0x3",
    " 3",
    "3 ",
    "3 ;a",
    "3; a",
    "3;",
    "3;=b",
    "3;a=",
    "3;a=\"",
    "3;a=\"b\"c",
    "3;a\0",
    "3_",
    "4",
    "2",
    "00000000000000003",
    "8000000000000000",
    "ffffffffffffffff",
    "g",
    "3,",
    "3;a b",
    "3;a=\"\x01\"",
];
const LAST: &[&str] = &["0", "0", "00", "0;last", "0000000000000000"];
const TRAILERS: &[&str] = &[
    "",
    "",
    "",
    "X: y\r\n",
    "X-Sum:\r\nY: \t z \r\n",
    "Content-Length: 5\r\n",
];
const WRONG_TRAILERS: &[&str] = &[
    "X\r\n",
    "X : y\r\n",
    " X: y\r\n",
    "X: \0\r\n",
    "X: y\r\n z\r\n",
    ": y\r\n",
    "X: y\n",
];

fn body() -> impl Strategy<Value = Vec<u8>> {
    let chunk = joined(vec![
        mostly(SIZES, WRONG_SIZES).boxed(),
        line_end(),
        mostly(&["abc", "\r\n0", "0\r\n"], &["ab", "abcd", ""]).boxed(),
        line_end(),
    ]);
    let end = joined(vec![
        mostly(LAST, WRONG_SIZES).boxed(),
        line_end(),
        mostly(TRAILERS, WRONG_TRAILERS).boxed(),
        line_end(),
        Just(b"tail".to_vec()).boxed(),
    ]);
    let chunks = prop::collection::vec(chunk, 0..4);
    damaged((chunks, end).prop_map(|(chunks, end)| [chunks.concat(), end].concat()))
}

/// What the decoder makes of the body at the start of these bytes, in reads of `step`.
struct Decoded {
    out: Vec<u8>,
    consumed: usize,
    is_done: bool,
}

fn decode(input: &[u8], keep: Keep, step: usize) -> Result<Decoded, ChunkError> {
    let mut decoder = ChunkedDecoder::default();
    let mut decoded = Decoded {
        out: Vec::new(),
        consumed: 0,
        is_done: false,
    };
    for piece in input.chunks(step) {
        let mut piece = piece.to_vec();
        let filtered = decoder.filter(&mut piece, keep)?;
        decoded.out.extend_from_slice(&piece[..filtered.kept]);
        decoded.consumed += filtered.consumed;
        decoded.is_done = filtered.done;
    }
    Ok(decoded)
}

/// The decoder and the grammar on the same bytes.
fn check(input: &[u8], step: usize) -> Result<(), String> {
    let framed = decode(input, Keep::Framing, step);
    let payload = decode(input, Keep::Payload, step);
    let allowed = reference::chunked_body(input);
    match (framed, payload, allowed) {
        (Ok(framed), Ok(payload), Some(body)) if framed.is_done && payload.is_done => {
            compare(&framed, &payload, &body)
        }
        (Ok(framed), ..) if framed.is_done => Err("accepted against the grammar".to_owned()),
        (Ok(_), Ok(_), Some(_)) => Err("a whole body passes for a part".to_owned()),
        (Ok(_), Ok(_), None) => Ok(()),
        (Err(error), Err(_), Some(body)) if is_plain(&body) => Err(error.to_string()),
        (Err(_), Err(_), _) => Ok(()),
        _ => Err("what is kept decides what is accepted".to_owned()),
    }
    .map_err(|problem| format!("{problem}: {}", input.escape_ascii()))
}

fn compare(framed: &Decoded, payload: &Decoded, body: &ChunkedBody<'_>) -> Result<(), String> {
    let again =
        reference::chunked_body(&framed.out).ok_or("what is forwarded is no chunked body")?;
    let is_bare = |line: &&[u8]| line.iter().all(u8::is_ascii_hexdigit);
    let is_same = [
        (
            "length",
            [framed.consumed, payload.consumed] == [body.len; 2],
        ),
        ("payload", payload.out == body.payload),
        ("forwarded payload", again.payload == body.payload),
        ("forwarded end", again.len == framed.out.len()),
        // SM-10 and SM-13: neither extensions nor trailers pass.
        ("forwarded extension", again.size_lines.iter().all(is_bare)),
        ("forwarded trailer", again.trailers.is_empty()),
    ];
    let text = framed.out.escape_ascii().to_string();
    all_same(&is_same, &text)
}

/// Whether nothing about it is refused although the grammar allows it: white space around extensions, and more
/// than 16 digits (robustness SM-09, SM-10).
fn is_plain(body: &ChunkedBody<'_>) -> bool {
    let digits = |line: &&[u8]| {
        line.iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count()
    };
    let has_space = |line: &&[u8]| line.iter().any(|byte| b" \t".contains(byte));
    let passes = |line: &&[u8]| digits(line) <= 16 && !has_space(line);
    body.size_lines.iter().all(passes)
}

proptest! {
    #![proptest_config(verdict::config())]

    #[test]
    fn chunked_bodies_are_read_as_the_grammar_reads_them(input in body(), step in 1_usize..40) {
        let outcome = check(&input, step);
        prop_assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
    }
}

#[test]
fn chunked_bodies_with_one_other_byte_are_read_as_the_grammar_reads_them() {
    let body = b"3;a=\"b\"\r\nabc\r\n0A;c\r\n0123456789\r\n0\r\nX: y\r\nZ:\r\n\r\ntail";
    for step in [1, 7, 1_000] {
        at_every_byte(body, |body| {
            if let Err(problem) = check(body, step) {
                panic!("{problem}");
            }
        });
    }
}
