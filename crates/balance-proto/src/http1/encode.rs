//! Writing heads: from any [`HeadView`] with its edits to HTTP/1.1 bytes.
//!
//! What is sent is built from what was parsed (robustness rule 0). Runs of field lines that pass
//! unchanged are copied with one memcpy each where the view offers them; a view without runs gives
//! the same bytes, field by field. Host, Connection, Upgrade and the framing fields never pass:
//! only this file writes them.

use super::reason::reason_phrase;
use crate::decimal::{push_decimal, three_digits};
use crate::edits::HeadEdits;
use crate::field::{FieldClass, FieldName, FieldValue};
use crate::framing::{FramingLine, parse_length};
use crate::head::{HeadView, RequestView, ResponseView, Version, field_bit};

/// What the encoder writes about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionLine<'a> {
    /// Nothing: HTTP/1.1 keeps the connection.
    None,
    /// `Connection: close`
    Close,
    /// `Connection: keep-alive`, for HTTP/1.0 clients.
    KeepAlive,
    /// `Connection: Upgrade` and `Upgrade: …`. The bytes are checked again; what cannot be a field
    /// value is not written.
    Upgrade(&'a [u8]),
}

/// Writes a request head for a backend, always as HTTP/1.1 with Host first.
pub fn encode_request<V: RequestView>(
    out: &mut Vec<u8>,
    view: &V,
    edits: &HeadEdits,
    framing: FramingLine,
    connection: ConnectionLine<'_>,
) {
    out.extend_from_slice(view.method());
    out.push(b' ');
    out.extend_from_slice(edits.path().unwrap_or(view.path_and_query()));
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    // RFC 9112 §3.2: a Host is sent even when it is empty.
    out.extend_from_slice(edits.authority().unwrap_or(view.authority()));
    out.extend_from_slice(b"\r\n");
    encode_fields(out, view, edits, framing);
    encode_end(out, edits, framing, connection);
}

/// Writes a response head for a client of version `to`.
///
/// The status line says HTTP/1.1 to everyone (RFC 9110 §2.5: the version we conform to). A
/// Transfer-Encoding is never written for HTTP/1.0 (robustness SM-27): such a body ends with the
/// connection.
pub fn encode_response<V: ResponseView>(
    out: &mut Vec<u8>,
    view: &V,
    edits: &HeadEdits,
    to: Version,
    framing: FramingLine,
    connection: ConnectionLine<'_>,
) {
    let framing = match framing {
        FramingLine::Chunked if to == Version::Http10 => FramingLine::None,
        FramingLine::Length(bytes) if says_length(view, edits, bytes) => FramingLine::Keep,
        other => other,
    };
    match edits.status() {
        Some(status) => encode_status_line(out, status, b""),
        None => encode_status_line(out, view.status(), view.reason()),
    }
    encode_fields(out, view, edits, framing);
    encode_end(out, edits, framing, connection);
}

/// Writes a whole response of our own: errors, direct answers, redirects. Content-Length is that of
/// `body`, also when `head_only` leaves it out (HEAD).
pub fn encode_own_response(
    out: &mut Vec<u8>,
    status: u16,
    content_type: Option<FieldValue<'_>>,
    extra: &[(FieldName<'_>, FieldValue<'_>)],
    body: &[u8],
    head_only: bool,
    connection: ConnectionLine<'_>,
) {
    // RFC 9110 §8.6 and §15.4.5: no content with these.
    let has_no_content = matches!(status, 100..=199 | 204 | 304);
    encode_status_line(out, status, b"");
    if let Some(content_type) = content_type
        && !has_no_content
    {
        encode_field(out, b"Content-Type", content_type.as_bytes());
    }
    for (name, value) in extra {
        encode_field(out, name.as_bytes(), value.as_bytes());
    }
    let framing = match has_no_content {
        true => FramingLine::None,
        false => FramingLine::Length(body.len() as u64),
    };
    encode_framing(out, framing);
    encode_connection(out, connection);
    out.extend_from_slice(b"\r\n");
    if !head_only && !has_no_content {
        out.extend_from_slice(body);
    }
}

