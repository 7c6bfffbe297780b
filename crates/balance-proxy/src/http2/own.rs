//! Responses of our own, as an HTTP/2 client gets them; a gRPC client gets a status of gRPC.

use balance_core::{Cause, Method};
use balance_proto::http2::{Connection, SendError, StreamId};
use balance_proto::{FieldName, FieldValue, HeadView};

use super::grpc;
use crate::own_response::OwnResponse;

/// Writes the head of a response of our own. What of its body has to follow.
pub(super) fn send_own<'r>(
    engine: &mut Connection,
    out: &mut Vec<u8>,
    stream: StreamId,
    response: &'r OwnResponse,
    asked: Asked,
) -> Result<&'r [u8], SendError> {
    if asked.is_grpc && response.cause != Cause::Completed {
        send_grpc_status(engine, out, stream, response)?;
        return Ok(b"");
    }
    // RFC 9110 §8.6 and §15.4.5: no content with these.
    let has_no_content = matches!(response.status, 100..=199 | 204 | 304);
    let mut fields: Vec<_> = response.fields().collect();
    if !has_no_content && !response.content_type.is_empty() {
        fields.extend(field("content-type", response.content_type.as_bytes()));
    }
    let length = (!has_no_content).then_some(response.body.len() as u64);
    let is_bare = has_no_content || asked.method == Method::Head || response.body.is_empty();
    engine.send_own_response(out, stream, response.status, &fields, length, is_bare)?;
    Ok(match is_bare {
        true => b"",
        false => &response.body,
    })
}

/// What of a request decides how it is answered.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) is_grpc: bool,
}

impl Asked {
    pub(super) fn of<V: HeadView>(method: Method, head: &V) -> Self {
        let content_type = head.get(b"content-type").unwrap_or_default();
        Self {
            method,
            is_grpc: grpc::is_grpc(content_type),
        }
    }
}

/// A response that is nothing but a status (gRPC over HTTP/2, "Trailers-Only").
fn send_grpc_status(
    engine: &mut Connection,
    out: &mut Vec<u8>,
    stream: StreamId,
    response: &OwnResponse,
) -> Result<(), SendError> {
    let code = grpc_code(response.cause, response.status).to_string();
    let message = response.cause.name();
    let mut fields: Vec<_> = response.fields().collect();
    fields.extend(field("content-type", grpc::CONTENT_TYPE));
    fields.extend(field("grpc-status", code.as_bytes()));
    fields.extend(field("grpc-message", message.as_bytes()));
    engine.send_own_response(out, stream, 200, &fields, None, true)
}

/// The code of a cause, or of a status as gRPC's documents map it.
fn grpc_code(cause: Cause, status: u16) -> u8 {
    match (cause, status) {
        (Cause::HttpResponseTimeout | Cause::ClientTimeout, _) => 4, // DEADLINE_EXCEEDED
        (Cause::RequestTooLarge, _) | (_, 431) => 8,                 // RESOURCE_EXHAUSTED
        (_, 400) => 13,                                              // INTERNAL
        (_, 401) => 16,                                              // UNAUTHENTICATED
        (_, 403) => 7,                                               // PERMISSION_DENIED
        (_, 404) => 12,                                              // UNIMPLEMENTED
        (_, 429 | 502 | 503 | 504) => 14,                            // UNAVAILABLE
        _ => 2,                                                      // UNKNOWN
    }
}

/// A field whose bytes are ours; what is not valid is left out.
fn field<'f>(name: &'f str, value: &'f [u8]) -> Option<(FieldName<'f>, FieldValue<'f>)> {
    Some((
        FieldName::new(name.as_bytes()).ok()?,
        FieldValue::new(value).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use balance_core::Cause;

    use super::grpc_code;

    #[test]
    fn causes_have_codes_of_grpc() {
        for (cause, code) in [
            (Cause::HttpResponseTimeout, 4),
            (Cause::RequestTooLarge, 8),
            (Cause::NoRoute, 12),
            (Cause::ConnectionRefused, 14),
            (Cause::DestinationUnavailable, 14),
            (Cause::ProxyInternalError, 2),
        ] {
            assert_eq!(grpc_code(cause, cause.status()), code, "{cause:?}");
        }
    }
}
