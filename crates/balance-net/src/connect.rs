//! Opening a connection to a backend.
//!
//! Deadlines are the caller's: dropping the future closes the half-open socket.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use rustix::io::Errno;
use tokio::net::{TcpSocket, UnixStream};

use crate::socket::{self, Keepalive};
use crate::stream::Stream;

/// One resolved place to connect to.
#[derive(Clone, Copy, Debug)]
pub enum ConnectTarget<'a> {
    Ip(SocketAddr),
    Unix(&'a Path),
}

/// How a connection to a backend is set up.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// Probing by the kernel while the connection is silent; TCP only.
    pub keepalive: Option<Keepalive>,
}

/// Opens a connection, with TCP_NODELAY set.
///
/// # Errors
/// What socket(2) and connect(2) say. [`is_out_of_resources`] tells our own shortage from the backend's
/// fault.
pub async fn connect(target: ConnectTarget<'_>, options: &ConnectOptions) -> io::Result<Stream> {
    match target {
        ConnectTarget::Ip(address) => {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.set_nodelay(true)?;
            if let Some(keepalive) = &options.keepalive {
                socket::set_keepalive(&socket, keepalive)?;
            }
            Ok(Stream::Tcp(socket.connect(address).await?))
        }
        ConnectTarget::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
    }
}

/// Whether opening failed for want of something of ours: ports (EADDRNOTAVAIL), descriptors or memory.
/// A backend must not be blamed for it.
pub fn is_out_of_resources(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::ADDRNOTAVAIL | Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}
