//! The chunked decoder: every row at every split into three pieces.

use super::{ChunkError, ChunkLimits, ChunkedDecoder, Keep, LAST_CHUNK, encode_chunk_head};
use proptest::prelude::*;

/// Feeds `pieces` one by one; what is left of a piece when the body ends is the rest.
fn run(
    pieces: &[&[u8]],
    keep: Keep,
    limits: ChunkLimits,
) -> Result<(Vec<u8>, u64, bool, Vec<u8>), ChunkError> {
    let mut decoder = ChunkedDecoder::new(limits);
    let (mut out, mut rest, mut payload) = (Vec::new(), Vec::new(), 0);
    for piece in pieces {
        let mut buf = piece.to_vec();
        let filtered = decoder.filter(&mut buf, keep)?;
        assert_eq!(
            buf[filtered.consumed..],
            piece[filtered.consumed..],
            "bytes after the body are untouched"
        );
        assert!(filtered.kept <= filtered.consumed);
        assert!(filtered.done || filtered.consumed == piece.len());
        out.extend_from_slice(&buf[..filtered.kept]);
        rest.extend_from_slice(&buf[filtered.consumed..]);
        payload += filtered.payload;
    }
    Ok((out, payload, decoder.is_done(), rest))
}

fn check(input: &[u8], framing: &[u8], payload: &[u8], rest: &[u8]) {
    for keep in [Keep::Framing, Keep::Payload] {
        let expected = if keep == Keep::Framing {
            framing
        } else {
            payload
        };
        for first in 0..=input.len() {
            for second in first..=input.len() {
                let pieces = [&input[..first], &input[first..second], &input[second..]];
                let (out, bytes, done, left) = run(&pieces, keep, ChunkLimits::default()).unwrap();
                assert_eq!(out, expected, "split at {first} and {second}");
                assert_eq!((bytes, done), (payload.len() as u64, true));
                assert_eq!(left, rest);
            }
        }
    }
}

fn check_error(input: &[u8], error: ChunkError) {
    // Every split of what is short; long rows would be quadratic.
    for split in (0..=input.len()).step_by(input.len() / 512 + 1) {
        let pieces = [&input[..split], &input[split..]];
        let seen = run(&pieces, Keep::Framing, ChunkLimits::default());
        assert_eq!(
            seen.err(),
            Some(error),
            "{:?} at {split}",
            String::from_utf8_lossy(input)
        );
    }
}

#[test]
fn keeps_framing_or_payload_at_every_split() {
    check(b"0\r\n\r\n", b"0\r\n\r\n", b"", b"");
    check(
        b"3\r\nabc\r\n00A\r\n0123456789\r\n0\r\n\r\nGET /",
        b"3\r\nabc\r\n00A\r\n0123456789\r\n0\r\n\r\n",
        b"abc0123456789",
        b"GET /",
    );
    check(
        b"2;a;b=c;d=\"x\\\"; y\"\r\nab\r\n0;last\r\nX-Sum: 1\r\nY:\r\n\r\n",
        b"2\r\nab\r\n0\r\n\r\n",
        b"ab",
        b"",
    );
}

#[test]
fn refuses_malformed_bodies_at_every_split() {
    for size in [
        "",
        "+1",
        "-1",
        "0x1",
        " 1",
        "1 ",
        "1\t;a",
        "g",
        "\r",
        "00000000000000001",
    ] {
        check_error(format!("{size}\r\n").as_bytes(), ChunkError::SizeInvalid);
    }
    check_error(b"8000000000000000\r\n", ChunkError::SizeTooLarge);
    check_error(b"ffffffffffffffff\r\n", ChunkError::SizeTooLarge);
    for extension in [
        "",
        ";",
        "=",
        "a=",
        "a=\"x\"y",
        "a b",
        " a",
        "a=\"\x01\"",
        "a=b=c",
    ] {
        check_error(
            format!("1;{extension}\r\n").as_bytes(),
            ChunkError::ExtensionInvalid,
        );
    }
    for line in [
        "1\nx",
        "1\r1",
        "1\r\nxy\r\n",
        "1\r\nx\n",
        "1\r\nx\rx",
        "1;a\nx",
        "0\r\n\rx",
    ] {
        check_error(line.as_bytes(), ChunkError::LineEndInvalid);
    }
    for line in ["0\r\nA: b\n\r\n", "0\r\nA: b\rc\r\n\r\n", "0\r\n\n"] {
        check_error(line.as_bytes(), ChunkError::LineEndInvalid);
    }
    for trailer in [": a", "A : b", " a", "A\r\n", "A: \x00", "A: b\r\n fold"] {
        check_error(
            format!("0\r\n{trailer}\r\n\r\n").as_bytes(),
            ChunkError::TrailerInvalid,
        );
    }
}

