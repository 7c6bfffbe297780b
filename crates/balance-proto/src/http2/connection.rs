//! One HTTP/2 connection, on either side: bytes in, events out, and output appended to a buffer of the caller.
//!
//! ```text
//!   server: preface ─┐                    ┌─▶ payload of one frame ─▶ on_frame ─┐
//!                    ▼                    │                                     │
//!   client: ──▶ first header: SETTINGS ─▶ header ◀──────────────────────────────┘
//!                    │                    ▲ └─▶ DATA, in pieces as they come ───┐
//!                    │                    └─────────────────────────────────────┘
//!                    │   any violation of the connection
//!                    └────────────────────────────────────▶ GOAWAY ─▶ closed: input is thrown away
//!
//!   open ──drain──▶ GOAWAY(2^31-1), PING ──its answer──▶ GOAWAY(last stream) ──no stream left──▶ drained
//! ```
//!
//! One task drives it. In each wake it reads what is there, calls [`Connection::poll`] until that says that more is
//! needed, sends what it has, and writes the buffer once. It stops reading while the buffer is not written: that bounds
//! everything a peer can make us say. Nothing of a body is kept here: data is lent from the input, and the peer's window
//! opens again when the caller says that it has passed it on ([`Connection::release`]).

mod control;
mod data;
mod open;
mod reader;
mod receive;
mod send;

pub use send::{OpenError, SendError};

use super::budget::{Budget, BudgetLimits};
use super::error::{ErrorCode, Violation};
use super::flow::{ReceiveWindow, SendWindow, WINDOW_DEFAULT};
use super::frame::{
    PREFACE, Setting, StreamId, encode_goaway, encode_settings, encode_window_update,
};
use super::head::{Scratch, Trailers};
use super::hpack::{Decoder, Encoder};
use super::stream::{Closed, ClosedStreams, Stream, Streams, Wait};
use crate::head::Scheme;
use crate::http1::{HeadSettings, RequestError, RequestHead, ResponseHead};
use balance_core::{Http2Limits, Method};
use reader::{OpenBlock, Partial, Reading};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Which side of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Clients connect to us.
    Server,
    /// We connected to a backend.
    Client,
}

/// What a connection is held to.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionSettings {
    /// Streams that the peer may have open; more are refused.
    pub streams_max: u32,
    /// Octets of one stream that the caller may hold. At least the default of the protocol, which a peer may use before
    /// it knows ours.
    pub stream_window: u32,
    /// Octets of all streams that the caller may hold: what bounds the memory of a connection.
    pub connection_window: u32,
    /// What heads and trailers are held to.
    pub head: HeadSettings,
    /// What makes no progress.
    pub budget: BudgetLimits,
    /// Client: how requests say that the server is reached. `None`: as each request was asked for.
    pub scheme: Option<Scheme>,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self::new(&Http2Limits::default(), HeadSettings::default())
    }
}

impl ConnectionSettings {
    /// From the settings of a snapshot.
    pub const fn new(limits: &Http2Limits, head: HeadSettings) -> Self {
        Self {
            streams_max: limits.max_concurrent_streams,
            stream_window: limits.stream_window,
            connection_window: limits.connection_window,
            head,
            budget: BudgetLimits::new(limits),
            scheme: None,
        }
    }

    /// A peer uses the default before it knows ours.
    fn stream_window(&self) -> u32 {
        self.stream_window.max(WINDOW_DEFAULT)
    }

    fn connection_window(&self) -> u32 {
        self.connection_window.max(WINDOW_DEFAULT)
    }
}

