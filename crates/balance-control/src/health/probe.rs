//! One probe: connect, perhaps ask, and judge. Bounded in time as a whole, and in bytes.

use std::io;
use std::time::Duration;

use balance_core::{HealthCheck, Probe};
use balance_proto::http1::{ChunkError, ResponseError};
use balance_proxy::{ConnectError, Endpoint, connect_for_ourselves};
use tokio::time::timeout;

use super::http;

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
    #[error("its answer does not contain the expected text")]
    Body,
}

impl ProbeError {
    /// Whether it says something about us and nothing about the backend.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Self::Connect(ConnectError::OutOfResources))
    }
}

/// Probes a backend once. Of several addresses the first that accepts is asked, as an attempt of a request does.
///
/// # Errors
/// It is not as it should be.
pub(super) async fn probe(endpoint: &Endpoint, check: &HealthCheck) -> Result<(), ProbeError> {
    let probing = async {
        let mut stream = connect_for_ourselves(endpoint, check.timeout, check.send_proxy)
            .await
            .map_err(ProbeError::Connect)?;
        match &check.probe {
            Probe::Tcp => Ok(()),
            Probe::Http(wanted) => http::ask(&mut stream, endpoint, wanted).await,
        }
    };
    timeout(check.timeout, probing)
        .await
        .unwrap_or(Err(ProbeError::TimedOut(check.timeout)))
}
