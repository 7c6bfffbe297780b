//! Socket options, and looking at a socket without consuming anything.
//!
//! All functions take whatever has a descriptor, so they serve connections before and after they are
//! registered with a runtime.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, getpeername, getsockname, recv, shutdown, sockopt};

/// When the kernel probes a silent connection, and when it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe. Whole seconds, at least one.
    pub idle: Duration,
    /// Between two probes. Whole seconds, at least one.
    pub interval: Duration,
    /// Unanswered probes until the connection counts as dead.
    pub probes_max: u32,
}

impl Default for Keepalive {
    /// A dead peer is noticed after about a minute and a half. The kernel's own default is two hours.
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            interval: Duration::from_secs(10),
            probes_max: 3,
        }
    }
}

/// What the other side of a connection has done since we last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Nothing.
    Quiet,
    /// Sent bytes that wait to be read. A FIN may stand behind them.
    Data,
    /// Sent its FIN: it will send no more, but may still read.
    Closed,
    /// Reset the connection, or the kernel gave it up.
    Reset,
}

/// Lets the kernel look for a dead peer.
///
/// # Errors
/// What setsockopt(2) says.
pub fn set_keepalive(socket: impl AsFd, keepalive: &Keepalive) -> io::Result<()> {
    let socket = socket.as_fd();
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, keepalive.idle.max(SECOND))?;
    sockopt::set_tcp_keepintvl(socket, keepalive.interval.max(SECOND))?;
    sockopt::set_tcp_keepcnt(socket, keepalive.probes_max.max(1))?;
    Ok(())
}

/// Sends small writes at once instead of waiting for the last one's acknowledgement.
///
/// # Errors
/// What setsockopt(2) says.
pub fn set_nodelay(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(socket, true)?)
}

/// How long sent bytes may stay unacknowledged before the kernel resets the connection
/// (TCP_USER_TIMEOUT). Zero means the kernel's own limit of about a quarter of an hour.
///
/// # Errors
/// What setsockopt(2) says.
pub fn set_user_timeout(socket: impl AsFd, timeout: Duration) -> io::Result<()> {
    let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    Ok(sockopt::set_tcp_user_timeout(socket, milliseconds)?)
}

/// Makes the coming close a reset: the peer must see failure, not a tidy end, when a message broke off
/// (robustness BE-03). Unsent bytes are lost.
///
/// # Errors
/// What setsockopt(2) says.
pub fn set_linger_zero(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_socket_linger(socket, Some(Duration::ZERO))?)
}

/// Sends our FIN. The other direction goes on.
///
/// A connection that is gone already has nothing to shut: that is success too.
///
/// # Errors
/// What shutdown(2) says.
pub fn shutdown_write(socket: impl AsFd) -> io::Result<()> {
    match shutdown(socket, Shutdown::Write) {
        Ok(()) | Err(Errno::NOTCONN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// One attempt to read without waiting and without a runtime: worth it right after accept, where the
/// first bytes are mostly there already. `None` when nothing is there yet, `Some(0)` at the peer's FIN.
///
/// # Errors
/// What recv(2) says, interruptions and "not yet" excepted.
pub fn first_read(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    receive(socket, buffer, RecvFlags::DONTWAIT)
}

/// As [`first_read`], but the bytes stay in the socket.
///
/// # Errors
/// What recv(2) says, interruptions and "not yet" excepted.
pub fn peek(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    receive(socket, buffer, RecvFlags::DONTWAIT | RecvFlags::PEEK)
}

/// What the peer did, without consuming a byte: for watching a client while its backend is awaited
/// (robustness BE-04). One system call; a second one only when unread bytes could hide a reset.
pub fn peer_state(socket: impl AsFd) -> PeerState {
    let socket = socket.as_fd();
    match peek(socket, &mut [0]) {
        Ok(None) => PeerState::Quiet,
        Ok(Some(0)) => PeerState::Closed,
        Ok(Some(_)) if is_reset(socket) => PeerState::Reset,
        Ok(Some(_)) => PeerState::Data,
        Err(_) => PeerState::Reset,
    }
}

/// The error that the kernel holds for a socket, and clears it.
///
/// # Errors
/// The error found, or what getsockopt(2) says.
pub fn take_error(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::socket_error(socket)??)
}

/// `::ffff:192.0.2.1`, as a dual-stack listener reports an IPv4 client, becomes `192.0.2.1`, so that
/// access lists, limits and logs see one form only.
pub fn unmap(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// [`unmap`] for an address with its port.
pub fn unmap_socket(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), v6.port()),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

/// The addresses of both ends, the peer's first. `None` for a unix socket.
///
/// # Errors
/// What getpeername(2) and getsockname(2) say: a connection that is gone has no peer.
pub fn ends(socket: impl AsFd) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
    let peer = SocketAddr::try_from(getpeername(&socket)?.ok_or(Errno::NOTCONN)?);
    let local = SocketAddr::try_from(getsockname(&socket)?);
    Ok(match (peer, local) {
        (Ok(peer), Ok(local)) => Some((unmap_socket(peer), unmap_socket(local))),
        _ => None,
    })
}

fn receive(socket: impl AsFd, buffer: &mut [u8], flags: RecvFlags) -> io::Result<Option<usize>> {
    let socket = socket.as_fd();
    loop {
        return match recv(socket, &mut *buffer, flags) {
            Ok((_, bytes)) => Ok(Some(bytes)),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        };
    }
}

/// A reset leaves received bytes readable, so recv(2) does not tell; poll(2) does.
fn is_reset(socket: impl AsFd) -> bool {
    let mut watched = [PollFd::new(&socket, PollFlags::empty())];
    let no_wait = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut watched, Some(&no_wait)) {
        // HUP alone also means "both sides sent their FIN"; a reset always carries ERR.
        Ok(_) => watched[0].revents().contains(PollFlags::ERR),
        Err(_) => false,
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::{unmap, unmap_socket};

    fn check(address: &str, expected: &str) {
        assert_eq!(unmap(address.parse().unwrap()).to_string(), expected);
    }

    #[test]
    fn only_mapped_addresses_change() {
        check("::ffff:192.0.2.1", "192.0.2.1");
        check("192.0.2.1", "192.0.2.1");
        check("::1", "::1");
        // "IPv4-compatible" addresses (RFC 4291 §2.5.5.1) are deprecated and not IPv4 clients.
        check("::192.0.2.1", "::c000:201");
        assert_eq!(
            unmap_socket("[::ffff:192.0.2.1]:80".parse().unwrap()).to_string(),
            "192.0.2.1:80"
        );
        assert_eq!(
            unmap_socket("[2001:db8::1]:80".parse().unwrap()).to_string(),
            "[2001:db8::1]:80"
        );
    }
}