#[test]
fn bounds_extensions_and_trailers_over_the_whole_body() {
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(1_500));
    check_error(chunk.repeat(3).as_bytes(), ChunkError::ExtensionsTooLong);
    let long = format!("0\r\nA: {}\r\n\r\n", "t".repeat(9_000));
    check_error(long.as_bytes(), ChunkError::TrailersTooLarge);
    let many = format!("0\r\n{}\r\n", "A: b\r\n".repeat(101));
    check_error(many.as_bytes(), ChunkError::TrailersTooLarge);
}

#[test]
fn what_follows_the_end_is_not_consumed() {
    let mut decoder = ChunkedDecoder::default();
    let mut body = *b"0\r\n\r\n";
    assert!(decoder.filter(&mut body, Keep::Payload).unwrap().done);
    let mut next = *b"5\r\nhello";
    let filtered = decoder.filter(&mut next, Keep::Payload).unwrap();
    assert_eq!(
        (filtered.consumed, filtered.kept, filtered.done),
        (0, 0, true)
    );
}

#[test]
fn is_small() {
    assert!(size_of::<ChunkedDecoder>() <= 24);
}

#[test]
fn chunk_heads_are_minimal() {
    for (length, text) in [
        (1, "1\r\n"),
        (15, "f\r\n"),
        (16, "10\r\n"),
        (0x10000, "10000\r\n"),
        (u64::MAX, "ffffffffffffffff\r\n"),
    ] {
        let (head, n) = encode_chunk_head(length);
        assert_eq!(&head[..n], text.as_bytes());
    }
}

proptest! {
    #[test]
    fn decodes_what_it_encodes(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8),
        cut in 1_usize..200,
    ) {
        let mut wire = Vec::new();
        for chunk in &chunks {
            let (head, n) = encode_chunk_head(chunk.len() as u64);
            wire.extend_from_slice(&head[..n]);
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(LAST_CHUNK);
        let pieces: Vec<&[u8]> = wire.chunks(cut).collect();
        let (framed, _, done, _) = run(&pieces, Keep::Framing, ChunkLimits::default()).unwrap();
        prop_assert!(done);
        prop_assert_eq!(&framed, &wire);
        let (payload, bytes, ..) = run(&pieces, Keep::Payload, ChunkLimits::default()).unwrap();
        prop_assert_eq!(bytes, payload.len() as u64);
        prop_assert_eq!(payload, chunks.concat());
    }

    #[test]
    fn any_bytes_give_one_verdict_at_any_split(
        input in prop::collection::vec(
            prop::sample::select(b"0123aF;=\"\\x:\r\n \t".to_vec()),
            0..60,
        ),
        cut in 1_usize..20,
    ) {
        let whole = run(&[&input], Keep::Framing, ChunkLimits::default());
        let pieces: Vec<&[u8]> = input.chunks(cut).collect();
        let split = run(&pieces, Keep::Framing, ChunkLimits::default());
        match (&whole, &split) {
            (Ok(whole), Ok(split)) => prop_assert_eq!(whole, split),
            (Err(whole), Err(split)) => prop_assert_eq!(whole, split),
            _ => prop_assert!(false, "{:?} against {:?}", whole, split),
        }
    }
}
