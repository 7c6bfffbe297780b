//! One connection of the load: opened, written and read without blocking, one request at a time.
//!
//! ```text
//! Closed ──open──► Connecting ──► Idle ──begin──► Busy ──response──► Idle, or Closed
//!    ▲                 │            │               │
//!    └────── failed, or closed by the target ───────┘
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::request::Request;
use crate::response::{Reader, Response};

pub(super) struct Lane {
    /// Names this lane in epoll.
    token: u64,
    stream: Option<TcpStream>,
    state: State,
    reader: Reader,
    /// A request was begun and has neither its response nor failed.
    has_request: bool,
    /// Bytes of the request that are written.
    sent: usize,
    intended: Instant,
    /// Of the request, or of the connection that is being opened: what the time limit counts from.
    began: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Connecting,
    Open,
}

/// What all lanes of a thread have in common.
pub(super) struct Common<'a> {
    pub(super) epoll: &'a OwnedFd,
    pub(super) target: SocketAddr,
}

/// What an event has brought.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrived {
    pub(super) bytes: u64,
    pub(super) response: Option<Response>,
}

impl Lane {
    pub(super) fn new(token: u64, is_head: bool, now: Instant) -> Self {
        Self {
            token,
            stream: None,
            state: State::Closed,
            reader: Reader::new(is_head),
            has_request: false,
            sent: 0,
            intended: now,
            began: now,
        }
    }

    pub(super) fn is_connecting(&self) -> bool {
        self.state == State::Connecting
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// When the request that is under way was meant to begin.
    pub(super) fn intended(&self) -> Option<Instant> {
        self.has_request.then_some(self.intended)
    }

    /// Whether what is under way takes longer than it may.
    pub(super) fn is_overdue(&self, now: Instant, limit: Duration) -> bool {
        (self.has_request || self.is_connecting())
            && now.saturating_duration_since(self.began) > limit
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
        self.began = now;
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
        self.state = match socket.connect(&common.target.into()) {
            Ok(()) => State::Open,
            Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {
                State::Connecting
            }
            Err(error) => return Err(error),
        };
        // Registered once for everything, edge-triggered: no other epoll_ctl in the life of the connection.
        let everything = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let data = epoll::EventData::new_u64(self.token);
        if let Err(error) = epoll::add(common.epoll, &socket, data, everything) {
            self.close();
            return Err(error.into());
        }
        self.stream = Some(socket.into());
        Ok(())
    }

    /// Begins a request; it is sent at once where the connection is open, else when it will be.
    ///
    /// # Errors
    /// The connection failed.
    pub(super) fn begin(
        &mut self,
        request: &Request,
        intended: Instant,
        now: Instant,
    ) -> io::Result<()> {
        self.has_request = true;
        self.sent = 0;
        self.intended = intended;
        self.began = now;
        self.send(request)
    }

    /// Closes it; whatever was under way is forgotten.
    pub(super) fn close(&mut self) {
        self.stream = None; // closing the descriptor takes it out of epoll
        self.state = State::Closed;
        self.has_request = false;
        self.reader.restart();
    }

    /// Does what the socket is ready for.
    ///
    /// # Errors
    /// The connection failed, or `InvalidData`: what came is no HTTP/1 response. The lane must be closed.
    pub(super) fn on_event(
        &mut self,
        flags: EventFlags,
        request: &Request,
        scratch: &mut [u8],
    ) -> io::Result<Arrived> {
        let Some(stream) = &self.stream else {
            return Ok(Arrived::default());
        };
        if self.state == State::Connecting {
            if !flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
                return Ok(Arrived::default());
            }
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
            self.state = State::Open;
        }
        if flags.intersects(EventFlags::OUT) {
            self.send(request)?;
        }
        let ended = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        if flags.intersects(ended | EventFlags::IN) {
            return self.read(request, scratch, flags.intersects(ended));
        }
        Ok(Arrived::default())
    }

    fn send(&mut self, request: &Request) -> io::Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        if self.state != State::Open || !self.has_request {
            return Ok(());
        }
        while self.sent < request.bytes.len() {
            match stream.write(&request.bytes[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// `has_ended`: the end of the connection was announced, and will not be again.
    fn read(
        &mut self,
        request: &Request,
        scratch: &mut [u8],
        has_ended: bool,
    ) -> io::Result<Arrived> {
        let mut arrived = Arrived::default();
        while let Some(stream) = &mut self.stream {
            let read = match stream.read(scratch) {
                Ok(0) => {
                    self.on_end(&mut arrived)?;
                    break;
                }
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) if !self.has_request => {
                    self.close(); // a connection that nothing was asked on may end in any way
                    break;
                }
                Err(error) => return Err(error),
            };
            arrived.bytes += read as u64;
            self.take(&scratch[..read], request, &mut arrived)?;
            // Less than there was room for: the next bytes are a new edge.
            if read < scratch.len() && !has_ended {
                break;
            }
        }
        Ok(arrived)
    }

    fn take(&mut self, bytes: &[u8], request: &Request, arrived: &mut Arrived) -> io::Result<()> {
        if !self.has_request {
            return Err(ErrorKind::InvalidData.into());
        }
        let (used, response) = self
            .reader
            .feed(bytes)
            .map_err(|_| ErrorKind::InvalidData)?;
        let Some(response) = response else {
            return Ok(());
        };
        if used < bytes.len() {
            return Err(ErrorKind::InvalidData.into());
        }
        self.has_request = false;
        arrived.response = Some(response);
        if !response.keep_alive || self.sent < request.bytes.len() {
            self.close();
        }
        Ok(())
    }

    fn on_end(&mut self, arrived: &mut Arrived) -> io::Result<()> {
        let response = self.reader.on_close();
        if self.has_request && response.is_none() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if self.has_request {
            arrived.response = response;
        }
        self.close();
        Ok(())
    }
}
