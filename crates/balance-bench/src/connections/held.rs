//! A connection that is held, on a socket that blocks, and exchanges on it.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use balance_proto::Scheme;
use balance_proto::http1::RequestHead;

use super::exchange::exchange;
use super::http2::{self, Http2};
use crate::link::Link;
use crate::tls::{Client, Handshakes, Records};

/// A connection with what is known of its protocol.
pub(super) struct Held {
    link: Link,
    /// None: HTTP/1.1.
    http2: Option<Http2>,
}

/// How it is talked on connections, and what is asked on each.
pub(super) struct Talk {
    /// As HTTP/1.1 has it.
    text: String,
    /// For HTTP/2.
    http2: Option<Box<RequestHead>>,
    /// None: cleartext.
    tls: Option<Client>,
}

impl Talk {
    pub(super) fn http1(text: String, tls: Option<Client>) -> Self {
        Self {
            text,
            http2: None,
            tls,
        }
    }

    /// # Errors
    /// HTTP/2 has no such request.
    pub(super) fn http2(text: String, tls: Option<Client>) -> anyhow::Result<Self> {
        let scheme = match tls {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        };
        Ok(Self {
            http2: Some(http2::request(&text, scheme)?),
            ..Self::http1(text, tls)
        })
    }
}

/// What makes connections of sockets, and talks on them, on one thread.
pub(super) struct Opener<'a> {
    talk: &'a Talk,
    records: Records,
    pub(super) handshakes: Handshakes,
}

/// A connection for as long as something is said on it.
struct Stream<'a> {
    link: &'a mut Link,
    records: &'a mut Records,
}

impl<'a> Opener<'a> {
    pub(super) fn new(talk: &'a Talk) -> Self {
        Self {
            talk,
            records: Records::default(),
            handshakes: Handshakes::default(),
        }
    }

    /// Makes the handshake where there is one.
    ///
    /// # Errors
    /// Why there is no connection.
    pub(super) fn open(&mut self, socket: TcpStream) -> io::Result<Held> {
        Ok(Held {
            link: self.link(socket)?,
            http2: self.talk.http2.is_some().then(Http2::new),
        })
    }

    /// Asks, and returns the status of the answer.
    ///
    /// # Errors
    /// The connection failed, or `InvalidData`: what came is not the protocol, or does not keep the connection.
    pub(super) fn ask(&mut self, held: &mut Held) -> io::Result<u16> {
        let mut stream = Stream {
            link: &mut held.link,
            records: &mut self.records,
        };
        match (&mut held.http2, &self.talk.http2) {
            (Some(http2), Some(head)) => http2.exchange(&mut stream, head),
            _ => exchange(&mut stream, &self.talk.text),
        }
    }

    fn link(&mut self, socket: TcpStream) -> io::Result<Link> {
        let Some(client) = &self.talk.tls else {
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
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let received = self.link.read(buffer, self.records)?;
        Ok(received.bytes)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.link.write(bytes, self.records)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.link.flush()
    }
}
