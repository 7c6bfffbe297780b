//! What a proxy must do to the fields of a message before it passes it on: hop-by-hop fields go,
//! the client's identity is told, loops are found.
//!
//! One pass over the fields with a switch on their class. It edits; it does not decide framing and
//! writes nothing.

mod client;
mod forwarded;

pub use client::client_address;

use crate::decimal::AddressText;
use crate::edits::HeadEdits;
use crate::field::{FieldClass, FieldValue, LineStart};
use crate::grammar::elements;
use crate::head::{HeadView, RequestView, ResponseView, Scheme, Version};
use balance_core::Cause;
use std::net::IpAddr;

/// Who sent a request, and who we are.
#[derive(Clone, Copy, Debug)]
pub struct ForwardContext<'a> {
    /// The other end of the connection (after the PROXY header).
    pub peer: IpAddr,
    /// The result of [`client_address`].
    pub client: IpAddr,
    /// Whether the peer may tell us about the client (`trusted_proxies`).
    pub peer_is_trusted: bool,
    /// How the peer reached us.
    pub scheme: Scheme,
    /// Our received-by name in Via: `balance-` and 8 hex digits, or the configured one.
    pub via_name: &'a str,
    /// Used when the request has no X-Request-ID that may be kept.
    pub new_request_id: &'a [u8; 32],
    /// Whether Forwarded (RFC 7239) is written too.
    pub add_forwarded: bool,
}

/// Whose X-Request-ID is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestIdChoice {
    /// The one in the field at this index.
    Kept(usize),
    /// `new_request_id`.
    Made,
}

/// Why a request is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HygieneError {
    /// Via names us (RFC 9110 §7.6.3).
    #[error("the request has passed this proxy before")]
    Loop,
    /// Connection names Host, Content-Length or Transfer-Encoding (robustness SM-22).
    #[error("Connection names a field that must reach the server")]
    ProtectedOption,
}

impl HygieneError {
    /// The status of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::Loop => 508,
            Self::ProtectedOption => 400,
        }
    }

    /// How the exchange ends.
    pub const fn cause(self) -> Cause {
        match self {
            Self::Loop => Cause::ProxyLoopDetected,
            Self::ProtectedOption => Cause::HttpRequestError,
        }
    }
}

/// Edits a request for forwarding (RFC 9110 §7.6). An upgrade that passes is written by the
/// encoder.
///
/// # Errors
/// The request must be refused.
pub fn edit_request<V: RequestView>(
    view: &V,
    edits: &mut HeadEdits,
    ctx: &ForwardContext<'_>,
) -> Result<RequestIdChoice, HygieneError> {
    let kept = if view.classes() & REQUEST_TOUCHED == 0 {
        Kept::default()
    } else {
        drop_request_fields(view, edits, ctx)?
    };
    let peer = AddressText::new(ctx.peer.to_canonical());
    forwarded::append_for(view, edits, ctx, &peer);
    if !kept.proto {
        forwarded::append_proto(edits, ctx.scheme);
    }
    if !kept.host {
        forwarded::append_host(view, edits);
    }
    if ctx.client == ctx.peer {
        forwarded::append_real_ip(edits, &peer);
    } else {
        forwarded::append_real_ip(edits, &AddressText::new(ctx.client.to_canonical()));
    }
    if ctx.add_forwarded {
        forwarded::append_forwarded(view, edits, ctx, &peer);
    }
    append_via(edits, view.version(), ctx.via_name);
    Ok(match kept.request_id {
        Some(index) => RequestIdChoice::Kept(index),
        None => {
            append_request_id(edits, ctx.new_request_id);
            RequestIdChoice::Made
        }
    })
}

/// Edits a response for forwarding (RFC 9110 §7.6). `via_name` adds a Via, which is off by default
/// towards clients. Content-Length is left to the encoder, which may keep it.
pub fn edit_response<V: ResponseView>(view: &V, edits: &mut HeadEdits, via_name: Option<&str>) {
    if view.classes() & RESPONSE_TOUCHED != 0 {
        drop_response_fields(view, edits);
    }
    if let Some(via_name) = via_name {
        append_via(edits, view.version(), via_name);
    }
}

/// Fields of a trusted peer that stay, so that we do not write our own.
#[derive(Clone, Copy, Default)]
struct Kept {
    proto: bool,
    host: bool,
    request_id: Option<usize>,
}

/// Whoever adds a class here adds it to [`REQUEST_TOUCHED`].
fn drop_request_fields<V: RequestView>(
    view: &V,
    edits: &mut HeadEdits,
    ctx: &ForwardContext<'_>,
) -> Result<Kept, HygieneError> {
    let mut kept = Kept::default();
    let is_trusted = ctx.peer_is_trusted;
    for index in 0..view.field_count() {
        let field = view.field(index);
        let keeps = match field.class {
            FieldClass::Other => true,
            FieldClass::Connection => {
                drop_connection_options(view, edits, field.value)?;
                false
            }
            FieldClass::ContentLength
            | FieldClass::TransferEncoding
            | FieldClass::KeepAlive
            | FieldClass::ProxyConnection
            | FieldClass::Upgrade
            | FieldClass::Trailer => false,
            // RFC 9110 §10.1.4: whoever accepts trailers may hear so further on; everything else is
            // per hop.
            FieldClass::Te => field.value.eq_ignore_ascii_case(b"trailers"),
            // RFC 9110 §10.1.1: a 1.0 client will not wait, and an ignored expectation must not
            // reach the server.
            FieldClass::Expect => view.version() != Version::Http10,
            // A list: replaced by one line of ours that may begin with it. X-Real-IP always tells
            // our own finding.
            FieldClass::XForwardedFor | FieldClass::XRealIp => false,
            FieldClass::XForwardedProto => is_trusted && !std::mem::replace(&mut kept.proto, true),
            FieldClass::XForwardedHost => is_trusted && !std::mem::replace(&mut kept.host, true),
            FieldClass::XForwardedOther | FieldClass::Forwarded => is_trusted,
            FieldClass::XRequestId => {
                let keeps = is_trusted && kept.request_id.is_none() && is_request_id(field.value);
                if keeps {
                    kept.request_id = Some(index);
                }
                keeps
            }
            FieldClass::Via if names_proxy(field.value, ctx.via_name) => {
                return Err(HygieneError::Loop);
            }
            _ => true,
        };
        if !keeps {
            edits.drop_field(index);
        }
    }
    Ok(kept)
}

