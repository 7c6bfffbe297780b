use super::{
    Continuation, FrameError, FrameHeader, FrameKind, GoAway, Headers, Padding, Scope, Setting,
    StreamId, encode_data_header, encode_goaway, encode_ping, encode_reset, encode_settings,
    encode_settings_ack, encode_window_update, finish_block, flags, open_block, parse_ping,
    parse_reset, parse_window_update, settings,
};
use crate::http2::error::{ErrorCode, Violation};

/// Type, flags, stream and length, and what is wrong with them.
type Row = (u8, u8, u32, u32, Option<(Violation, Scope)>);

const SIZE: Option<(Violation, Scope)> = Some((Violation::FrameSizeInvalid, Scope::Connection));
const STREAM: Option<(Violation, Scope)> = Some((Violation::StreamMisplaced, Scope::Connection));

const HEADERS: &[Row] = &[
    // §4.2
    (0, 0, 1, 16_384, None),
    (
        0,
        0,
        1,
        16_385,
        Some((Violation::FrameTooLarge, Scope::Connection)),
    ),
    (
        0xab,
        0,
        0,
        16_385,
        Some((Violation::FrameTooLarge, Scope::Connection)),
    ),
    // §6.1
    (0, 0, 0, 1, STREAM),
    (0, 0, 1, 0, None),
    (0, 0x8, 1, 0, SIZE),
    (0, 0x8, 1, 1, None),
    // §6.2
    (1, 0, 0, 1, STREAM),
    (1, 0, 1, 0, None),
    (1, 0x8, 1, 0, SIZE),
    (1, 0x20, 1, 4, SIZE),
    (1, 0x28, 1, 5, SIZE),
    (1, 0x28, 1, 6, None),
    // §6.3
    (2, 0, 0, 5, STREAM),
    (2, 0, 1, 5, None),
    (
        2,
        0,
        1,
        4,
        Some((Violation::FrameSizeInvalid, Scope::Stream)),
    ),
    (
        2,
        0,
        1,
        6,
        Some((Violation::FrameSizeInvalid, Scope::Stream)),
    ),
    // §6.4
    (3, 0, 0, 4, STREAM),
    (3, 0, 1, 4, None),
    (3, 0, 1, 3, SIZE),
    (3, 0, 1, 5, SIZE),
    // §6.5
    (4, 0, 1, 0, STREAM),
    (4, 0, 0, 0, None),
    (4, 0, 0, 6, None),
    (4, 0, 0, 5, SIZE),
    (4, 0x1, 0, 0, None),
    (4, 0x1, 0, 6, SIZE),
    // §6.6
    (5, 0, 0, 4, STREAM),
    (5, 0, 1, 4, None),
    // §6.7
    (6, 0, 1, 8, STREAM),
    (6, 0, 0, 8, None),
    (6, 0, 0, 7, SIZE),
    (6, 0x1, 0, 9, SIZE),
    // §6.8
    (7, 0, 1, 8, STREAM),
    (7, 0, 0, 8, None),
    (7, 0, 0, 100, None),
    (7, 0, 0, 7, SIZE),
    // §6.9
    (8, 0, 0, 4, None),
    (8, 0, 1, 4, None),
    (8, 0, 1, 3, SIZE),
    (8, 0, 0, 5, SIZE),
    // §6.10
    (9, 0, 0, 1, STREAM),
    (9, 0, 1, 0, None),
    // §4.1: unknown types are ignored, wherever they are.
    (0xab, 0xff, 0, 0, None),
    (0xab, 0xff, 7, 9, None),
];

#[test]
fn headers_are_checked_before_their_payload() {
    for row in HEADERS {
        let (kind, flags, stream, length, expected) = *row;
        let header = FrameHeader {
            length,
            kind: FrameKind::of(kind),
            flags,
            stream: StreamId::new(stream),
        };
        let bytes = header.to_bytes();
        assert_eq!(FrameHeader::parse(&bytes), header);
        let seen = header.check(16_384).err();
        let seen = seen.map(|FrameError { violation, scope }| (violation, scope));
        assert_eq!(seen, expected, "{row:?}");
    }
}

