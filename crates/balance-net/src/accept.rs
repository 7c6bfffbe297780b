//! Accepting connections, and which errors mean "wait".

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::unix::AsyncFd;

use crate::bind::ListenSocket;
use crate::socket;
use crate::stream::Stream;
use crate::sys;

/// How many connections a worker takes before it looks after those it has: a burst of new ones must not
/// starve the old ones.
pub const ACCEPTS_PER_WAKE_MAX: usize = 64;

/// One listening socket, registered with the current runtime. Belongs to one worker.
#[derive(Debug)]
pub struct Acceptor {
    socket: AsyncFd<OwnedFd>,
    is_unix: bool,
}

/// A new connection, not yet registered with a runtime, so that a first read can be tried before.
///
/// Options that Linux inherits from the listener (TCP_NODELAY, keep-alive) are set already.
#[derive(Debug)]
pub struct Accepted {
    pub fd: OwnedFd,
    pub peer: Peer,
}

/// Who connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Never an IPv4-mapped IPv6 address.
    Ip(SocketAddr),
    Unix,
}

/// Why nothing can be accepted now. Connections that died while they waited are skipped, not reported.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// Out of descriptors or memory. The connection stays in the queue and the next call fails at once
    /// again: the caller pauses (or until one of its connections closes), else it would spin.
    #[error("out of resources while accepting: {0}")]
    OutOfResources(#[source] io::Error),
    /// The listener is of no use any more.
    #[error("the listener failed: {0}")]
    Fatal(#[source] io::Error),
}

impl Acceptor {
    /// Registers a listening socket with the current runtime.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn new(socket: ListenSocket) -> io::Result<Self> {
        let is_unix = socket.is_unix();
        let socket = sys::register_readable(socket.into_fd())?;
        Ok(Self { socket, is_unix })
    }

    /// The next connection.
    ///
    /// # Errors
    /// See [`AcceptError`].
    pub async fn accept(&self) -> Result<Accepted, AcceptError> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// The next connection, or its promise.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Result<Accepted, AcceptError>> {
        loop {
            let mut readiness =
                ready!(self.socket.poll_read_ready(cx)).map_err(AcceptError::Fatal)?;
            match self.try_accept()? {
                Some(accepted) => return Poll::Ready(Ok(accepted)),
                None => readiness.clear_ready(),
            }
        }
    }

    /// The next connection if one waits, whatever the runtime believes. A listener that stops calls this
    /// until `None` and closes then, so that nobody who completed the handshake is reset.
    ///
    /// # Errors
    /// See [`AcceptError`].
    pub fn try_accept(&self) -> Result<Option<Accepted>, AcceptError> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let error = match acceptfrom_with(self.socket.get_ref(), flags) {
                Ok((fd, address)) => {
                    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
                    let peer = match address {
                        Some(address) if !self.is_unix => Peer::Ip(socket::unmap_socket(address)),
                        _ => Peer::Unix,
                    };
                    return Ok(Some(Accepted { fd, peer }));
                }
                Err(error) => error,
            };
            match classify(error) {
                Verdict::Empty => return Ok(None),
                // Ends: each turn takes one dead connection off a finite queue.
                Verdict::Skip => {}
                Verdict::OutOfResources => return Err(AcceptError::OutOfResources(error.into())),
                Verdict::Fatal => return Err(AcceptError::Fatal(error.into())),
            }
        }
    }
}

impl AsFd for Acceptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Accepted {
    /// Registers the connection with the current runtime.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn into_stream(self) -> io::Result<Stream> {
        match self.peer {
            Peer::Ip(_) => Stream::from_tcp_fd(self.fd),
            Peer::Unix => Stream::from_unix_fd(self.fd),
        }
    }
}

impl Peer {
    /// The address, where there is one.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Empty,
    Skip,
    OutOfResources,
    Fatal,
}

/// accept(2), "Error handling": Linux passes network errors that are pending on the new connection as
/// errors of accept; they say nothing about the listener. EPERM is a firewall's word on one connection.
fn classify(error: Errno) -> Verdict {
    match error {
        Errno::AGAIN => Verdict::Empty,
        Errno::INTR
        | Errno::CONNABORTED
        | Errno::NETDOWN
        | Errno::PROTO
        | Errno::NOPROTOOPT
        | Errno::HOSTDOWN
        | Errno::NONET
        | Errno::HOSTUNREACH
        | Errno::OPNOTSUPP
        | Errno::NETUNREACH
        | Errno::PERM
        | Errno::TIMEDOUT => Verdict::Skip,
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => Verdict::OutOfResources,
        _ => Verdict::Fatal,
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::{Verdict, classify};

    #[test]
    fn errors_of_a_connection_are_not_errors_of_the_listener() {
        for (error, verdict) in [
            (Errno::AGAIN, Verdict::Empty),
            (Errno::INTR, Verdict::Skip),
            (Errno::CONNABORTED, Verdict::Skip),
            (Errno::HOSTUNREACH, Verdict::Skip),
            (Errno::PERM, Verdict::Skip),
            (Errno::MFILE, Verdict::OutOfResources),
            (Errno::NFILE, Verdict::OutOfResources),
            (Errno::NOBUFS, Verdict::OutOfResources),
            (Errno::NOMEM, Verdict::OutOfResources),
            (Errno::BADF, Verdict::Fatal),
            (Errno::INVAL, Verdict::Fatal),
        ] {
            assert_eq!(classify(error), verdict, "{error}");
        }
    }
}
