//! One connection of the built-in backend: bytes in, answers (or the same bytes, or none) out.
//!
//! ```text
//! http:   the first bytes say whether it is HTTP/1 or HTTP/2
//! http/1: read → scanner → queue of answers → (delay) → released → written → close?
//! echo:   read → written at once; what does not fit is pending, and reading rests meanwhile
//! sink:   read → counted
//! source: written whenever there is room
//! ```

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::answer::Answer;
use super::http2::Http2;
use super::scanner::{Scanner, Seen};
use super::{Mode, Shared};
use crate::link::Link;
use crate::tls::Records;

/// Answers waiting on one connection; above this it is not read (pipelining without end).
const QUEUE_MAX: usize = 128;

/// Blocks that a source writes before the other connections have their turn.
const SOURCE_BLOCKS_PER_TURN: usize = 8;

/// What the event loop should do with the connection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Wait(Interest),
    Close,
}

/// What the connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) read: bool,
    pub(super) write: bool,
}

/// What all connections of a thread use in turn.
pub(super) struct Turn<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) scratch: &'a mut [u8],
    pub(super) seen: &'a mut Vec<Seen>,
    pub(super) records: &'a mut Records,
}

pub(super) struct Connection {
    link: Link,
    protocol: Protocol,
    /// The peer has sent FIN.
    read_closed: bool,
    /// The last answer is given; it may still have to be sent.
    is_ending: bool,
}

enum Protocol {
    /// Bytes that may begin either version of HTTP.
    Undecided(Vec<u8>),
    Http(Http),
    /// Boxed: it is many times larger.
    Http2(Box<Http2>),
    /// Bytes that the peer has not taken yet.
    Echo(Vec<u8>),
    Sink,
    Source,
}

#[derive(Debug, Default)]
struct Http {
    scanner: Scanner,
    queue: VecDeque<Answer>,
    /// How many answers at the front may be written: all of them, unless there is a delay.
    released: usize,
    /// Bytes of the front answer that are written already.
    offset: usize,
    write_blocked: bool,
}

impl Connection {
    pub(super) fn new(link: Link, mode: Mode) -> Self {
        let protocol = match mode {
            Mode::Http => Protocol::Undecided(Vec::new()),
            Mode::Echo => Protocol::Echo(Vec::new()),
            Mode::Sink => Protocol::Sink,
            Mode::Source => Protocol::Source,
        };
        Self {
            link,
            protocol,
            read_closed: false,
            is_ending: false,
        }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        self.link.socket()
    }

    /// What a fresh connection waits for.
    pub(super) fn first_interest(mode: Mode) -> Interest {
        Interest {
            read: true,
            write: mode == Mode::Source,
        }
    }

    /// There is something to read, or the end. Returns how many answers have to wait for the delay.
    pub(super) fn on_readable(&mut self, turn: &mut Turn<'_>) -> (Next, usize) {
        if let Err(error) = self.link.handshake(turn.records) {
            return match is_transient(&error) {
                true => (self.next(), 0),
                false => (Next::Close, 0),
            };
        }
        let read = match self.link.read(turn.scratch, turn.records) {
            Ok(received) => {
                self.read_closed |= received.bytes == 0;
                received.bytes
            }
            Err(error) if is_transient(&error) => return (self.next(), 0),
            Err(_) => return (Next::Close, 0),
        };
        let to_delay = match self.on_bytes(read, turn) {
            Ok(to_delay) => to_delay,
            Err(_) => return (Next::Close, 0),
        };
        if matches!(self.protocol, Protocol::Source) {
            return (self.next(), 0);
        }
        (self.on_writable(turn), to_delay)
    }

    /// `read` bytes are in the scratch. Returns how many answers have to wait for the delay.
    fn on_bytes(&mut self, read: usize, turn: &mut Turn<'_>) -> io::Result<usize> {
        if let Protocol::Undecided(begun) = &mut self.protocol {
            begun.extend_from_slice(&turn.scratch[..read]);
            let begun = std::mem::take(begun);
            return self.on_first_bytes(begun, turn);
        }
        match &mut self.protocol {
            Protocol::Http(http) => {
                return Ok(http.on_bytes(&turn.scratch[..read], turn.seen, turn.shared));
            }
            Protocol::Http2(http2) => return http2.on_bytes(&turn.scratch[..read], turn),
            Protocol::Echo(pending) => pending.extend_from_slice(&turn.scratch[..read]),
            Protocol::Sink => turn.shared.count_bytes(read),
            Protocol::Undecided(_) | Protocol::Source => {}
        }
        Ok(0)
    }

    fn on_first_bytes(&mut self, begun: Vec<u8>, turn: &mut Turn<'_>) -> io::Result<usize> {
        match Http2::is_begun_by(&begun) {
            None => {
                self.protocol = Protocol::Undecided(begun);
                Ok(0)
            }
            Some(true) => {
                let mut http2 = Box::new(Http2::new());
                let to_delay = http2.on_bytes(&begun, turn);
                self.protocol = Protocol::Http2(http2);
                to_delay
            }
            Some(false) => {
                let mut http = Http::default();
                let to_delay = http.on_bytes(&begun, turn.seen, turn.shared);
                self.protocol = Protocol::Http(http);
                Ok(to_delay)
            }
        }
    }

