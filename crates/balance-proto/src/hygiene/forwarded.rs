//! The fields that tell a backend who the client is.

use super::ForwardContext;
use crate::edits::HeadEdits;
use crate::field::{FieldClass, FieldName, FieldValue};
use crate::head::{RequestView, Scheme};
use std::net::IpAddr;

/// X-Forwarded-For as one line: what a trusted peer said, then the peer. An untrusted peer said
/// nothing.
pub(super) fn append_for<V: RequestView>(
    view: &V,
    edits: &mut HeadEdits,
    ctx: &ForwardContext<'_>,
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
    edits.push_address(ctx.peer.to_canonical());
    edits.finish(line);
}

/// X-Forwarded-Host is what the client asked for, before any rewriting.
pub(super) fn append_host<V: RequestView>(view: &V, edits: &mut HeadEdits) {
    if let Ok(host) = FieldValue::new(view.authority())
        && !host.as_bytes().is_empty()
    {
        edits.append(X_FORWARDED_HOST, host);
    }
}

pub(super) fn append_real_ip(edits: &mut HeadEdits, ctx: &ForwardContext<'_>) {
    let line = edits.begin(X_REAL_IP);
    edits.push_address(ctx.client.to_canonical());
    edits.finish(line);
}

/// RFC 7239 §4. A line of its own continues the list of a trusted peer. The authority needs no
/// escaping inside quotes: its grammar has neither `"` nor `\`.
pub(super) fn append_forwarded<V: RequestView>(
    view: &V,
    edits: &mut HeadEdits,
    ctx: &ForwardContext<'_>,
) {
    let line = edits.begin(FORWARDED);
    edits.push(const { FieldValue::from_static("for=") });
    match ctx.peer.to_canonical() {
        IpAddr::V4(v4) => edits.push_address(IpAddr::V4(v4)),
        IpAddr::V6(v6) => {
            edits.push(const { FieldValue::from_static("\"[") });
            edits.push_address(IpAddr::V6(v6));
            edits.push(const { FieldValue::from_static("]\"") });
        }
    }
    edits.push(const { FieldValue::from_static(";proto=") });
    edits.push(scheme_value(ctx.scheme));
    if let Ok(host) = FieldValue::new(view.authority())
        && !host.as_bytes().is_empty()
    {
        edits.push(const { FieldValue::from_static(";host=\"") });
        edits.push(host);
        edits.push(const { FieldValue::from_static("\"") });
    }
    edits.finish(line);
}

pub(super) const fn scheme_value(scheme: Scheme) -> FieldValue<'static> {
    match scheme {
        Scheme::Http => const { FieldValue::from_static("http") },
        Scheme::Https => const { FieldValue::from_static("https") },
    }
}

const FORWARDED: FieldName<'static> = FieldName::from_static("Forwarded");
const X_FORWARDED_FOR: FieldName<'static> = FieldName::from_static("X-Forwarded-For");
const X_FORWARDED_HOST: FieldName<'static> = FieldName::from_static("X-Forwarded-Host");
const X_REAL_IP: FieldName<'static> = FieldName::from_static("X-Real-IP");