/// Whoever adds a class here adds it to [`RESPONSE_TOUCHED`].
fn drop_response_fields<V: ResponseView>(view: &V, edits: &mut HeadEdits) {
    for index in 0..view.field_count() {
        let field = view.field(index);
        match field.class {
            FieldClass::Connection => {
                // A backend is not an attacker of itself: what it must not name is ignored.
                let _ = drop_connection_options(view, edits, field.value);
                edits.drop_field(index);
            }
            FieldClass::TransferEncoding
            | FieldClass::KeepAlive
            | FieldClass::ProxyConnection
            | FieldClass::Te
            | FieldClass::Upgrade
            | FieldClass::Trailer => edits.drop_field(index),
            _ => {}
        }
    }
}

/// Drops the fields that a Connection field names (RFC 9110 §7.6.1).
fn drop_connection_options<V: HeadView>(
    view: &V,
    edits: &mut HeadEdits,
    value: &[u8],
) -> Result<(), HygieneError> {
    // The two that nearly every message has name no field of interest.
    if value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close") {
        return Ok(());
    }
    let mut result = Ok(());
    for (position, option) in elements(value).enumerate() {
        // Each costs a walk over the fields; a head full of them must not be quadratic.
        if position == CONNECTION_OPTIONS_MAX {
            return Err(HygieneError::ProtectedOption);
        }
        match FieldClass::of(option) {
            FieldClass::Host | FieldClass::ContentLength | FieldClass::TransferEncoding => {
                result = Err(HygieneError::ProtectedOption);
            }
            // Ours to write, or dropped by their own rule anyway: a client cannot make us leave
            // them out.
            FieldClass::Via | FieldClass::Te | FieldClass::Expect => {}
            FieldClass::Upgrade | FieldClass::KeepAlive | FieldClass::Connection => {}
            class if class.is_identity() => {}
            _ if option.eq_ignore_ascii_case(b"close") => {}
            _ => edits.drop_named(view, option),
        }
    }
    result
}

/// Whether a Via value has an entry of ours: the second word of an element (RFC 9110 §7.6.3).
fn names_proxy(value: &[u8], via_name: &str) -> bool {
    elements(value).any(|element| {
        element
            .split(|byte| matches!(byte, b' ' | b'\t'))
            .filter(|word| !word.is_empty())
            .nth(1)
            .is_some_and(|received_by| received_by.eq_ignore_ascii_case(via_name.as_bytes()))
    })
}

fn append_via(edits: &mut HeadEdits, version: Version, via_name: &str) {
    if let Ok(name) = FieldValue::new(via_name.as_bytes()) {
        let line = match version {
            Version::Http10 => edits.begin(VIA_10),
            Version::Http11 => edits.begin(VIA_11),
            Version::Http2 => edits.begin(VIA_20),
        };
        edits.push(name);
        edits.finish(line);
    }
}

/// Bytes that are ours and therefore valid; were they not, the field is left out rather than the
/// process ended.
fn append_request_id(edits: &mut HeadEdits, id: &[u8; 32]) {
    let value = FieldValue::new(id);
    debug_assert!(value.is_ok(), "we made this value");
    if let Ok(value) = value {
        let line = edits.begin(X_REQUEST_ID);
        edits.push(value);
        edits.finish(line);
    }
}

/// What other proxies make: visible ASCII of a sane length. It goes into logs and headers.
fn is_request_id(value: &[u8]) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

const CONNECTION_OPTIONS_MAX: usize = 64;
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The classes that [`edit_request`] does anything about: most requests of programs have none.
const REQUEST_TOUCHED: u64 = HOP_BY_HOP
    | FieldClass::ContentLength.bit()
    | FieldClass::Expect.bit()
    | FieldClass::Via.bit()
    | FieldClass::IDENTITY;
/// The classes that [`edit_response`] does anything about.
const RESPONSE_TOUCHED: u64 = HOP_BY_HOP;
const HOP_BY_HOP: u64 = FieldClass::Connection.bit()
    | FieldClass::TransferEncoding.bit()
    | FieldClass::KeepAlive.bit()
    | FieldClass::ProxyConnection.bit()
    | FieldClass::Te.bit()
    | FieldClass::Upgrade.bit()
    | FieldClass::Trailer.bit();
const VIA_10: LineStart = LineStart::from_static("Via: 1.0 ");
const VIA_11: LineStart = LineStart::from_static("Via: 1.1 ");
const VIA_20: LineStart = LineStart::from_static("Via: 2.0 ");
const X_REQUEST_ID: LineStart = LineStart::from_static("X-Request-ID: ");

#[cfg(test)]
mod tests;
