//! A connection that is read and written without blocking: cleartext, or under TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::tls::{Received, Records, TlsStream};

pub(crate) enum Link {
    Plain(TcpStream),
    /// Boxed: a session is large, and connections lie in one table.
    Tls(Box<TlsStream>),
}

impl Link {
    /// The socket underneath.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => tls.socket(),
        }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.is_handshaking(),
        }
    }

    /// Goes on with the handshake, where there is one.
    ///
    /// # Errors
    /// `WouldBlock`, or why there is no connection.
    pub(crate) fn handshake(&mut self, records: &mut Records) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.handshake(records),
        }
    }

    /// Whether something was taken that the socket did not take.
    pub(crate) fn has_unsent(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.has_unsent(),
        }
    }

    /// Reads into `buffer`, which has room for a record of TLS.
    ///
    /// # Errors
    /// `WouldBlock`, or how the connection ended.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        records: &mut Records,
    ) -> io::Result<Received> {
        match self {
            Self::Plain(stream) => stream.read(buffer).map(|bytes| Received {
                bytes,
                is_drained: bytes < buffer.len(),
            }),
            Self::Tls(tls) => tls.read(buffer, records),
        }
    }

    /// As `read`, again after an interruption. `None`: nothing is there.
    ///
    /// # Errors
    /// How the connection ended.
    pub(crate) fn receive(
        &mut self,
        buffer: &mut [u8],
        records: &mut Records,
    ) -> io::Result<Option<Received>> {
        loop {
            match self.read(buffer, records) {
                Ok(received) => return Ok(Some(received)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes some of `bytes`. Under TLS they are sealed then, and may still have to be flushed.
    ///
    /// # Errors
    /// `WouldBlock`, or how the connection ended.
    pub(crate) fn write(&mut self, bytes: &[u8], records: &mut Records) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(tls) => tls.write(bytes, records),
        }
    }

    /// Takes of `bytes`, from `sent` on, as many as the socket has room for. True: all are taken.
    ///
    /// # Errors
    /// How the connection ended.
    pub(crate) fn send(
        &mut self,
        bytes: &[u8],
        sent: &mut usize,
        records: &mut Records,
    ) -> io::Result<bool> {
        while *sent < bytes.len() {
            match self.write(&bytes[*sent..], records) {
                Ok(written) => *sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// As `flush`; the socket may have no room for all.
    ///
    /// # Errors
    /// How the connection ended.
    pub(crate) fn flush_some(&mut self) -> io::Result<()> {
        match self.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// Sends what was taken and is not sent.
    ///
    /// # Errors
    /// `WouldBlock`, or how the connection ended.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.flush(),
        }
    }

    /// Says that we send no more, as far as that can be said without waiting.
    ///
    /// # Errors
    /// The connection is gone already.
    pub(crate) fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(tls) => tls.shutdown(),
        }
    }
}
