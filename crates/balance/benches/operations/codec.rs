//! Heads and bodies of HTTP/1: from bytes, and to bytes.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use balance_core::Method;
use balance_proto::http1::{
    ChunkLimits, ChunkedDecoder, ConnectionLine, HeadSettings, Keep, RequestHead, ResponseContext,
    ResponseHead, encode_request, encode_response,
};
use balance_proto::hygiene::{ForwardContext, edit_request, edit_response};
use balance_proto::{FramingLine, HeadEdits, Scheme, Version};

use crate::operation::{Operation, repeat};

/// As wrk sends it.
pub(crate) const SMALL_REQUEST: &[u8] =
    b"GET /api/v1/service-7/users/42 HTTP/1.1\r\nHost: www.example.com\r\n\r\n";

/// As a browser sends it.
pub(crate) const BROWSER_REQUEST: &[u8] = b"GET /api/v1/service-7/users/42?tab=activity HTTP/1.1\r\n\
    Host: www.example.com\r\nConnection: keep-alive\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.com/api/v1/service-7\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
    Cache-Control: max-age=0\r\nUpgrade-Insecure-Requests: 1\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\n\
    DNT: 1\r\n\r\n";

pub(crate) const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\n\
    Content-Type: application/json\r\nContent-Length: 128\r\nConnection: keep-alive\r\nCache-Control: no-store\r\n\r\n";

pub(crate) const RESPONSE_CONTEXT: ResponseContext = ResponseContext {
    request_method: Method::Get,
    upgrade_offered: false,
};

pub(crate) const FORWARD: ForwardContext<'static> = ForwardContext {
    peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
    client: IpAddr::V4(Ipv4Addr::LOCALHOST),
    peer_is_trusted: false,
    scheme: Scheme::Http,
    via_name: "balance-00c0ffee",
    new_request_id: b"0123456789abcdef0123456789abcdef",
    add_forwarded: false,
};

pub(crate) fn operations() -> Vec<Operation> {
    let mut all = Vec::new();
    for (name, bytes) in [("small", SMALL_REQUEST), ("browser", BROWSER_REQUEST)] {
        all.push(parse_request(name, bytes));
        all.push(forward_request(name, bytes));
    }
    all.push(Operation::new("codec/parse-response", || {
        let mut head = ResponseHead::default();
        let settings = HeadSettings::default();
        repeat(move || {
            head.clear();
            head.parse(black_box(RESPONSE), RESPONSE_CONTEXT, &settings)
                .unwrap();
        })
    }));
    all.push(Operation::new("codec/edit-and-encode-response", || {
        let mut head = ResponseHead::default();
        head.parse(RESPONSE, RESPONSE_CONTEXT, &HeadSettings::default())
            .unwrap();
        let (mut edits, mut out) = (HeadEdits::default(), Vec::new());
        repeat(move || {
            edits.clear();
            out.clear();
            edit_response(black_box(&head), &mut edits, None);
            let (to, framing) = (Version::Http11, FramingLine::Length(128));
            encode_response(&mut out, &head, &edits, to, framing, ConnectionLine::None);
        })
    }));
    for (name, chunk_bytes) in [("16-KiB-chunks", 16 << 10), ("64-B-chunks", 64)] {
        all.push(chunked(name, chunk_bytes));
    }
    all
}

fn parse_request(name: &str, bytes: &'static [u8]) -> Operation {
    Operation::new(format!("codec/parse-request/{name}"), move || {
        let mut head = RequestHead::default();
        let settings = HeadSettings::default();
        repeat(move || {
            head.clear();
            head.parse(black_box(bytes), &settings).unwrap();
        })
    })
}

fn forward_request(name: &str, bytes: &'static [u8]) -> Operation {
    Operation::new(format!("codec/edit-and-encode-request/{name}"), move || {
        let mut head = RequestHead::default();
        head.parse(bytes, &HeadSettings::default()).unwrap();
        let (mut edits, mut out) = (HeadEdits::default(), Vec::new());
        repeat(move || {
            edits.clear();
            out.clear();
            edit_request(black_box(&head), &mut edits, &FORWARD).unwrap();
            encode_request(
                &mut out,
                &head,
                &edits,
                FramingLine::None,
                ConnectionLine::None,
            );
        })
    })
}

/// 64 KiB of a body that goes on, in place.
fn chunked(name: &str, chunk_bytes: usize) -> Operation {
    Operation::new(format!("codec/chunked-64-KiB/{name}"), move || {
        let mut body = Vec::new();
        while body.len() < 64 << 10 {
            body.extend_from_slice(format!("{chunk_bytes:x}\r\n").as_bytes());
            body.resize(body.len() + chunk_bytes, b'x');
            body.extend_from_slice(b"\r\n");
        }
        let mut buffer = body.clone();
        repeat(move || {
            buffer.copy_from_slice(&body);
            let mut decoder = ChunkedDecoder::new(ChunkLimits::default());
            black_box(decoder.filter(&mut buffer, Keep::Framing)).unwrap();
        })
    })
}
