//! Connections to backends for nobody's sake but our own: probes.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use balance_core::ProxyVersion;
use balance_tls::{ClientPolicy, RECORD_PLAINTEXT_MAX};

use super::announced::Announced;
use super::connect::{ConnectError, connect_plain};
use crate::endpoint::Endpoint;
use crate::maybe_tls::MaybeTls;
use crate::tls::{RecordBuffers, secure};

/// What makes such connections on one thread. Clones share the buffers of TLS.
#[derive(Clone, Default)]
pub struct OwnConnector {
    buffers: Rc<RecordBuffers>,
}

/// A connection of our own to a backend. When it is dropped the backend is told that this is the end.
pub struct OwnConnection(MaybeTls);

impl OwnConnector {
    /// Connects as an attempt does, to the first address that accepts, within `limit` (which the caller keeps), and
    /// makes the handshake if there is a policy. The PROXY header that the backend expects names nobody.
    ///
    /// # Errors
    /// What the last address said, or why there is no TLS.
    pub async fn connect(
        &self,
        endpoint: &Endpoint,
        limit: Duration,
        send_proxy: Option<ProxyVersion>,
        tls: Option<&ClientPolicy>,
    ) -> Result<OwnConnection, ConnectError> {
        let announced = send_proxy.map(|version| Announced::new(version, None));
        let stream = connect_plain(endpoint, limit, announced.as_ref()).await?;
        let Some(policy) = tls else {
            return Ok(OwnConnection(MaybeTls::Plain(stream)));
        };
        let secured = secure(policy, stream, Rc::clone(&self.buffers)).await;
        let stream = secured.map_err(ConnectError::Tls)?;
        Ok(OwnConnection(MaybeTls::Tls(stream)))
    }
}

impl OwnConnection {
    /// Room that a read must have.
    pub const READ_BYTES: usize = RECORD_PLAINTEXT_MAX;

    /// Whether HTTP/2 was agreed on in its handshake; `None` without one.
    pub fn agreed_on_http2(&self) -> Option<bool> {
        self.0.agreed_on_http2()
    }

    /// Reads into `buffer`, of [`Self::READ_BYTES`] or more. 0: the backend sends no more. What TLS ended with is the
    /// error's text.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = self.0.poll_read(cx, buffer);
        read.map_err(|error| self.0.fault().map_or(error, io::Error::other))
    }

    /// Writes what the socket takes of `bytes`. After `Pending`, the same bytes are offered again.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, bytes)
    }
}

impl Drop for OwnConnection {
    fn drop(&mut self) {
        self.0.end();
    }
}
