//! Whom a connection to a backend was opened for, as its PROXY header told the backend.

use balance_core::ProxyVersion;
use balance_proto::proxy_protocol::{self, ConnectionEnds};

/// A header that a connection begins with. The backend takes everything on that connection for this client's: it must
/// never carry another one's requests, so idle connections are found by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    version: ProxyVersion,
    /// `None`: somebody without an address (a unix socket).
    ends: Option<ConnectionEnds>,
}

impl Announced {
    pub(crate) fn new(version: ProxyVersion, ends: Option<ConnectionEnds>) -> Self {
        Self { version, ends }
    }

    /// The header.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut header = Vec::new();
        proxy_protocol::encode(self.version, self.ends.as_ref(), &mut header);
        header
    }
}