/// What happened. Data is lent from the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'i> {
    /// A request ([`Connection::take_request`]) or a response, perhaps an interim one ([`Connection::take_response`]).
    Head {
        /// New on the server's side.
        stream: StreamId,
        /// Nothing follows.
        ends: bool,
    },
    /// Server: a request that has to be answered with the error's status. Its content is thrown away.
    Refused {
        /// New.
        stream: StreamId,
        /// An answer to HEAD has no content.
        method: Method,
        /// As in HTTP/1.
        error: RequestError,
    },
    /// Content. It has to be [released](Connection::release).
    Data {
        /// Which one.
        stream: StreamId,
        /// May be empty when it ends.
        bytes: &'i [u8],
        /// Nothing follows.
        ends: bool,
    },
    /// The end of a message with trailers ([`Connection::take_trailers`]).
    Trailers {
        /// Which one.
        stream: StreamId,
    },
    /// The peer gave the stream up.
    Reset {
        /// It exists no more.
        stream: StreamId,
        /// [`ErrorCode::REFUSED_STREAM`]: nothing was processed (RFC 9113 §8.7), also when GOAWAY says so.
        code: ErrorCode,
    },
    /// We gave the stream up, for a mistake of the peer. It may have been one whose head was never told.
    Failed {
        /// It exists no more.
        stream: StreamId,
        /// The mistake.
        violation: Violation,
    },
    /// The peer takes no more streams.
    GoAway {
        /// The last one that it may process.
        last: StreamId,
        /// Why.
        code: ErrorCode,
    },
    /// The peer's settings: more streams may be possible.
    Settings,
    /// The answer to [`Connection::ping`].
    Pong {
        /// As it was sent.
        payload: [u8; 8],
    },
}

/// One HTTP/2 connection.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    settings: Arc<ConnectionSettings>,
    reading: Reading,
    partial: Partial,
    /// Boxed, as `heads` is: an idle connection has none.
    block: Option<Box<OpenBlock>>,
    has_settings: bool,
    decoder: Decoder,
    encoder: Encoder,
    heads: Option<Box<Heads>>,
    streams: Streams,
    closed: ClosedStreams,
    /// The highest id that the peer opened.
    last_peer_id: StreamId,
    /// The next id that we open; `None` when there is none left.
    next_own_id: Option<StreamId>,
    peer: PeerSettings,
    send_window: SendWindow,
    receive_window: ReceiveWindow,
    /// Streams that wait for their turn to send.
    ready: VecDeque<StreamId>,
    budget: Budget,
    drain: Drain,
    /// GOAWAY of the peer.
    peer_last_id: Option<StreamId>,
}

/// Where field blocks are decoded to: memory that serves one after the other.
#[derive(Debug, Default)]
struct Heads {
    request: RequestHead,
    response: ResponseHead,
    trailers: Trailers,
    scratch: Scratch,
}

/// What the peer has set (RFC 9113 §6.5.2). Not here: we insert nothing into its table, and no frame of ours is larger
/// than the 16 KiB that every peer takes.
#[derive(Clone, Copy, Debug)]
struct PeerSettings {
    streams_max: u32,
    window: u32,
}

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    No,
    /// New streams are still taken: they were on their way.
    Announced,
    /// Streams above this one are ignored.
    Final(StreamId),
}

impl Connection {
    /// A connection on which nothing was said yet. Many may share their settings.
    pub fn new(role: Role, settings: impl Into<Arc<ConnectionSettings>>) -> Self {
        let settings = settings.into();
        Self {
            role,
            reading: match role {
                Role::Server => Reading::Preface { seen: 0 },
                Role::Client => Reading::Header,
            },
            partial: Partial::default(),
            block: None,
            has_settings: false,
            decoder: Decoder::new(Decoder::TABLE_SIZE_DEFAULT),
            encoder: Encoder::default(),
            heads: None,
            streams: Streams::default(),
            closed: ClosedStreams::new(),
            last_peer_id: StreamId::CONNECTION,
            next_own_id: match role {
                Role::Server => None,
                Role::Client => Some(StreamId::new(1)),
            },
            peer: PeerSettings {
                streams_max: u32::MAX,
                window: WINDOW_DEFAULT,
            },
            send_window: SendWindow::new(WINDOW_DEFAULT),
            receive_window: ReceiveWindow::new(settings.connection_window()),
            ready: VecDeque::new(),
            budget: Budget::default(),
            settings,
            drain: Drain::No,
            peer_last_id: None,
        }
    }

    /// Writes what each side says first (RFC 9113 §3.4): once, before anything else is written.
    pub fn start(&self, out: &mut Vec<u8>) {
        let setting = |id, value| Setting { id, value };
        let list_bytes_max = u32::try_from(self.settings.head.head_bytes_max).unwrap_or(u32::MAX);
        let window = setting(Setting::INITIAL_WINDOW_SIZE, self.settings.stream_window());
        let list = setting(Setting::MAX_HEADER_LIST_SIZE, list_bytes_max);
        match self.role {
            Role::Server => {
                let streams = setting(Setting::MAX_CONCURRENT_STREAMS, self.settings.streams_max);
                encode_settings(out, &[streams, window, list]);
            }
            Role::Client => {
                out.extend_from_slice(PREFACE);
                encode_settings(out, &[setting(Setting::ENABLE_PUSH, 0), window, list]);
            }
        }
        let more = self
            .settings
            .connection_window()
            .saturating_sub(WINDOW_DEFAULT);
        if more > 0 {
            encode_window_update(out, StreamId::CONNECTION, more);
        }
    }

