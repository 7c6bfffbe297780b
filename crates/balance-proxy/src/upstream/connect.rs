//! Opening a connection to a backend: one attempt tries its addresses in turn, the last good first.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use balance_core::Cause;
use balance_net::{ConnectOptions, ConnectTarget, Stream, is_out_of_resources};
use balance_tls::TlsFault;

use super::announced::Announced;
use super::member::Member;
use crate::endpoint::{Endpoint, UpstreamAddress};
use crate::maybe_tls::MaybeTls;
use crate::tls::secure;
use crate::worker::Worker;

/// Why no connection could be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    #[error("the backend's name does not resolve")]
    Unresolved,
    #[error("the backend refuses connections")]
    Refused,
    #[error("the backend cannot be reached")]
    Unreachable,
    #[error("connecting took too long")]
    TimedOut,
    /// Ours to blame: no descriptor, port or memory. Says nothing about the backend.
    #[error("out of descriptors, ports or memory")]
    OutOfResources,
    #[error("no TLS with the backend: {0}")]
    Tls(TlsFault),
    /// By ALPN, or by what it says first.
    #[error("the backend does not speak HTTP/2")]
    NotHttp2,
}

impl ConnectError {
    pub(crate) fn cause(self) -> Cause {
        match self {
            Self::Unresolved => Cause::DnsError,
            Self::Refused => Cause::ConnectionRefused,
            Self::Unreachable => Cause::DestinationUnavailable,
            Self::TimedOut => Cause::ConnectionTimeout,
            Self::OutOfResources => Cause::Overloaded,
            Self::Tls(fault) => cause_of_fault(fault),
            Self::NotHttp2 => Cause::HttpProtocolError,
        }
    }

    /// Whether it is ours to blame, so that another backend would fare no better.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::OutOfResources | Self::Tls(TlsFault::Ours))
    }
}

/// How an exchange ends that TLS with a backend was in the way of (RFC 9209 §2.3).
pub(crate) fn cause_of_fault(fault: TlsFault) -> Cause {
    match fault {
        TlsFault::Ours => Cause::ProxyInternalError,
        fault if fault.is_certificate() => Cause::TlsCertificateError,
        _ => Cause::TlsProtocolError,
    }
}

/// Connects to the backend within `limit`, as [`connect_plain`] does, and makes the handshake if its pool has TLS. The
/// PROXY header goes in front of it, in the clear: whoever reads it hands the rest on.
///
/// # Errors
/// What the last address said, or why there is no TLS.
pub(crate) async fn connect(
    worker: &Worker,
    member: &Member,
    limit: Duration,
    announced: Option<&Announced>,
) -> Result<MaybeTls, ConnectError> {
    let stream = connect_plain(member.endpoint(), limit, announced).await?;
    let Some(policy) = member.tls() else {
        return Ok(MaybeTls::Plain(stream));
    };
    let begun_us = worker.clock.now_us();
    worker.handshakes.wait().await;
    let buffers = Rc::clone(&worker.records);
    let secured = secure(&policy, stream, buffers).await;
    let mut secured = secured.map_err(ConnectError::Tls)?;
    secured.set_handshake_us(worker.clock.now_us().saturating_sub(begun_us));
    if let Some(agreement) = secured.agreement() {
        member.series().tls_handshake(agreement.is_resumed);
    }
    Ok(MaybeTls::Tls(secured))
}

/// Tries each address of the endpoint once. The caller bounds the whole by its deadline, `limit`; each
/// address but the last gets an even share of it, so that one that swallows packets does not hide a
/// good one. What the connection is to begin with is sent before it is handed out.
///
/// # Errors
/// What the last address said.
pub(super) async fn connect_plain(
    endpoint: &Endpoint,
    limit: Duration,
    announced: Option<&Announced>,
) -> Result<Stream, ConnectError> {
    let addresses = endpoint.addresses();
    let first = endpoint.last_good();
    let mut last_error = ConnectError::Unresolved;
    for offset in 0..addresses.len() {
        let index = first.wrapping_add(offset) % addresses.len();
        let target = match &addresses[index] {
            UpstreamAddress::Ip(address) => ConnectTarget::Ip(*address),
            UpstreamAddress::Unix(path) => ConnectTarget::Unix(path.as_ref()),
        };
        let is_last = offset + 1 == addresses.len();
        let share = if is_last {
            None
        } else {
            Some(limit / addresses.len() as u32)
        };
        match connect_one(target, share, announced).await {
            Ok(stream) => {
                if offset != 0 {
                    endpoint.set_last_good(index);
                }
                return Ok(stream);
            }
            Err(error) => last_error = error,
        }
        if last_error == ConnectError::OutOfResources {
            break; // the next address would fare no better
        }
    }
    Err(last_error)
}

async fn connect_one(
    target: ConnectTarget<'_>,
    share: Option<Duration>,
    announced: Option<&Announced>,
) -> Result<Stream, ConnectError> {
    let options = ConnectOptions::default();
    let attempt = async {
        let mut stream = balance_net::connect(target, &options).await?;
        if let Some(announced) = announced {
            write_all(&mut stream, &announced.encode()).await?;
        }
        Ok(stream)
    };
    let result = match share.filter(|share| !share.is_zero()) {
        None => attempt.await,
        Some(share) => match tokio::time::timeout(share, attempt).await {
            Ok(result) => result,
            Err(_) => return Err(ConnectError::TimedOut),
        },
    };
    result.map_err(|error| classify(&error))
}

async fn write_all(stream: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| stream.poll_write(cx, bytes)).await?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

fn classify(error: &io::Error) -> ConnectError {
    if is_out_of_resources(error) {
        return ConnectError::OutOfResources;
    }
    match error.kind() {
        // A reset can be faster than our look at the handshake that came before it: a listener whose process
        // is ending does that, and no network.
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::NotFound => ConnectError::Refused,
        io::ErrorKind::TimedOut => ConnectError::TimedOut,
        _ => ConnectError::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::{ConnectError, classify};

    #[test]
    fn who_refuses_is_told_from_what_cannot_be_reached() {
        for (kind, expected) in [
            (ErrorKind::ConnectionRefused, ConnectError::Refused),
            (ErrorKind::ConnectionReset, ConnectError::Refused),
            (ErrorKind::NotFound, ConnectError::Refused),
            (ErrorKind::TimedOut, ConnectError::TimedOut),
            (ErrorKind::HostUnreachable, ConnectError::Unreachable),
            (ErrorKind::NetworkUnreachable, ConnectError::Unreachable),
        ] {
            assert_eq!(classify(&Error::from(kind)), expected, "{kind}");
        }
    }
}
