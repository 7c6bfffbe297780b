//! Requests on a connection of HTTP/2: many at a time, each on a stream.
//!
//! ```text
//! begin ──► waiting ──a stream is free──► under way ──end of the response──► told
//!              ▲                              │
//!              └── refused: not processed ────┴── reset: failed
//! ```

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::time::Instant;

use balance_proto::http1::{HeadSettings, ResponseHead};
use balance_proto::http2::{
    BudgetLimits, Connection, ConnectionSettings, ErrorCode, Event, Role, StreamId,
};
use balance_proto::{FramingLine, HeadEdits, ResponseView};

use super::{Arrived, Completed, Turn, UnderWay};
use crate::failures::Kind;
use crate::http::request::Request;
use crate::link::Link;

pub(super) struct Http2 {
    connection: Connection,
    /// Whose memory serves the next response.
    head: ResponseHead,
    /// Frames to be sent.
    out: Vec<u8>,
    /// How much of `out` is sent.
    sent: usize,
    /// In the order of their ids.
    streams: VecDeque<Stream>,
    /// Begun, and without a stream.
    waiting: VecDeque<UnderWay>,
    /// The target has said how many streams it takes.
    has_settings: bool,
}

struct Stream {
    id: StreamId,
    request: UnderWay,
    status: u16,
    /// Bytes of the request's body that were sent.
    body_sent: usize,
}

impl Http2 {
    pub(super) fn new() -> Self {
        Self {
            connection: connection(),
            head: ResponseHead::default(),
            out: Vec::new(),
            sent: 0,
            streams: VecDeque::new(),
            waiting: VecDeque::new(),
            has_settings: false,
        }
    }

    pub(super) fn under_way(&self) -> impl Iterator<Item = UnderWay> {
        let waiting = self.waiting.iter().copied();
        self.streams
            .iter()
            .map(|stream| stream.request)
            .chain(waiting)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.has_settings
    }

    /// Whether requests wait for another connection: this one takes no more, and all that it took are over.
    pub(super) fn is_used_up(&self) -> bool {
        self.has_settings
            && self.streams.is_empty()
            && !self.waiting.is_empty()
            && self.connection.streams_available() == 0
    }

    pub(super) fn begin(&mut self, request: UnderWay) {
        self.waiting.push_back(request);
    }

    /// The connection is open: what is said first.
    pub(super) fn on_open(&mut self) {
        self.connection.start(&mut self.out);
    }

    /// The next bytes are those of another connection, on which what waits will be sent.
    pub(super) fn reconnect(&mut self) {
        *self = Self {
            waiting: std::mem::take(&mut self.waiting),
            ..Self::new()
        };
    }

    /// # Errors
    /// The connection failed.
    pub(super) fn send(&mut self, link: &mut Link, turn: &mut Turn<'_>) -> io::Result<()> {
        self.open_streams(turn.request);
        self.send_bodies(turn.request);
        if !link.send(&self.out, &mut self.sent, turn.records)? {
            return Ok(());
        }
        self.out.clear();
        self.sent = 0;
        link.flush_some()
    }

    /// Reads what is there. `has_ended`: the end of the connection was announced, and will not be again. False: it is
    /// of no further use.
    ///
    /// # Errors
    /// The connection failed, or `InvalidData`: what came is no HTTP/2.
    pub(super) fn read(
        &mut self,
        link: &mut Link,
        turn: &mut Turn<'_>,
        has_ended: bool,
        arrived: &mut Arrived,
    ) -> io::Result<bool> {
        loop {
            let received = match link.receive(turn.scratch, turn.records) {
                Ok(Some(received)) => received,
                Ok(None) => return Ok(true),
                // A connection on which nothing is under way may end in any way.
                Err(_) if self.streams.is_empty() && self.has_settings => return Ok(false),
                Err(error) => return Err(error),
            };
            if received.bytes == 0 {
                let is_expected = self.streams.is_empty() && self.has_settings;
                return match is_expected {
                    true => Ok(false),
                    false => Err(ErrorKind::UnexpectedEof.into()),
                };
            }
            arrived.bytes += received.bytes as u64;
            self.take(&turn.scratch[..received.bytes], turn.request, arrived)?;
            // The next bytes are a new edge.
            if received.is_drained && !has_ended {
                return Ok(true);
            }
        }
    }

