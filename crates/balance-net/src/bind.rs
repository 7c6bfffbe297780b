//! Binding an address once for all workers, and saying in plain words why it cannot be had.
//!
//! With SO_REUSEPORT from the start, a second process of the same user (a second Balance) would share the
//! port silently and take half of the connections. So the first socket binds and listens *without* it,
//! which the kernel grants to one owner only, and gets the option afterwards; the other workers' sockets
//! then join it:
//!
//! ```text
//!   socket 1: bind ── listen ── SO_REUSEPORT     exclusive from listen on: no moment to slip in
//!   socket 2:                                 └── SO_REUSEPORT ── bind ── listen
//!   socket 3:                                 └── SO_REUSEPORT ── bind ── listen
//! ```
//!
//! A newcomer's bind or listen without the option fails against any listening socket, with the option or
//! not. SO_REUSEADDR is set everywhere: on Linux it only forgives connections in TIME_WAIT, never a
//! second listener. The number of sockets stays fixed for a listener's life: connections queue at one
//! socket each, and closing one resets its queue.

mod error;
mod unix;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use balance_core::ListenAddress;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::socket::{self, Keepalive};
use crate::sys;

pub use error::BindError;

/// How a listener's sockets are set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Wake up only when the first bytes have come (TCP_DEFER_ACCEPT). For protocols in which the client
    /// speaks first, and not for plain relays.
    pub defer_accept: bool,
    /// Completed handshakes that may wait for accept; the kernel caps it at net.core.somaxconn.
    pub backlog: i32,
    /// TCP_NODELAY, which accepted connections inherit.
    pub nodelay: bool,
    /// Keep-alive probes, which accepted connections inherit.
    pub keepalive: Option<Keepalive>,
    /// The permission bits of a unix socket's file. `None` leaves them to the umask.
    pub unix_mode: Option<u32>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            defer_accept: false,
            backlog: BACKLOG,
            nodelay: true,
            keepalive: None,
            unix_mode: None,
        }
    }
}

/// An address that is ours, and its sockets, already listening.
#[derive(Debug)]
pub struct BoundListener {
    local: LocalAddress,
    sockets: Vec<ListenSocket>,
}

/// One listening, non-blocking socket: what a worker gets in its mailbox.
#[derive(Debug)]
pub struct ListenSocket {
    fd: OwnedFd,
    is_unix: bool,
}

/// What was bound in the end: port 0 has become a real one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LocalAddress {
    Ip(SocketAddr),
    Unix(PathBuf),
}

/// Binds `address` with one socket for each of `sockets` workers (at least one). For a unix path they are
/// duplicates of a single socket, because the kernel has no SO_REUSEPORT there.
///
/// # Errors
/// See [`BindError`]. Nothing stays bound.
pub fn bind(
    address: &ListenAddress,
    sockets: usize,
    options: &ListenOptions,
) -> Result<BoundListener, BindError> {
    let explain = |error| BindError::new(address, error);
    match address {
        ListenAddress::Unix(path) => unix::bind(Path::new(path), sockets, options),
        ListenAddress::Ip(ip) => bind_tcp(*ip, sockets, options).map_err(explain),
        ListenAddress::Wildcard { port } => bind_wildcard(*port, sockets, options).map_err(explain),
    }
}

impl BoundListener {
    /// Where it listens.
    pub fn local_address(&self) -> &LocalAddress {
        &self.local
    }

    /// The bound IP address and port, where it is one.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self.local {
            LocalAddress::Ip(address) => Some(address),
            LocalAddress::Unix(_) => None,
        }
    }

    /// The sockets, in the order of the workers.
    pub fn sockets(&self) -> &[ListenSocket] {
        &self.sockets
    }

    /// Hands out the sockets, one for each worker.
    pub fn into_sockets(self) -> Vec<ListenSocket> {
        self.sockets
    }
}

impl ListenSocket {
    /// Whether it listens on a unix path.
    pub fn is_unix(&self) -> bool {
        self.is_unix
    }

    /// A second descriptor of the same socket: both draw from one queue.
    ///
    /// # Errors
    /// What fcntl(2) says.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
            is_unix: self.is_unix,
        })
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for ListenSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl LocalAddress {
    /// Removes the file of a unix socket that will not be used again. A successor that took the path over
    /// owns it: do not call this then.
    ///
    /// # Errors
    /// What unlink(2) says; a file that is gone already is no error.
    pub fn remove_file(&self) -> io::Result<()> {
        match self {
            Self::Ip(_) => Ok(()),
            Self::Unix(path) => match std::fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result,
            },
        }
    }
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One dual-stack socket where the host has IPv6, else IPv4 alone.
fn bind_wildcard(port: u16, sockets: usize, options: &ListenOptions) -> io::Result<BoundListener> {
    match bind_tcp((Ipv6Addr::UNSPECIFIED, port).into(), sockets, options) {
        Err(error) if has_no_ipv6(&error) => {
            bind_tcp((Ipv4Addr::UNSPECIFIED, port).into(), sockets, options)
        }
        result => result,
    }
}

fn bind_tcp(
    address: SocketAddr,
    sockets: usize,
    options: &ListenOptions,
) -> io::Result<BoundListener> {
    let first = tcp_socket(address, options)?;
    first.bind(&SockAddr::from(address))?;
    own(&first, sockets, options)?;
    let local = first
        .local_addr()?
        .as_socket()
        .expect("a TCP socket has an IP address");

    let mut bound = vec![ListenSocket::tcp(first)];
    while bound.len() < sockets {
        let socket = tcp_socket(local, options)?;
        socket.set_reuse_port(true)?;
        socket.bind(&SockAddr::from(local))?;
        socket.listen(options.backlog)?;
        bound.push(ListenSocket::tcp(socket));
    }
    Ok(BoundListener {
        local: LocalAddress::Ip(local),
        sockets: bound,
    })
}

/// Listens on a bound socket, as its port's only owner, and then lets the other workers' sockets join.
///
/// The order is the point: with the option set before listen, a second process that does the same in the
/// same instant would pass too.
fn own(first: &Socket, sockets: usize, options: &ListenOptions) -> io::Result<()> {
    first.listen(options.backlog)?;
    if sockets > 1 {
        first.set_reuse_port(true)?;
    }
    Ok(())
}

fn tcp_socket(address: SocketAddr, options: &ListenOptions) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(domain, kind, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if let SocketAddr::V6(v6) = address {
        // [::] takes IPv4 clients too; a particular IPv6 address never could.
        socket.set_only_v6(!v6.ip().is_unspecified())?;
    }
    if options.nodelay {
        socket::set_nodelay(&socket)?;
    }
    if let Some(keepalive) = &options.keepalive {
        socket::set_keepalive(&socket, keepalive)?;
    }
    if options.defer_accept {
        sys::set_defer_accept(&socket, DEFER_ACCEPT_SECONDS)?;
    }
    Ok(socket)
}

impl ListenSocket {
    fn tcp(socket: Socket) -> Self {
        Self {
            fd: socket.into(),
            is_unix: false,
        }
    }
}

fn has_no_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT)
    )
}

/// The kernel cuts it to net.core.somaxconn (4,096 since Linux 5.4).
const BACKLOG: i32 = 4096;

/// How long a silent client stays with the kernel. Short: a drain resets those still waiting, and a client
/// that speaks first does so within a round trip.
const DEFER_ACCEPT_SECONDS: libc::c_int = 1;
