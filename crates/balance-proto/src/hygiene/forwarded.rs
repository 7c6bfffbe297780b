//! The fields that tell a backend who the client is.

use super::ForwardContext;
use crate::decimal::AddressText;
use crate::edits::HeadEdits;
use crate::field::{FieldClass, FieldValue, LineStart};
use crate::head::{RequestView, Scheme};
use std::net::IpAddr;

/// X-Forwarded-For as one line: what a trusted peer said, then the peer. An untrusted peer said
/// nothing.
pub(super) fn append_for<V: RequestView>(
    view: &V,
    edits: &mut HeadEdits,
    ctx: &ForwardContext<'_>,
    peer: &AddressText,
) {
    let line = edits.begin(X_FORWARDED_FOR);
    if ctx.peer_is_trusted && view.find(FieldClass::XForwardedFor).is_some() {
        for index in 0..view.field_count() {
            let field = view.field(index);
            if field.class == FieldClass::XForwardedFor && !field.value.is_empty() {
                edits.push(FieldValue::of_parsed(field));
                edits.push_comma();
            }
        }
    }
    edits.push_address(peer);
    edits.finish(line);
}

pub(super) fn append_proto(edits: &mut HeadEdits, scheme: Scheme) {
    let line = match scheme {
        Scheme::Http => edits.begin(X_FORWARDED_PROTO_HTTP),
        Scheme::Https => edits.begin(X_FORWARDED_PROTO_HTTPS),
    };
    edits.finish(line);
}

/// X-Forwarded-Host is what the client asked for, before any rewriting.
pub(super) fn append_host<V: RequestView>(view: &V, edits: &mut HeadEdits) {
    let host = FieldValue::of_authority(view);
    if !host.as_bytes().is_empty() {
        let line = edits.begin(X_FORWARDED_HOST);
        edits.push(host);
        edits.finish(line);
    }
}

pub(super) fn append_real_ip(edits: &mut HeadEdits, client: &AddressText) {
    let line = edits.begin(X_REAL_IP);
    edits.push_address(client);
    edits.finish(line);
}

/// RFC 7239 §4. A line of its own continues the list of a trusted peer. The authority needs no
/// escaping inside quotes: its grammar has neither `"` nor `\`.
pub(super) fn append_forwarded<V: RequestView>(
    view: &V,
    edits: &mut HeadEdits,
    ctx: &ForwardContext<'_>,
    peer: &AddressText,
) {
    let line = edits.begin(FORWARDED_FOR);
    match ctx.peer.to_canonical() {
        IpAddr::V4(_) => edits.push_address(peer),
        IpAddr::V6(_) => {
            edits.push(const { FieldValue::from_static("\"[") });
            edits.push_address(peer);
            edits.push(const { FieldValue::from_static("]\"") });
        }
    }
    edits.push(match ctx.scheme {
        Scheme::Http => const { FieldValue::from_static(";proto=http") },
        Scheme::Https => const { FieldValue::from_static(";proto=https") },
    });
    let host = FieldValue::of_authority(view);
    if !host.as_bytes().is_empty() {
        edits.push(const { FieldValue::from_static(";host=\"") });
        edits.push(host);
        edits.push(const { FieldValue::from_static("\"") });
    }
    edits.finish(line);
}

const FORWARDED_FOR: LineStart = LineStart::from_static("Forwarded: for=");
const X_FORWARDED_FOR: LineStart = LineStart::from_static("X-Forwarded-For: ");
const X_FORWARDED_HOST: LineStart = LineStart::from_static("X-Forwarded-Host: ");
const X_FORWARDED_PROTO_HTTP: LineStart = LineStart::from_static("X-Forwarded-Proto: http");
const X_FORWARDED_PROTO_HTTPS: LineStart = LineStart::from_static("X-Forwarded-Proto: https");
const X_REAL_IP: LineStart = LineStart::from_static("X-Real-IP: ");