    fn open_streams(&mut self, request: &Request) {
        let Some(http2) = request.http2.as_deref().filter(|_| self.has_settings) else {
            return;
        };
        let body = request.body();
        let framing = match body.len() as u64 {
            0 => FramingLine::None,
            bytes => FramingLine::Length(bytes),
        };
        let ends = body.is_empty();
        let edits = HeadEdits::default();
        while let Some(begun) = self.waiting.pop_front() {
            let opened = self
                .connection
                .send_request(&mut self.out, http2, &edits, framing, ends);
            let Ok(id) = opened else {
                self.waiting.push_front(begun); // until a stream is free
                return;
            };
            self.streams.push_back(Stream {
                id,
                request: begun,
                status: 0,
                body_sent: 0,
            });
            if !ends {
                self.send_body(id, body);
            }
        }
    }

    fn send_bodies(&mut self, request: &Request) {
        while let Some(id) = self.connection.poll_writable() {
            self.send_body(id, request.body());
        }
    }

    fn send_body(&mut self, id: StreamId, body: &[u8]) {
        let Some(index) = self.find(id) else {
            return;
        };
        let stream = &mut self.streams[index];
        let left = &body[stream.body_sent..];
        // A stream that is closed has been told, or will be with the next event.
        if let Ok(sent) = self.connection.send_data(&mut self.out, id, left, true) {
            stream.body_sent += sent;
        }
    }

    fn take(&mut self, bytes: &[u8], request: &Request, arrived: &mut Arrived) -> io::Result<()> {
        let now = Instant::now();
        let mut input = bytes;
        loop {
            let event = self.connection.poll(now, &mut input, &mut self.out);
            let event = event.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            match event {
                None => return Ok(()),
                Some(Event::Head { stream, ends }) => {
                    self.connection.take_response(&mut self.head);
                    let status = self.head.status();
                    if let Some(index) = self.find(stream) {
                        self.streams[index].status = status;
                    }
                    if ends {
                        self.complete(stream, request, arrived);
                    }
                }
                Some(Event::Data {
                    stream,
                    bytes,
                    ends,
                }) => {
                    self.connection.release(&mut self.out, stream, bytes.len());
                    if ends {
                        self.complete(stream, request, arrived);
                    }
                }
                Some(Event::Trailers { stream }) => self.complete(stream, request, arrived),
                Some(Event::Reset { stream, code }) => self.on_reset(stream, code, arrived),
                Some(Event::Failed { stream, .. }) => {
                    self.fail(stream, Kind::BadResponse, arrived);
                }
                Some(Event::Settings) => self.has_settings = true,
                // Whether a stream can be opened is asked before each.
                Some(Event::GoAway { .. } | Event::Pong { .. } | Event::Refused { .. }) => {}
            }
        }
    }

    fn complete(&mut self, id: StreamId, request: &Request, arrived: &mut Arrived) {
        let Some(stream) = self.remove(id) else {
            return;
        };
        if stream.body_sent < request.body().len() {
            // Answered early: nobody wants the rest (RFC 9113 §8.1).
            self.connection.reset(&mut self.out, id, ErrorCode::CANCEL);
        }
        arrived.responses.push(Completed {
            status: stream.status,
            intended: stream.request.intended,
        });
    }

    fn on_reset(&mut self, id: StreamId, code: ErrorCode, arrived: &mut Arrived) {
        if code != ErrorCode::REFUSED_STREAM {
            self.fail(id, Kind::Reset, arrived);
        } else if let Some(stream) = self.remove(id) {
            self.waiting.push_front(stream.request);
        }
    }

    fn fail(&mut self, id: StreamId, kind: Kind, arrived: &mut Arrived) {
        if self.remove(id).is_some() {
            arrived.failures.push(kind);
        }
    }

    fn find(&self, id: StreamId) -> Option<usize> {
        self.streams
            .binary_search_by_key(&id, |stream| stream.id)
            .ok()
    }

    fn remove(&mut self, id: StreamId) -> Option<Stream> {
        let index = self.find(id)?;
        self.streams.remove(index)
    }
}

/// Windows that are never what limits a measurement, and no suspicion of the target.
fn connection() -> Connection {
    let settings = ConnectionSettings {
        stream_window: 4 << 20,
        connection_window: 64 << 20,
        head: HeadSettings::default(),
        budget: BudgetLimits {
            resets_max: u32::MAX,
            idle_frames_max: u32::MAX,
            ..BudgetLimits::default()
        },
        ..ConnectionSettings::default()
    };
    Connection::new(Role::Client, settings)
}
