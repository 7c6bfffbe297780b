//! Connections of one admin address. Everything is bounded: their number, the time a head may take, their
//! life, and what is read and thrown away of a request that was answered before its end.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use balance_control::{AdminRules, AdminSocketKind, ControlHandle};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::api::{self, Caller};

/// The rules of an address; a reload replaces them under open connections.
pub(crate) type Rules = Arc<ArcSwap<AdminRules>>;

/// Accepts until it is dropped, together with all its connections.
pub(crate) async fn serve(socket: AdminSocketKind, rules: Rules, control: ControlHandle) {
    let listener = match Listener::register(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "an admin listener cannot be served");
            return;
        }
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Beyond the limit new connections wait in the kernel's queue.
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok(Accepted::Tcp(stream, peer)) => {
                    connections.spawn(converse(stream, Some(peer), Arc::clone(&rules), control.clone()));
                }
                Ok(Accepted::Unix(stream)) => {
                    connections.spawn(converse(stream, None, Arc::clone(&rules), control.clone()));
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept an admin connection");
                    // Out of descriptors, most likely: without a pause this would be a busy loop.
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                // A panic has ended that connection only; the panic hook has said where.
                if let Err(error) = ended && error.is_panic() {
                    tracing::error!("a request to the admin API panicked");
                }
            }
        }
    }
}

/// A registered listening socket.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Accepted {
    Tcp(tokio::net::TcpStream, IpAddr),
    Unix(tokio::net::UnixStream),
}

impl Listener {
    fn register(socket: AdminSocketKind) -> io::Result<Self> {
        Ok(match socket {
            AdminSocketKind::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
            AdminSocketKind::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
        })
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Accepted::Tcp(stream, peer.ip()))
            }
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

async fn converse<S>(stream: S, peer: Option<IpAddr>, rules: Rules, control: ControlHandle)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let caller = Caller {
            peer,
            rules: rules.load_full(),
        };
        let control = control.clone();
        async move { Ok::<_, Infallible>(api::answer(request, &caller, &control).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // Clients that go away or send garbage are no news; who does not read is cut off here.
    if let Ok(Ok(ended)) = timeout(CONNECTION_LIMIT, connection.without_shutdown()).await {
        let _ = timeout(LINGER_LIMIT, linger(ended.io.into_inner())).await;
    }
}

/// Reads out what a client still sends of a request that has its answer. Closed with bytes unread, the
/// connection would be reset, and the client's kernel would drop the answer that it has not read (robustness
/// SM-23).
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(LINGER_BYTES_MAX), &mut tokio::io::sink()).await?;
    Ok(())
}

/// Of one address: a scraper, a dashboard and a few probes need less.
const CONNECTIONS_MAX: usize = 64;
/// For a request head, the wait for the next one on a kept connection included.
const HEAD_LIMIT: Duration = Duration::from_secs(15);
const HEADERS_MAX: usize = 64;
/// hyper wants at least 8 KiB.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// A kept connection is closed after this long, whatever it does.
const CONNECTION_LIMIT: Duration = Duration::from_secs(300);
/// For what is read and thrown away.
const LINGER_LIMIT: Duration = Duration::from_secs(5);
/// Far beyond any question; a client that sends more has not looked for its answer.
const LINGER_BYTES_MAX: u64 = 64 * 1024 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
