//! From the fields of an HTTP/2 stream to the HTTP/1 request that a backend gets, and from the response of an HTTP/1
//! backend to the fields that an HTTP/2 client gets.

use crate::request::{forward_head, settings, without_own_fields};
use crate::rows::Row;
use balance_core::Method;
use balance_proto::http1::{HeadSettings, Progress, RequestHead, ResponseContext, ResponseHead};
use balance_proto::http2::frame::{FrameHeader, FrameKind, Headers, PREFACE, StreamId, flags};
use balance_proto::http2::hpack::{DecodedField, Decoder, FieldSink};
use balance_proto::http2::{Connection, ConnectionSettings, Event, Role};
use balance_proto::hygiene::edit_response;
use balance_proto::{FramingLine, HeadEdits, ResponseBody, ResponseView, Version};
use std::time::Instant;

/// Runs a row in its direction.
pub(crate) fn check(row: &Row) -> Result<(), String> {
    let (verdict, forwarded) = match row.option("side") {
        Some("response") => response(row)?,
        _ => request(row)?,
    };
    if verdict != row.verdict {
        return Err(format!("{verdict} instead of {}", row.verdict));
    }
    if forwarded != row.forwarded {
        return Err(format!("forwarded {}", forwarded.escape_ascii()));
    }
    Ok(())
}

/// The verdict over a request, and what a backend gets of it.
fn request(row: &Row) -> Result<(String, Vec<u8>), String> {
    let settings = ConnectionSettings {
        head: settings(row),
        ..ConnectionSettings::default()
    };
    let mut connection = Connection::new(Role::Server, settings);
    let input = request_frames(row)?;
    let (mut rest, mut out) = (input.as_slice(), Vec::new());
    let mut forwarded = Vec::new();
    let mut verdict = "nothing".to_owned();
    loop {
        let event = connection
            .poll(Instant::now(), &mut rest, &mut out)
            .map_err(|violation| violation.to_string())?;
        match event {
            None => break,
            Some(Event::Settings) => {}
            Some(Event::Head { .. }) => {
                let mut head = RequestHead::default();
                connection.take_request(&mut head);
                match forward_head(&mut forwarded, &head) {
                    Ok(()) => verdict = "ok".to_owned(),
                    Err(status) => verdict = status,
                }
            }
            Some(Event::Refused { error, .. }) => verdict = error.status().to_string(),
            Some(Event::Failed { .. }) => verdict = "reset".to_owned(),
            Some(Event::Data { .. } | Event::Trailers { .. }) => {}
            Some(other) => return Err(format!("{other:?}")),
        }
    }
    match verdict.as_str() {
        "ok" => Ok((verdict, without_own_fields(&forwarded))),
        _ => Ok((verdict, Vec::new())),
    }
}

/// The preface, and the fields as literals; `content=N` adds DATA, `open` says that there will be some.
fn request_frames(row: &Row) -> Result<Vec<u8>, String> {
    let mut block = Vec::new();
    for line in &row.lines {
        if line == b"GET" {
            block.extend_from_slice(b"\x82\x86\x84\x41\x01a");
            continue;
        }
        let colon = line.iter().skip(1).position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.ok_or("a field has a colon")? + 1);
        let value = value.strip_prefix(b": ").or(value.strip_prefix(b":"));
        block.extend(literal(name, value.unwrap_or_default()));
    }
    let content = row.option("content").map(|length| length.parse::<usize>());
    let content = content.transpose().map_err(|error| error.to_string())?;
    let is_open = content.is_some() || row.option("body") == Some("open");
    let ends = |is_last: bool| if is_last { flags::END_STREAM } else { 0 };
    let mut input = PREFACE.to_vec();
    push(&mut input, FrameKind::Settings, 0, 0, &[]);
    let mut pieces = block.chunks(16_384).peekable();
    let mut kind = FrameKind::Headers;
    while let Some(piece) = pieces.next() {
        let ends_block = if pieces.peek().is_none() {
            flags::END_HEADERS
        } else {
            0
        };
        let ends_stream = ends(!is_open && kind == FrameKind::Headers);
        push(&mut input, kind, ends_block | ends_stream, 1, piece);
        kind = FrameKind::Continuation;
    }
    if let Some(length) = content {
        let content = vec![b'd'; length];
        push(&mut input, FrameKind::Data, flags::END_STREAM, 1, &content);
    }
    Ok(input)
}

/// A literal field that is not indexed, exactly as it is (RFC 7541 §6.2.2). Strings of two octets more are enough here.
fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        match text.len().checked_sub(0x7f) {
            None => out.push(text.len() as u8),
            Some(rest) => out.extend([0x7f, rest as u8 | 0x80, (rest >> 7) as u8]),
        }
        out.extend_from_slice(text);
    }
    out
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

/// The verdict over a response, and the fields that a client gets of it, each on a line.
fn response(row: &Row) -> Result<(String, Vec<u8>), String> {
    let method = match row.option("request") {
        Some("HEAD") => Method::Head,
        _ => Method::Get,
    };
    let context = ResponseContext {
        request_method: method,
        upgrade_offered: false,
    };
    let mut head = ResponseHead::default();
    match head.parse(&row.input, context, &HeadSettings::default()) {
        Ok(Progress::Complete { .. }) => {}
        Ok(Progress::Partial) => return Err("not a whole head".to_owned()),
        Err(error) => return Ok((error.status().to_string(), Vec::new())),
    }
    let mut edits = HeadEdits::default();
    edit_response(&head, &mut edits, None);
    let framing = FramingLine::for_response(method, head.status(), head.body(), Version::Http2);
    let ends = head.body() == ResponseBody::None && !head.is_interim();

    let mut connection = Connection::new(Role::Server, ConnectionSettings::default());
    let request = Row {
        lines: vec![b"GET".to_vec()],
        ..Row::default()
    };
    let input = request_frames(&request)?;
    let (mut rest, mut out) = (input.as_slice(), Vec::new());
    while connection
        .poll(Instant::now(), &mut rest, &mut out)
        .map_err(|violation| violation.to_string())?
        .is_some()
    {}
    out.clear();
    connection
        .send_response(&mut out, StreamId::new(1), &head, &edits, framing, ends)
        .map_err(|error| error.to_string())?;
    let (header, payload) = out.split_first_chunk().ok_or("a frame")?;
    let headers = Headers::parse(FrameHeader::parse(header), payload);
    let block = headers.map_err(|error| error.to_string())?.block;
    let mut lines = Lines::default();
    Decoder::new(4096)
        .decode(block, usize::MAX, &mut lines)
        .map_err(|error| error.to_string())?;
    Ok(("ok".to_owned(), lines.0))
}

#[derive(Default)]
struct Lines(Vec<u8>);

impl FieldSink for Lines {
    fn on_field(&mut self, field: DecodedField<'_>) {
        let line = [field.name, b": ", field.value, b"\n"].concat();
        self.0.extend_from_slice(&line);
    }
}
