//! A port that stays a backend's own while nobody listens on it.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

use crate::accepting::ANY_PORT;

/// Refuses connections, until somebody listens at its address and after that again. Whoever asks for any free port does
/// not get this one.
#[derive(Debug)]
pub struct HeldPort {
    address: SocketAddr,
    _socket: Socket,
}

impl HeldPort {
    /// # Errors
    /// No port is free.
    pub fn new() -> std::io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // As listeners of the standard library have it: with it on both sides, one that names the port may listen there.
        socket.set_reuse_address(true)?;
        socket.bind(&ANY_PORT.into())?;
        let address = socket.local_addr()?.as_socket();
        Ok(Self {
            address: address.ok_or(std::io::ErrorKind::InvalidInput)?,
            _socket: socket,
        })
    }

    pub fn addr(&self) -> SocketAddr {
        self.address
    }
}
