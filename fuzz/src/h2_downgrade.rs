//! A field block of a client, forwarded as HTTP/1: what a backend reads in it.

use std::time::Instant;

use balance_core::UnderscorePolicy;
use balance_proto::http1::{HeadSettings, RequestHead};
use balance_proto::http2::frame::{FrameHeader, FrameKind, Headers, PREFACE, StreamId, flags};
use balance_proto::http2::{Connection, ConnectionSettings, Event, Role};
use balance_proto::{RequestView, Version};

use crate::request_head::forwarded_is_read_as_meant;
use crate::sender::Sender;
use crate::{h2_peer, script};

/// The first byte chooses the settings and whether content follows, the rest is the block.
pub fn check(input: &[u8]) {
    let Some((choice, block)) = input.split_first() else {
        return;
    };
    let head_settings = HeadSettings {
        underscores: match choice & 1 {
            0 => UnderscorePolicy::Drop,
            _ => UnderscorePolicy::Pass,
        },
        ..HeadSettings::default()
    };
    let settings = ConnectionSettings {
        head: head_settings,
        ..ConnectionSettings::default()
    };
    let ends = match choice & 2 {
        0 => flags::END_STREAM,
        _ => 0,
    };
    let mut bytes = PREFACE.to_vec();
    push(&mut bytes, FrameKind::Settings, 0, 0, &[]);
    push(
        &mut bytes,
        FrameKind::Headers,
        flags::END_HEADERS | ends,
        1,
        block,
    );
    let mut connection = Connection::new(Role::Server, settings);
    let (mut rest, mut out) = (bytes.as_slice(), Vec::new());
    let mut head = RequestHead::default();
    while let Ok(Some(event)) = connection.poll(Instant::now(), &mut rest, &mut out) {
        if let Event::Head { .. } = event {
            connection.take_request(&mut head);
            assert_eq!(head.version(), Version::Http2);
            assert!(!head.authority().is_empty(), "HTTP/1.1 needs a Host");
            let sender = Sender {
                is_trusted: choice & 4 != 0,
                adds_forwarded: choice & 8 != 0,
                ..Sender::UNTRUSTED
            };
            forwarded_is_read_as_meant(&head, sender, &head_settings);
        }
    }
}

/// The field blocks of the rows, and some whose fields mean something in HTTP/1.
pub fn seeds() -> Vec<Vec<u8>> {
    let rows = script::parse(h2_peer::TABLE).expect("the table is well-formed");
    let mut seeds: Vec<Vec<u8>> = rows.iter().flat_map(|row| blocks(&row.input())).collect();
    for fields in FIELDS {
        let mut seed = b"\x02\x82\x86\x84\x41\x01a".to_vec();
        for (name, value) in *fields {
            seed.extend(script::literal(name.as_bytes(), value.as_bytes()));
        }
        seeds.push(seed);
    }
    seeds
}

/// Of the HEADERS frames, each behind a choice.
fn blocks(mut input: &[u8]) -> Vec<Vec<u8>> {
    let mut blocks = Vec::new();
    while let Some((header, rest)) = input.split_first_chunk() {
        let header = FrameHeader::parse(header);
        let Some((payload, rest)) = rest.split_at_checked(header.length as usize) else {
            break;
        };
        input = rest;
        if header.kind == FrameKind::Headers
            && let Ok(headers) = Headers::parse(header, payload)
        {
            let choice = if headers.ends_stream { 0 } else { 2 };
            blocks.push([&[choice], headers.block].concat());
        }
    }
    blocks
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

const FIELDS: &[&[(&str, &str)]] = &[
    &[("content-length", "3"), ("cookie", "a=b"), ("cookie", "c")],
    &[
        ("expect", "100-continue"),
        ("te", "trailers"),
        ("via", "2 x"),
    ],
    &[("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1")],
    &[
        ("transfer_encoding", "chunked"),
        ("a_b", "c"),
        ("host", "a"),
    ],
    &[
        ("trailer", "x"),
        ("x-request-id", "1"),
        ("x-real-ip", "1.1.1.1"),
    ],
];