/// Whether the view's own Content-Length says `bytes` just as we would write it. Then it passes with its neighbours in
/// one copy.
fn says_length<V: ResponseView>(view: &V, edits: &HeadEdits, bytes: u64) -> bool {
    let Some(index) = view.find(FieldClass::ContentLength) else {
        return false;
    };
    let digits = view.field(index).value;
    let is_canonical = matches!(digits, [b'1'..=b'9', ..] | b"0");
    is_canonical && !edits.is_dropped(index) && parse_length(digits) == Some(bytes)
}

/// The fields of the view that are neither dropped nor ours to write.
fn encode_fields<V: HeadView>(
    out: &mut Vec<u8>,
    view: &V,
    edits: &HeadEdits,
    framing: FramingLine,
) {
    let mut skipped = edits.dropped() | view.encoder_owned();
    if framing == FramingLine::Keep
        && let Some(length) = view.find(FieldClass::ContentLength)
        && !edits.is_dropped(length)
    {
        skipped &= !field_bit(length);
    }
    let count = view.field_count();
    let mut first = 0;
    while skipped != 0 {
        // Edits may drop what the view does not have.
        let end = count.min(skipped.trailing_zeros() as usize);
        encode_run(out, view, first, end);
        first = end.saturating_add(1);
        skipped &= skipped.wrapping_sub(1); // its lowest bit goes
    }
    encode_run(out, view, first, count);
}

fn encode_run<V: HeadView>(out: &mut Vec<u8>, view: &V, first: usize, end: usize) {
    if first >= end {
        return;
    }
    if let Some(run) = view.run(first, end) {
        out.extend_from_slice(run);
        return;
    }
    for index in first..end {
        let field = view.field(index);
        encode_field(out, field.name, field.value);
    }
}

fn encode_end(
    out: &mut Vec<u8>,
    edits: &HeadEdits,
    framing: FramingLine,
    connection: ConnectionLine<'_>,
) {
    out.extend_from_slice(edits.appended_lines());
    encode_framing(out, framing);
    encode_connection(out, connection);
    out.extend_from_slice(b"\r\n");
}

fn encode_framing(out: &mut Vec<u8>, framing: FramingLine) {
    match framing {
        FramingLine::Keep | FramingLine::None => {}
        FramingLine::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        FramingLine::Length(bytes) => {
            out.extend_from_slice(b"Content-Length: ");
            push_decimal(out, bytes);
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn encode_connection(out: &mut Vec<u8>, connection: ConnectionLine<'_>) {
    match connection {
        ConnectionLine::None => {}
        ConnectionLine::Close => out.extend_from_slice(b"Connection: close\r\n"),
        ConnectionLine::KeepAlive => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        ConnectionLine::Upgrade(protocol) => {
            let protocol = FieldValue::new(protocol);
            debug_assert!(protocol.is_ok(), "an upgrade comes from a parsed head");
            if let Ok(protocol) = protocol {
                out.extend_from_slice(b"Connection: Upgrade\r\n");
                encode_field(out, b"Upgrade", protocol.as_bytes());
            }
        }
    }
}

/// RFC 9112 §4: the space after the status stands even when the phrase is empty.
fn encode_status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    match three_digits(status) {
        Some([hundreds, tens, ones]) => out.extend_from_slice(&[hundreds, tens, ones, b' ']),
        // Views have none of these; an edit may.
        None => {
            push_decimal(out, u64::from(status));
            out.push(b' ');
        }
    }
    match reason {
        [] => out.extend_from_slice(reason_phrase(status).as_bytes()),
        reason => out.extend_from_slice(reason),
    }
    out.extend_from_slice(b"\r\n");
}

fn encode_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