    /// Reads the next event off the front of `input`, and appends to `out` what the protocol answers by itself. `None`:
    /// all input is used up (what is incomplete is kept), and more is needed.
    ///
    /// # Errors
    /// The connection is lost. GOAWAY is in `out`; write it and close.
    pub fn poll<'i>(
        &mut self,
        now: Instant,
        input: &mut &'i [u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'i>>, Violation> {
        if let Some(stream) = self.pop_unprocessed(out) {
            let code = ErrorCode::REFUSED_STREAM;
            return Ok(Some(Event::Reset { stream, code }));
        }
        let result = self.read(now, input, out);
        if let Err(violation) = result {
            self.close(out, violation.code());
        }
        result
    }

    /// Swaps the request of the last [`Event::Head`] with a head whose memory serves the next one.
    pub fn take_request(&mut self, head: &mut RequestHead) {
        std::mem::swap(&mut self.heads.get_or_insert_default().request, head);
    }

    /// Swaps the response of the last [`Event::Head`] with a head whose memory serves the next one.
    pub fn take_response(&mut self, head: &mut ResponseHead) {
        std::mem::swap(&mut self.heads.get_or_insert_default().response, head);
    }

    /// Swaps the trailers of the last [`Event::Trailers`] with others whose memory serves the next ones.
    pub fn take_trailers(&mut self, trailers: &mut Trailers) {
        std::mem::swap(&mut self.heads.get_or_insert_default().trailers, trailers);
    }

    /// What it is held to.
    pub fn settings(&self) -> &ConnectionSettings {
        &self.settings
    }

    /// How many streams are not closed.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// Whether nothing is said or listened to any more.
    pub fn is_closed(&self) -> bool {
        self.reading == Reading::Closed
    }

    /// Whether a drain has come to its end: GOAWAY names the last stream, and none is left.
    pub fn is_drained(&self) -> bool {
        matches!(self.drain, Drain::Final(_)) && self.streams.is_empty()
    }

    /// Gives back the memory that only active streams need. For a connection without any.
    pub fn release_memory(&mut self) {
        self.streams.release_memory();
        self.decoder.release_memory();
        self.partial.release_memory();
        if self.ready.is_empty() {
            self.ready = VecDeque::new();
        }
        self.heads = None;
    }

    /// Ends the connection with a GOAWAY (RFC 9113 §5.4.1); nothing more is read from it.
    pub fn close(&mut self, out: &mut Vec<u8>, code: ErrorCode) {
        if self.reading != Reading::Closed {
            encode_goaway(out, self.last_peer_id, code);
            self.reading = Reading::Closed;
        }
    }

    /// Takes a stream out of the table. What the caller holds of it is free again for the others.
    fn forget(&mut self, id: StreamId, closed: Closed, out: &mut Vec<u8>) -> Option<Stream> {
        let stream = self.streams.remove(id)?;
        self.closed.push(id, closed);
        if stream.wait == Wait::InTurn {
            // Rare; the list would otherwise grow as long as the peer's window stays shut.
            self.ready.retain(|waiting| *waiting != id);
        }
        self.release_connection(stream.held, out);
        Some(stream)
    }

    /// Takes a stream out of the table if both sides have ended it.
    fn forget_if_closed(&mut self, id: StreamId, out: &mut Vec<u8>) {
        if self.streams.get(id).is_some_and(Stream::is_closed) {
            self.forget(id, Closed::ByPeer, out);
        }
    }

    fn release_connection(&mut self, octets: u32, out: &mut Vec<u8>) {
        if let Some(increment) = self.receive_window.release(octets) {
            encode_window_update(out, StreamId::CONNECTION, increment);
        }
    }

    /// After a GOAWAY of the peer, one by one: what it will not process.
    fn pop_unprocessed(&mut self, out: &mut Vec<u8>) -> Option<StreamId> {
        let last = self.peer_last_id?;
        let id = self.streams.last_id().filter(|id| *id > last)?;
        self.forget(id, Closed::ByUs, out);
        Some(id)
    }
}
