//! The request head that goes to a backend. An attempt sends it, `balance explain` shows it.

use balance_proto::http1::{ConnectionLine, RequestHead, encode_request};
use balance_proto::{BodyLength, FramingLine, HeadEdits, RequestView};

/// Writes the head of a request with its edits.
pub(crate) fn write_request<V: RequestView>(
    out: &mut Vec<u8>,
    request: &V,
    edits: &HeadEdits,
    body: BodyLength,
    upgrade: Option<&[u8]>,
) {
    let framing = request_framing(request, body);
    let connection = upgrade.map_or(ConnectionLine::None, ConnectionLine::Upgrade);
    encode_request(out, request, edits, framing, connection);
}

/// How the body of a request is framed towards its backend.
pub(super) fn request_framing<V: RequestView>(request: &V, body: BodyLength) -> FramingLine {
    FramingLine::for_request(request.method_kind(), body)
}

/// What the client offers to upgrade to, if the listener lets it pass.
pub(crate) fn offered_upgrade(head: &RequestHead, enable_websocket: bool) -> Option<&[u8]> {
    head.upgrade().filter(|_| enable_websocket)
}
