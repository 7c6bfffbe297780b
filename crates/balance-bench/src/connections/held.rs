//! A connection that is held, on a socket that blocks.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::link::Link;
use crate::tls::{Client, Handshakes, Records};

/// What makes connections of sockets, on one thread.
pub(super) struct Opener<'a> {
    tls: Option<&'a Client>,
    records: Records,
    pub(super) handshakes: Handshakes,
}

/// A connection for as long as something is said on it.
pub(super) struct Talk<'a> {
    link: &'a mut Link,
    records: &'a mut Records,
}

impl<'a> Opener<'a> {
    pub(super) fn new(tls: Option<&'a Client>) -> Self {
        Self {
            tls,
            records: Records::default(),
            handshakes: Handshakes::default(),
        }
    }

    /// Makes the handshake where there is one.
    ///
    /// # Errors
    /// Why there is no connection.
    pub(super) fn open(&mut self, socket: TcpStream) -> io::Result<Link> {
        let Some(client) = self.tls else {
            return Ok(Link::Plain(socket));
        };
        let mut tls = client.connect(socket)?;
        tls.handshake(&mut self.records)?;
        tls.flush()?;
        if let Some(agreement) = tls.agreement() {
            self.handshakes.count(agreement);
        }
        Ok(Link::Tls(Box::new(tls)))
    }

    pub(super) fn talk<'l>(&'l mut self, link: &'l mut Link) -> Talk<'l> {
        Talk {
            link,
            records: &mut self.records,
        }
    }
}

impl Read for Talk<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let received = self.link.read(buffer, self.records)?;
        Ok(received.bytes)
    }
}

impl Write for Talk<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.link.write(bytes, self.records)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.link.flush()
    }
}
