//! One connection of the load: opened, written and read without blocking.
//!
//! ```text
//! Closed ──open──► Connecting ──► Handshaking ──► Open ──begin──► requests under way
//!    ▲                 │         (TLS only) │       │               │
//!    └────── failed, or closed by the target ───────┴───────────────┘
//! ```

mod exchange;
mod http1;
mod http2;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use balance_tls::Agreement;
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::request::Request;
use crate::failures::Kind;
use crate::link::Link;
use crate::tls::{Client, Records};
use exchange::Exchange;

pub(super) struct Lane {
    /// Names this lane in epoll.
    token: u64,
    state: State,
    exchange: Exchange,
    /// When the last connection was begun.
    opened: Instant,
    tls: Option<Client>,
}

enum State {
    Closed,
    Connecting(TcpStream),
    /// Under TLS.
    Handshaking(Link),
    Open(Link),
}

/// What all lanes of a thread have in common.
pub(super) struct Common<'a> {
    pub(super) epoll: &'a OwnedFd,
    pub(super) target: SocketAddr,
}

/// What the lanes of a thread use in turn.
pub(super) struct Turn<'a> {
    pub(super) request: &'a Request,
    pub(super) scratch: &'a mut [u8],
    pub(super) records: &'a mut Records,
}

/// What an event has brought.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    pub(super) bytes: u64,
    pub(super) responses: Vec<Completed>,
    /// Requests that failed, while their connection did not.
    pub(super) failures: Vec<Kind>,
    pub(super) handshake: Option<Agreement>,
}

/// A request that has its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Completed {
    pub(super) status: u16,
    pub(super) intended: Instant,
}

/// A request that was begun, and has neither its response nor failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnderWay {
    /// When it was meant to begin.
    pub(super) intended: Instant,
    /// What the time limit counts from.
    pub(super) began: Instant,
}

impl Lane {
    pub(super) fn new(token: u64, request: &Request, tls: Option<&Client>, now: Instant) -> Self {
        Self {
            token,
            state: State::Closed,
            exchange: Exchange::new(request),
            opened: now,
            tls: tls.map(Client::separate),
        }
    }

    /// Whether it will be open, or fail.
    pub(super) fn is_opening(&self) -> bool {
        match self.state {
            State::Connecting(_) | State::Handshaking(_) => true,
            State::Open(_) => !self.exchange.is_ready(),
            State::Closed => false,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    pub(super) fn under_way(&self) -> impl Iterator<Item = UnderWay> {
        self.exchange.under_way()
    }

    /// Whether what is under way takes longer than it may.
    pub(super) fn is_overdue(&self, now: Instant, limit: Duration) -> bool {
        let opening = self.is_opening().then_some(self.opened);
        let mut began = self.under_way().map(|request| request.began).chain(opening);
        began.any(|began| now.saturating_duration_since(began) > limit)
    }

    /// Starts a connection, from `source` where one is given.
    ///
    /// # Errors
    /// It failed at once; the lane is closed.
    pub(super) fn open(
        &mut self,
        common: &Common<'_>,
        source: Option<IpAddr>,
        now: Instant,
    ) -> io::Result<()> {
        self.opened = now;
        let domain = Domain::for_address(common.target);
        let socket = Socket::new(
            domain,
            Type::STREAM.nonblocking().cloexec(),
            Some(Protocol::TCP),
        )?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        match socket.connect(&common.target.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        // Registered once for everything, edge-triggered: no other epoll_ctl in the life of the connection.
        let everything = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let data = epoll::EventData::new_u64(self.token);
        epoll::add(common.epoll, &socket, data, everything)?;
        self.state = State::Connecting(socket.into());
        Ok(())
    }

    /// Begins a request; it is sent with the next flush, where the connection is open, else when it will be.
    pub(super) fn begin(&mut self, request: UnderWay) {
        self.exchange.begin(request);
    }

    /// Sends what there is to send.
    ///
    /// # Errors
    /// The connection failed.
    pub(super) fn flush(&mut self, turn: &mut Turn<'_>) -> io::Result<()> {
        if let State::Open(link) = &mut self.state {
            self.exchange.send(link, turn)?;
        }
        if self.exchange.is_used_up() {
            self.disconnect();
            self.exchange.reconnect();
        }
        Ok(())
    }

    /// Whether there are requests that wait for a connection to be opened.
    pub(super) fn wants_to_open(&self) -> bool {
        self.is_closed() && self.under_way().next().is_some()
    }

    /// Closes it; whatever was under way is forgotten.
    pub(super) fn close(&mut self) {
        self.disconnect();
        self.exchange.restart();
    }

    fn disconnect(&mut self) {
        // Closing the descriptor takes it out of epoll.
        let state = std::mem::replace(&mut self.state, State::Closed);
        if let State::Open(mut link @ Link::Tls(_)) = state {
            // Who is gone cannot be told.
            let _ = link.shutdown();
        }
    }

    /// Does what the socket is ready for.
    ///
    /// # Errors
    /// The connection failed, or `InvalidData`: what came is not the protocol. The lane must be closed; what arrived
    /// before that is told all the same.
    pub(super) fn on_event(
        &mut self,
        flags: EventFlags,
        turn: &mut Turn<'_>,
        arrived: &mut Arrived,
    ) -> io::Result<()> {
        const ENDED: EventFlags = EventFlags::RDHUP
            .union(EventFlags::HUP)
            .union(EventFlags::ERR);
        let mut is_readable = flags.intersects(ENDED | EventFlags::IN);
        if let State::Connecting(_) = &self.state {
            if !flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
                return Ok(());
            }
            self.on_connected()?;
        }
        if let State::Handshaking(_) = &self.state {
            if !self.go_on_with_handshake(turn, arrived)? {
                return Ok(());
            }
            is_readable = true; // what the handshake has read may be more than the handshake
        }
        let State::Open(link) = &mut self.state else {
            return Ok(());
        };
        if flags.intersects(EventFlags::OUT) || arrived.handshake.is_some() {
            self.exchange.send(link, turn)?;
        }
        if is_readable {
            let has_ended = flags.intersects(ENDED);
            let stays = self.exchange.read(link, turn, has_ended, arrived)?;
            if !stays {
                self.disconnect();
                self.exchange.reconnect();
            }
        }
        Ok(())
    }

    fn on_connected(&mut self) -> io::Result<()> {
        let State::Connecting(stream) = std::mem::replace(&mut self.state, State::Closed) else {
            return Ok(());
        };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        self.state = match &self.tls {
            None => {
                self.exchange.on_open();
                State::Open(Link::Plain(stream))
            }
            Some(client) => State::Handshaking(Link::Tls(Box::new(client.connect(stream)?))),
        };
        Ok(())
    }

    /// True when it is over.
    fn go_on_with_handshake(
        &mut self,
        turn: &mut Turn<'_>,
        arrived: &mut Arrived,
    ) -> io::Result<bool> {
        if let State::Handshaking(Link::Tls(tls)) = &mut self.state {
            match tls.handshake(turn.records) {
                Ok(()) => {
                    arrived.handshake = tls.agreement();
                    self.exchange.check_protocol(tls.alpn_protocol())?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        if let State::Handshaking(link) = std::mem::replace(&mut self.state, State::Closed) {
            self.exchange.on_open();
            self.state = State::Open(link);
        }
        Ok(true)
    }
}
