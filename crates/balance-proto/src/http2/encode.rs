//! Heads to field blocks: from any view with its edits, straight to HPACK.
//!
//! As in HTTP/1, what is sent is built from what was parsed, and the fields of the connection and of the framing never
//! pass: only this file writes them. So an HTTP/1 response goes to an HTTP/2 client without becoming anything in between.

use super::hpack::Encoder;
use crate::edits::HeadEdits;
use crate::field::{FieldClass, FieldName, FieldValue};
use crate::framing::FramingLine;
use crate::head::{HeadView, RequestView, ResponseView, Scheme};

/// A request (RFC 9113 §8.3.1), with the scheme that it is sent under.
pub(super) fn request<V: RequestView>(
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
    (view, scheme): (&V, Scheme),
    edits: &HeadEdits,
    framing: FramingLine,
) {
    encoder.begin(out);
    encoder.push_method(out, view.method());
    encoder.push_scheme(out, scheme.name().as_bytes());
    let authority = edits.authority().unwrap_or(view.authority());
    // An HTTP/1.0 request may have none: the caller's edits then name the backend's.
    if !authority.is_empty() {
        encoder.push_authority(out, authority);
    }
    encoder.push_path(out, edits.path().unwrap_or(view.path_and_query()));
    push_fields(encoder, out, view, edits, framing);
}

/// A response (RFC 9113 §8.3.2); there is no reason phrase.
pub(super) fn response<V: ResponseView>(
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
    view: &V,
    edits: &HeadEdits,
    framing: FramingLine,
) {
    encoder.begin(out);
    encoder.push_status(out, edits.status().unwrap_or(view.status()));
    push_fields(encoder, out, view, edits, framing);
}

/// A response of our own.
pub(super) fn own_response(
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
    status: u16,
    fields: &[(FieldName<'_>, FieldValue<'_>)],
    content_length: Option<u64>,
) {
    encoder.begin(out);
    encoder.push_status(out, status);
    for (name, value) in fields {
        encoder.push_field(out, name.as_bytes(), value.as_bytes(), name.class());
    }
    if let Some(bytes) = content_length {
        push_length(encoder, out, bytes);
    }
}

/// Trailers (RFC 9113 §8.1).
pub(super) fn trailers<V: HeadView>(encoder: &mut Encoder, out: &mut Vec<u8>, view: &V) {
    encoder.begin(out);
    for index in 0..view.field_count() {
        let field = view.field(index);
        if !is_left_out(field.class) {
            encoder.push_field(out, field.name, field.value, field.class);
        }
    }
}

fn push_fields<V: HeadView>(
    encoder: &Encoder,
    out: &mut Vec<u8>,
    view: &V,
    edits: &HeadEdits,
    framing: FramingLine,
) {
    for index in 0..view.field_count() {
        let field = view.field(index);
        let is_kept_length =
            framing == FramingLine::Keep && field.class == FieldClass::ContentLength;
        if !edits.is_dropped(index) && (is_kept_length || !is_left_out(field.class)) {
            encoder.push_field(out, field.name, field.value, field.class);
        }
    }
    for (name, value) in edits.appended() {
        encoder.push_field(out, name, value, FieldClass::of(name));
    }
    match framing {
        FramingLine::Length(bytes) => push_length(encoder, out, bytes),
        // A body of unknown length ends with its stream: no field says so.
        FramingLine::Keep | FramingLine::None | FramingLine::Chunked => {}
    }
}

fn push_length(encoder: &Encoder, out: &mut Vec<u8>, bytes: u64) {
    let class = FieldClass::ContentLength;
    encoder.push_number_field(out, b"content-length", bytes, class);
}

/// RFC 9113 §8.2.2, and what only the encoder writes. Hygiene has dropped most of it before; this is what makes it
/// impossible.
const fn is_left_out(class: FieldClass) -> bool {
    class.is_encoder_owned() || matches!(class, FieldClass::KeepAlive | FieldClass::ProxyConnection)
}
