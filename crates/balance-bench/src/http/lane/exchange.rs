//! What is said on a connection, in one of the protocols.

use std::io::{self, ErrorKind};

use super::http1::Http1;
use super::http2::Http2;
use super::{Arrived, Turn, UnderWay};
use crate::http::request::Request;
use crate::link::Link;

pub(super) enum Exchange {
    Http1(Http1),
    /// Boxed: it is many times larger.
    Http2(Box<Http2>),
}

impl Exchange {
    pub(super) fn new(request: &Request) -> Self {
        match request.http2 {
            None => Self::Http1(Http1::new(request.is_head)),
            Some(_) => Self::Http2(Box::new(Http2::new())),
        }
    }

    pub(super) fn under_way(&self) -> impl Iterator<Item = UnderWay> {
        let (one, many) = match self {
            Self::Http1(http1) => (Some(http1.under_way()), None),
            Self::Http2(http2) => (None, Some(http2.under_way())),
        };
        let one = one.into_iter().flatten();
        one.chain(many.into_iter().flatten())
    }

    /// Whether requests can be sent.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            Self::Http1(_) => true,
            Self::Http2(http2) => http2.is_ready(),
        }
    }

    /// Whether what waits needs another connection.
    pub(super) fn is_used_up(&self) -> bool {
        match self {
            Self::Http1(_) => false,
            Self::Http2(http2) => http2.is_used_up(),
        }
    }

    pub(super) fn begin(&mut self, request: UnderWay) {
        match self {
            Self::Http1(http1) => http1.begin(request),
            Self::Http2(http2) => http2.begin(request),
        }
    }

    /// # Errors
    /// Another protocol was agreed on (RFC 9113 §3.2).
    pub(super) fn check_protocol(&self, agreed: Option<&[u8]>) -> io::Result<()> {
        match (self, agreed) {
            (Self::Http2(_), Some(b"h2")) | (Self::Http1(_), _) => Ok(()),
            (Self::Http2(_), _) => Err(ErrorKind::InvalidData.into()),
        }
    }

    pub(super) fn on_open(&mut self) {
        if let Self::Http2(http2) = self {
            http2.on_open();
        }
    }

    /// Forgets all that was under way.
    pub(super) fn restart(&mut self) {
        match self {
            Self::Http1(http1) => http1.restart(),
            Self::Http2(http2) => **http2 = Http2::new(),
        }
    }

    /// Forgets the connection, but not what waits for one.
    pub(super) fn reconnect(&mut self) {
        match self {
            Self::Http1(http1) => http1.restart(),
            Self::Http2(http2) => http2.reconnect(),
        }
    }

    /// # Errors
    /// The connection failed.
    pub(super) fn send(&mut self, link: &mut Link, turn: &mut Turn<'_>) -> io::Result<()> {
        match self {
            Self::Http1(http1) => http1.send(link, turn),
            Self::Http2(http2) => http2.send(link, turn),
        }
    }

    /// False: the connection is of no further use.
    ///
    /// # Errors
    /// The connection failed, or `InvalidData`: what came is not the protocol.
    pub(super) fn read(
        &mut self,
        link: &mut Link,
        turn: &mut Turn<'_>,
        has_ended: bool,
        arrived: &mut Arrived,
    ) -> io::Result<bool> {
        match self {
            Self::Http1(http1) => http1.read(link, turn, has_ended, arrived),
            Self::Http2(http2) => http2.read(link, turn, has_ended, arrived),
        }
    }
}
