//! What the data path does with a request head that was accepted: hygiene, then writing it for a backend.

use std::net::{IpAddr, Ipv4Addr};

use balance_proto::authority::Authority;
use balance_proto::http1::{ConnectionLine, RequestHead, encode_request};
use balance_proto::hygiene::{ForwardContext, HygieneError, edit_request};
use balance_proto::{FramingLine, HeadEdits, RequestView, Scheme};

/// The other end of the client's connection.
pub(crate) const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub(crate) const PEER_TEXT: &str = "192.0.2.1";
pub(crate) const VIA_NAME: &str = "balance-00000000";

/// Who is on the other side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    pub(crate) client: IpAddr,
    pub(crate) is_trusted: bool,
    pub(crate) adds_forwarded: bool,
    pub(crate) scheme: Scheme,
}

impl Sender {
    /// A client that nobody vouches for.
    pub(crate) const UNTRUSTED: Self = Self {
        client: PEER,
        is_trusted: false,
        adds_forwarded: false,
        scheme: Scheme::Http,
    };

    /// The head as a backend gets it.
    pub(crate) fn forward<V: RequestView>(
        self,
        view: &V,
        head: &RequestHead,
    ) -> Result<Vec<u8>, HygieneError> {
        let mut edits = HeadEdits::default();
        let context = ForwardContext {
            peer: PEER,
            client: self.client,
            peer_is_trusted: self.is_trusted,
            scheme: self.scheme,
            via_name: VIA_NAME,
            new_request_id: b"00000000000000000000000000000000",
            add_forwarded: self.adds_forwarded,
        };
        edit_request(view, &mut edits, &context)?;
        if head.authority().is_empty() {
            edits.replace_authority(Authority::new(BACKEND).expect("a host name"));
        }
        let connection = match head.upgrade() {
            Some(protocol) => ConnectionLine::Upgrade(protocol),
            None => ConnectionLine::None,
        };
        let framing = FramingLine::for_request(head.method_kind(), head.body());
        let mut out = Vec::new();
        encode_request(&mut out, view, &edits, framing, connection);
        Ok(out)
    }
}

/// Bytes as the strict parser's text: every byte is one character.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

const BACKEND: &[u8] = b"backend.test";
