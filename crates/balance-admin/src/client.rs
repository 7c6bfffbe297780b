//! How the command line talks to a running process: one request over its unix socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// What the process said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("nothing answers at the admin socket: {0}")]
    Connect(io::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the admin API broke off: {0}")]
    Http(hyper::Error),
    #[error("the answer cannot be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

/// Sends one request to the admin socket at `socket` and reads the answer, all within `limit`.
///
/// # Errors
/// See [`CallError`]. A status that reports a failure is an answer.
pub async fn call(
    socket: &Path,
    method: Method,
    target: &str,
    body: Vec<u8>,
    limit: Duration,
) -> Result<Answer, CallError> {
    timeout(limit, exchange(socket, method, target, body))
        .await
        .unwrap_or(Err(CallError::Timeout(limit)))
}

async fn exchange(
    socket: &Path,
    method: Method,
    target: &str,
    body: Vec<u8>,
) -> Result<Answer, CallError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(CallError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(CallError::Http)?;
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, "balance")
        .body(Full::new(Bytes::from(body)))
        .expect("a literal target is a valid request");

    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(CallError::Http)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX)
            .collect()
            .await
            .map_err(CallError::Body)?;
        Ok(Answer {
            status,
            body: body.to_bytes().to_vec(),
        })
    };
    // The connection has to be driven while the answer is awaited; when it ends first, the answer is
    // either there already or says why not.
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(CallError::Http(error)),
        },
    }
}

/// The largest answer is the list of all routes and backends.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
