//! An address at which nobody ever answers a connection attempt.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// A port whose queue of connections is full: the kernel drops every further attempt without a word, as a
/// host that is gone does.
#[derive(Debug)]
pub struct SilentAddress {
    address: SocketAddr,
    listener: Socket,
    _queued: Vec<TcpStream>,
}

impl SilentAddress {
    /// # Panics
    /// When the queue cannot be filled.
    pub fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        listener
            .bind(&any.into())
            .expect("loopback has a free port");
        listener.listen(0).expect("a bound socket can listen");
        let address = listener.local_addr().ok().and_then(|each| each.as_socket());
        let address = address.expect("a bound socket has an address");
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, FULL_AFTER) {
            queued.push(stream);
            assert!(queued.len() < 64, "the queue never fills");
        }
        Self {
            address,
            listener,
            _queued: queued,
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Comes back: an attempt that waits is answered when its kernel tries again, within seconds. The first
    /// connections to accept are those that filled the queue; they are closed.
    pub fn listen(self) -> TcpListener {
        self.listener.into()
    }
}

impl Default for SilentAddress {
    fn default() -> Self {
        Self::new()
    }
}

/// On loopback an attempt that is answered at all is answered at once.
const FULL_AFTER: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpStream;
    use std::time::Duration;

    use super::SilentAddress;

    #[test]
    fn nobody_answers() {
        let silent = SilentAddress::new();
        let error =
            TcpStream::connect_timeout(&silent.addr(), Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