#[test]
fn the_reserved_bit_is_ignored() {
    let header = FrameHeader::parse(&[0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(header.stream, StreamId::MAX);
    assert_eq!(parse_window_update(&[0x80, 0, 0, 1]), 1);
}

#[test]
fn padding_is_counted_with_its_octet() {
    let data = |length, flags| FrameHeader {
        length,
        kind: FrameKind::Data,
        flags,
        stream: StreamId::new(1),
    };
    let too_long = FrameError::connection(Violation::PaddingTooLong);
    for (length, pad_length, expected) in [
        (5, None, Ok((5, 0))),
        (5, Some(0), Ok((4, 0))),
        (5, Some(4), Ok((0, 4))),
        (5, Some(5), Err(too_long)),
        (1, Some(1), Err(too_long)),
    ] {
        let seen = Padding::of_data(data(length, 0), pad_length);
        assert_eq!(seen.map(|seen| (seen.data, seen.padding)), expected);
    }
    for (payload, flags, expected) in [
        (&b"ab"[..], 0, Ok(&b"ab"[..])),
        (b"\x01ab", flags::PADDED, Ok(b"a")),
        (b"\x02ab", flags::PADDED, Ok(b"")),
        (b"\x03ab", flags::PADDED, Err(too_long)),
        (b"\0\0\0\x03\x10ab", flags::PRIORITY, Ok(b"ab")),
        (
            b"\x01\0\0\0\x03\x10ab",
            flags::PRIORITY | flags::PADDED,
            Ok(b"a"),
        ),
        (
            b"\x03\0\0\0\x03\x10ab",
            flags::PRIORITY | flags::PADDED,
            Err(too_long),
        ),
    ] {
        let header = FrameHeader {
            kind: FrameKind::Headers,
            ..data(payload.len() as u32, flags)
        };
        let seen = Headers::parse(header, payload).map(|headers| headers.block);
        assert_eq!(seen, expected, "{payload:?}");
    }
}

#[test]
fn settings_have_bounds() {
    for (id, value, expected) in [
        (Setting::ENABLE_PUSH, 1, Ok(())),
        (Setting::ENABLE_PUSH, 2, Err(Violation::SettingInvalid)),
        (Setting::INITIAL_WINDOW_SIZE, 0x7fff_ffff, Ok(())),
        (
            Setting::INITIAL_WINDOW_SIZE,
            0x8000_0000,
            Err(Violation::InitialWindowTooLarge),
        ),
        (Setting::MAX_FRAME_SIZE, 16_384, Ok(())),
        (
            Setting::MAX_FRAME_SIZE,
            16_383,
            Err(Violation::SettingInvalid),
        ),
        (Setting::MAX_FRAME_SIZE, 0xff_ffff, Ok(())),
        (
            Setting::MAX_FRAME_SIZE,
            0x100_0000,
            Err(Violation::SettingInvalid),
        ),
        (
            Setting::ENABLE_CONNECT_PROTOCOL,
            2,
            Err(Violation::SettingInvalid),
        ),
        (Setting::HEADER_TABLE_SIZE, u32::MAX, Ok(())),
        (Setting::MAX_CONCURRENT_STREAMS, 0, Ok(())),
        (0xff00, u32::MAX, Ok(())),
    ] {
        assert_eq!(Setting { id, value }.check(), expected, "{id} {value}");
    }
}

#[test]
fn what_is_written_is_read() {
    let setting = Setting {
        id: Setting::INITIAL_WINDOW_SIZE,
        value: 7,
    };
    let stream = StreamId::new(3);
    let mut out = Vec::new();
    encode_settings(&mut out, &[setting]);
    encode_settings_ack(&mut out);
    encode_ping(&mut out, *b"12345678", true);
    encode_goaway(&mut out, stream, ErrorCode::CANCEL);
    encode_window_update(&mut out, stream, 9);
    encode_reset(&mut out, stream, ErrorCode::REFUSED_STREAM);
    encode_data_header(&mut out, stream, 2, true);
    out.extend_from_slice(b"ab");
    let mut rest = out.as_slice();
    let mut seen = Vec::new();
    while let Some((header, tail)) = rest.split_first_chunk() {
        let header = FrameHeader::parse(header);
        header.check(16_384).unwrap();
        let (payload, tail) = tail.split_at(header.length as usize);
        rest = tail;
        seen.push((header.kind, header.flags, header.stream.get(), payload));
    }
    assert_eq!(
        seen,
        [
            (FrameKind::Settings, 0, 0, &b"\0\x04\0\0\0\x07"[..]),
            (FrameKind::Settings, 1, 0, b""),
            (FrameKind::Ping, 1, 0, b"12345678"),
            (FrameKind::GoAway, 0, 0, b"\0\0\0\x03\0\0\0\x08"),
            (FrameKind::WindowUpdate, 0, 3, b"\0\0\0\x09"),
            (FrameKind::Reset, 0, 3, b"\0\0\0\x07"),
            (FrameKind::Data, 1, 3, b"ab"),
        ]
    );
    assert_eq!(settings(seen[0].3).collect::<Vec<_>>(), [setting]);
    assert_eq!(parse_ping(seen[2].3), *b"12345678");
    let goaway = GoAway::parse(seen[3].3).unwrap();
    assert_eq!((goaway.last, goaway.code), (stream, ErrorCode::CANCEL));
    assert_eq!(parse_window_update(seen[4].3), 9);
    assert_eq!(parse_reset(seen[5].3), ErrorCode::REFUSED_STREAM);
}

#[test]
fn large_blocks_go_on_in_continuations() {
    for (length, frames) in [(0, 1), (10, 1), (11, 2), (20, 2), (21, 3)] {
        let block: Vec<u8> = (0..length).collect();
        let mut out = b"before".to_vec();
        let start = open_block(&mut out);
        out.extend_from_slice(&block);
        finish_block(&mut out, start, StreamId::new(5), true, 10);
        let mut rest = &out[b"before".len()..];
        let mut read = Vec::new();
        let mut count = 0;
        while let Some((header, tail)) = rest.split_first_chunk() {
            let header = FrameHeader::parse(header);
            assert!(header.length <= 10);
            assert_eq!(header.stream.get(), 5);
            let (payload, tail) = tail.split_at(header.length as usize);
            rest = tail;
            count += 1;
            let (block, ends_block) = match header.kind {
                FrameKind::Headers => {
                    assert!(header.ends_stream() && count == 1);
                    let headers = Headers::parse(header, payload).unwrap();
                    (headers.block, headers.ends_block)
                }
                kind => {
                    assert_eq!(kind, FrameKind::Continuation);
                    let continuation = Continuation::parse(header, payload);
                    (continuation.block, continuation.ends_block)
                }
            };
            read.extend_from_slice(block);
            assert_eq!(ends_block, count == frames);
        }
        assert_eq!((read, count), (block, frames));
    }
}