    /// There is room to write, or something new to write.
    pub(super) fn on_writable(&mut self, turn: &mut Turn<'_>) -> Next {
        match self.write(turn) {
            Ok(()) => self.next(),
            Err(error) if is_transient(&error) => self.next(),
            Err(_) => Next::Close,
        }
    }

    /// One answer has waited long enough.
    pub(super) fn on_delay_over(&mut self, turn: &mut Turn<'_>) -> Next {
        match &mut self.protocol {
            Protocol::Http(http) => http.released += 1,
            Protocol::Http2(http2) => http2.release_one(),
            _ => {}
        }
        self.on_writable(turn)
    }

    fn write(&mut self, turn: &mut Turn<'_>) -> io::Result<()> {
        self.link.flush()?;
        if self.is_ending || self.link.is_handshaking() {
            return Ok(());
        }
        match &mut self.protocol {
            Protocol::Http(http) => self.is_ending = http.flush(&mut self.link, turn)?,
            Protocol::Http2(http2) => http2.flush(&mut self.link, turn)?,
            Protocol::Undecided(_) => {}
            Protocol::Echo(pending) => flush_pending(&mut self.link, pending, turn)?,
            Protocol::Sink => {}
            Protocol::Source => write_blocks(&mut self.link, turn)?,
        }
        self.link.flush()
    }

    fn next(&mut self) -> Next {
        let has_unsent = self.link.has_unsent();
        if self.is_ending && !has_unsent {
            return self.close_in_order();
        }
        if self.is_ending || self.link.is_handshaking() {
            return Next::Wait(Interest {
                read: !self.is_ending,
                write: has_unsent,
            });
        }
        let (is_done, interest) = match &self.protocol {
            Protocol::Http(http) => (
                http.queue.is_empty(),
                Interest {
                    read: !http.write_blocked && http.queue.len() < QUEUE_MAX,
                    write: http.write_blocked,
                },
            ),
            Protocol::Http2(http2) => (
                http2.is_idle(),
                Interest {
                    read: !http2.has_unsent_frames(),
                    write: http2.has_unsent_frames(),
                },
            ),
            Protocol::Echo(pending) => (
                pending.is_empty(),
                Interest {
                    read: pending.is_empty(),
                    write: !pending.is_empty(),
                },
            ),
            Protocol::Undecided(_) | Protocol::Sink => (
                true,
                Interest {
                    read: true,
                    write: false,
                },
            ),
            // A peer that has sent FIN may still read; only a failing write ends a source.
            Protocol::Source => (
                false,
                Interest {
                    read: true,
                    write: true,
                },
            ),
        };
        if self.read_closed && is_done && !has_unsent {
            return self.close_in_order();
        }
        Next::Wait(Interest {
            read: interest.read && !self.read_closed,
            write: interest.write || has_unsent,
        })
    }

    fn close_in_order(&mut self) -> Next {
        // An error means that the peer is gone already, which is where this leads.
        let _ = self.link.shutdown();
        Next::Close
    }
}

impl Http {
    /// Queues an answer to every request. Returns how many of them wait for the delay.
    fn on_bytes(&mut self, bytes: &[u8], seen: &mut Vec<Seen>, shared: &Shared) -> usize {
        seen.clear();
        self.scanner.feed(bytes, seen);
        self.on_seen(seen, shared)
    }

    /// Queues an answer to everything seen. Returns how many of them wait for the delay.
    fn on_seen(&mut self, seen: &[Seen], shared: &Shared) -> usize {
        let mut to_delay = 0;
        for one in seen {
            let answer = match one {
                Seen::Request(request) => Answer::to_request(*request),
                Seen::ExpectContinue => Answer::Continue,
                Seen::Malformed => Answer::BadRequest,
            };
            // Before it is answered: who has the answer finds it counted.
            if answer != Answer::Continue {
                shared.count_request();
            }
            self.queue.push_back(answer);
            if shared.delay.is_zero() {
                self.released += 1;
            } else {
                to_delay += 1;
            }
        }
        to_delay
    }

    /// Writes what is released. True: the last answer asks to close.
    fn flush(&mut self, link: &mut Link, turn: &mut Turn<'_>) -> io::Result<bool> {
        self.write_blocked = false;
        while self.released > 0
            && let Some(answer) = self.queue.front().copied()
        {
            let bytes = turn.shared.answers.bytes(answer);
            match link.write(&bytes[self.offset..], turn.records) {
                Ok(written) => self.offset += written,
                Err(error) if is_transient(&error) => {
                    self.write_blocked = true;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
            if self.offset == bytes.len() {
                self.offset = 0;
                self.released -= 1;
                self.queue.pop_front();
                if answer.closes() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

fn flush_pending(link: &mut Link, pending: &mut Vec<u8>, turn: &mut Turn<'_>) -> io::Result<()> {
    let mut done = 0;
    link.send(pending, &mut done, turn.records)?;
    turn.shared.count_bytes(done);
    pending.drain(..done);
    Ok(())
}

fn write_blocks(link: &mut Link, turn: &mut Turn<'_>) -> io::Result<()> {
    for _ in 0..SOURCE_BLOCKS_PER_TURN {
        match link.write(turn.scratch, turn.records) {
            Ok(written) => turn.shared.count_bytes(written),
            Err(error) if is_transient(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

impl Shared {
    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn count_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
