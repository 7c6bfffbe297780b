//! Steady state: one stream after the other without an allocation.

use crate::script::literal;
use balance_core::Method;
use balance_proto::http1::{HeadSettings, Progress, RequestHead, ResponseContext, ResponseHead};
use balance_proto::http2::frame::{FrameHeader, FrameKind, PREFACE, StreamId, flags};
use balance_proto::http2::{Connection, ConnectionSettings, Event, Role};
use balance_proto::{FramingLine, HeadEdits};
use std::time::Instant;

#[test]
fn a_stream_costs_no_allocation() {
    let now = Instant::now();
    let mut connection = Connection::new(Role::Server, ConnectionSettings::default());
    let mut out = Vec::with_capacity(1 << 16);
    let mut input = PREFACE.to_vec();
    push(&mut input, FrameKind::Settings, 0, 0, &[]);
    let settings = connection.poll(now, &mut input.as_slice(), &mut out);
    assert_eq!(settings, Ok(Some(Event::Settings)));

    let response = response();
    let mut request = RequestHead::default();
    let edits = HeadEdits::default();
    let mut input = Vec::with_capacity(1 << 12);
    let mut stream = 1;
    let mut serve = |rounds: u32| {
        for _ in 0..rounds {
            input.clear();
            upload(&mut input, stream);
            stream += 2;
            let mut rest = input.as_slice();
            while let Some(event) = connection.poll(now, &mut rest, &mut out).unwrap() {
                match event {
                    Event::Head { .. } => connection.take_request(&mut request),
                    Event::Data {
                        stream,
                        bytes,
                        ends,
                    } => {
                        connection.release(&mut out, stream, bytes.len());
                        if ends {
                            let framing = FramingLine::Length(5);
                            connection
                                .send_response(&mut out, stream, &response, &edits, framing, false)
                                .unwrap();
                            connection
                                .send_data(&mut out, stream, b"hello", true)
                                .unwrap();
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
            out.clear();
            // The peer's windows never close: it tells of what it read.
            input.clear();
            push(&mut input, FrameKind::WindowUpdate, 0, 0, &[0, 0, 0, 5]);
            let update = connection.poll(now, &mut input.as_slice(), &mut out);
            assert_eq!(update, Ok(None));
        }
        assert_eq!(connection.stream_count(), 0);
    };
    serve(200);
    let counted = allocation_counter::measure(|| serve(1_000));
    assert_eq!(counted.count_total, 0);
}

fn response() -> ResponseHead {
    let mut head = ResponseHead::default();
    let context = ResponseContext {
        request_method: Method::Post,
        upgrade_offered: false,
    };
    let bytes =
        b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n";
    let progress = head.parse(bytes, context, &HeadSettings::default());
    assert!(matches!(progress, Ok(Progress::Complete { .. })));
    head
}

/// A request whose fields change the peer's table, in two frames, and padded content.
fn upload(out: &mut Vec<u8>, stream: u32) {
    let mut block = [0_u8; 256];
    let mut length = 0;
    for (name, value) in [
        (&b":method"[..], &b"POST"[..]),
        (b":scheme", b"http"),
        (b":authority", b"a.example"),
        (b":path", b"/upload?x"),
        (b"cookie", b"a=b"),
        (b"cookie", b"c=d"),
        (
            b"x-number",
            &stream.to_be_bytes().map(|byte| b'a' + (byte & 0xf)),
        ),
    ] {
        // With incremental indexing (RFC 7541 §6.2.1).
        for part in [
            &[0x40, name.len() as u8][..],
            name,
            &[value.len() as u8],
            value,
        ] {
            block[length..length + part.len()].copy_from_slice(part);
            length += part.len();
        }
    }
    push(
        out,
        FrameKind::Headers,
        flags::END_HEADERS,
        stream,
        &block[..length],
    );
    push(
        out,
        FrameKind::Data,
        flags::PADDED,
        stream,
        b"\x02content\0\0",
    );
    push(out, FrameKind::Data, flags::END_STREAM, stream, b"more");
}

fn push(out: &mut Vec<u8>, kind: FrameKind, flags: u8, stream: u32, payload: &[u8]) {
    let header = FrameHeader {
        length: payload.len() as u32,
        kind,
        flags,
        stream: StreamId::new(stream),
    };
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(payload);
}

/// What an idle connection keeps after `release_memory`: the table of the peer's fields, and the struct itself.
#[test]
fn an_idle_connection_is_small() {
    let now = Instant::now();
    let size = size_of::<Connection>();
    assert!(size <= 1_800, "{size}");
    let mut connection = Connection::new(Role::Server, ConnectionSettings::default());
    let mut input = PREFACE.to_vec();
    push(&mut input, FrameKind::Settings, 0, 0, &[]);
    let block: Vec<u8> = [
        literal(b":method", b"GET"),
        literal(b":scheme", b"http"),
        literal(b":authority", b"a"),
        literal(b":path", b"/"),
    ]
    .concat();
    let ends = flags::END_HEADERS | flags::END_STREAM;
    push(&mut input, FrameKind::Headers, ends, 1, &block);
    let mut out = Vec::new();
    let held = allocation_counter::measure(|| {
        let mut rest = input.as_slice();
        let mut heads = 0;
        while let Some(event) = connection.poll(now, &mut rest, &mut out).unwrap() {
            heads += u32::from(matches!(event, Event::Head { .. }));
        }
        assert_eq!(heads, 1);
        let stream = StreamId::new(1);
        connection
            .send_own_response(&mut out, stream, 204, &[], None, true)
            .unwrap();
        connection.release_memory();
        out = Vec::new();
    });
    assert_eq!(held.bytes_current, 0);
}
