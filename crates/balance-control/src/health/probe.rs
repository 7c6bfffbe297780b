//! One probe: connect, perhaps ask, and judge. Bounded in time as a whole, and in bytes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use balance_core::{HealthCheck, HttpProbe, Probe, UpstreamProtocol};
use balance_proto::Scheme;
use balance_proto::http1::{ChunkError, RequestError, ResponseError};
use balance_proto::http2::Violation;
use balance_proxy::{ConnectError, Endpoint, OwnConnection, OwnConnector};
use balance_tls::ClientPolicy;
use tokio::time::timeout;

use super::{http, http2};

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("{0}")]
    Connect(ConnectError),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    #[error("it closed without an answer")]
    Closed,
    #[error("its answer is not HTTP: {0}")]
    Head(ResponseError),
    #[error("the body of its answer is malformed: {0}")]
    Chunks(ChunkError),
    #[error("more than {0} interim responses")]
    Interim(u32),
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("it breaks the rules of HTTP/2: {0}")]
    Http2(Violation),
    #[error("it reset the request with {0}")]
    Reset(&'static str),
    #[error("HTTP/2 has no such request: {0}")]
    Unaskable(RequestError),
    #[error("its answer does not contain the expected text")]
    Body,
}

impl ProbeError {
    /// Whether it says something about us and nothing about the backend.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Self::Connect(ConnectError::OutOfResources))
    }
}

/// How a backend is probed.
pub(super) struct Probing {
    pub(super) connector: OwnConnector,
    pub(super) check: HealthCheck,
    /// Whose certificate is taken, where the pool has TLS.
    pub(super) tls: Option<Arc<ClientPolicy>>,
}

impl Probing {
    /// Probes a backend once. Of several addresses the first that accepts is asked, as an attempt of a request does.
    ///
    /// # Errors
    /// It is not as it should be.
    pub(super) async fn probe(&self, endpoint: &Endpoint) -> Result<(), ProbeError> {
        let check = &self.check;
        let probing = async {
            let tls = self.tls.as_deref();
            let connecting = self
                .connector
                .connect(endpoint, check.timeout, check.send_proxy, tls);
            let mut stream = connecting.await.map_err(ProbeError::Connect)?;
            match &check.probe {
                Probe::Tcp => Ok(()),
                Probe::Http(wanted) => self.ask(&mut stream, endpoint, wanted).await,
            }
        };
        timeout(check.timeout, probing)
            .await
            .unwrap_or(Err(ProbeError::TimedOut(check.timeout)))
    }

    /// Asks in the protocol that requests to the backend are sent in.
    async fn ask(
        &self,
        stream: &mut OwnConnection,
        endpoint: &Endpoint,
        wanted: &HttpProbe,
    ) -> Result<(), ProbeError> {
        let (scheme, is_agreed) = match stream.agreed_on_http2() {
            None => (Scheme::Http, None),
            Some(is_agreed) => (Scheme::Https, Some(is_agreed)),
        };
        match (self.check.protocol, is_agreed) {
            (UpstreamProtocol::Http2, Some(false)) => {
                Err(ProbeError::Connect(ConnectError::NotHttp2))
            }
            (UpstreamProtocol::Http2, _) | (UpstreamProtocol::Auto, Some(true)) => {
                http2::ask(stream, scheme, endpoint, wanted).await
            }
            _ => http::ask(stream, endpoint, wanted).await,
        }
    }
}
