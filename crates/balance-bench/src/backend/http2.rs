//! HTTP/2 on a connection of the built-in backend: the same answer on every stream.
//!
//! ```text
//! request is complete ──► queue ──(delay)──► released ──► head and body ──windows are shut──► unsent
//! ```

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use balance_core::Method;
use balance_proto::RequestView;
use balance_proto::http1::RequestHead;
use balance_proto::http2::frame::PREFACE;
use balance_proto::http2::{BudgetLimits, Connection, ConnectionSettings, Event, Role, StreamId};

use super::connection::Turn;
use crate::link::Link;

pub(super) struct Http2 {
    connection: Connection,
    /// Whose memory serves the next request.
    head: RequestHead,
    /// Requests with HEAD that are not complete.
    heads: Vec<StreamId>,
    /// Frames to be sent.
    out: Vec<u8>,
    /// How much of `out` is sent.
    sent: usize,
    /// Requests that have no answer yet, in the order in which they were complete.
    queue: VecDeque<Waiting>,
    /// How many at the front may be answered: all of them, unless there is a delay.
    released: usize,
    /// Answers whose bodies the windows have stopped, with what is sent of each.
    unsent: VecDeque<(StreamId, usize)>,
}

#[derive(Clone, Copy)]
struct Waiting {
    stream: StreamId,
    /// To HEAD: no body.
    is_head: bool,
}

/// Frames that may wait to be sent before no more are made.
const OUT_BYTES_MAX: usize = 256 * 1024;

impl Http2 {
    /// Whether a connection that begins with these bytes may be one of HTTP/2; `None`: too few to tell.
    pub(super) fn is_begun_by(first_bytes: &[u8]) -> Option<bool> {
        let shared = first_bytes.len().min(PREFACE.len());
        match first_bytes[..shared] == PREFACE[..shared] {
            true if shared < PREFACE.len() => None,
            is_preface => Some(is_preface),
        }
    }

    pub(super) fn new() -> Self {
        // A load that resets or probes is no attack here.
        let settings = ConnectionSettings {
            streams_max: 100_000,
            stream_window: 4 << 20,
            connection_window: 64 << 20,
            budget: BudgetLimits {
                resets_max: u32::MAX,
                idle_frames_max: u32::MAX,
                ..BudgetLimits::default()
            },
            ..ConnectionSettings::default()
        };
        let connection = Connection::new(Role::Server, settings);
        let mut out = Vec::new();
        connection.start(&mut out);
        Self {
            connection,
            head: RequestHead::default(),
            heads: Vec::new(),
            out,
            sent: 0,
            queue: VecDeque::new(),
            released: 0,
            unsent: VecDeque::new(),
        }
    }

    /// Takes what came. Returns how many answers wait for the delay.
    pub(super) fn on_bytes(&mut self, mut input: &[u8], turn: &Turn<'_>) -> io::Result<usize> {
        let now = Instant::now();
        let mut to_delay = 0;
        loop {
            let event = self.connection.poll(now, &mut input, &mut self.out);
            let complete = match event.map_err(io::Error::other)? {
                None => return Ok(to_delay),
                Some(Event::Head { stream, ends }) => {
                    self.connection.take_request(&mut self.head);
                    if self.head.method_kind() == Method::Head {
                        self.heads.push(stream);
                    }
                    ends.then_some(stream)
                }
                Some(Event::Data {
                    stream,
                    bytes,
                    ends,
                }) => {
                    self.connection.release(&mut self.out, stream, bytes.len());
                    ends.then_some(stream)
                }
                Some(Event::Trailers { stream } | Event::Refused { stream, .. }) => Some(stream),
                Some(Event::Reset { stream, .. } | Event::Failed { stream, .. }) => {
                    self.heads.retain(|head| *head != stream);
                    None
                }
                Some(_) => None,
            };
            let Some(stream) = complete else { continue };
            turn.shared.count_request();
            let known = self.heads.iter().position(|head| *head == stream);
            let is_head = known.map(|index| self.heads.swap_remove(index)).is_some();
            self.queue.push_back(Waiting { stream, is_head });
            match turn.shared.delay.is_zero() {
                true => self.released += 1,
                false => to_delay += 1,
            }
        }
    }

    pub(super) fn release_one(&mut self) {
        self.released += 1;
    }

    /// Whether there is nothing left to say.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.unsent.is_empty() && self.out.is_empty()
    }

    pub(super) fn has_unsent_frames(&self) -> bool {
        !self.out.is_empty()
    }

    /// Makes the answers that may be made, and sends what the socket takes.
    pub(super) fn flush(&mut self, link: &mut Link, turn: &mut Turn<'_>) -> io::Result<()> {
        loop {
            let has_more = self.answer(turn);
            if !link.send(&self.out, &mut self.sent, turn.records)? {
                return Ok(());
            }
            self.out.clear();
            self.sent = 0;
            if !has_more {
                return Ok(());
            }
        }
    }

    /// True: there is more to say, once what is there is sent.
    fn answer(&mut self, turn: &Turn<'_>) -> bool {
        while let Some(id) = self.connection.poll_writable() {
            let waiting = self.unsent.iter().position(|(stream, _)| *stream == id);
            if let Some((_, sent)) = waiting.and_then(|index| self.unsent.remove(index)) {
                self.send_body(id, sent, turn);
            }
        }
        while self.released > 0 && self.out.len() < OUT_BYTES_MAX {
            let Some(Waiting { stream, is_head }) = self.queue.pop_front() else {
                break;
            };
            self.released -= 1;
            let answers = &turn.shared.answers;
            let (status, length) = (answers.status, answers.content_length());
            let fields: Vec<_> = answers.fields().collect();
            let ends = is_head || answers.body().is_empty();
            let (connection, out) = (&mut self.connection, &mut self.out);
            let sent = connection.send_own_response(out, stream, status, &fields, length, ends);
            // A stream that was reset in between is gone, and needs no answer.
            if sent.is_ok() && !ends {
                self.send_body(stream, 0, turn);
            }
        }
        self.released > 0
    }

    fn send_body(&mut self, id: StreamId, sent: usize, turn: &Turn<'_>) {
        let body = turn.shared.answers.body();
        let left = &body[sent..];
        match self.connection.send_data(&mut self.out, id, left, true) {
            Ok(more) if more < left.len() => self.unsent.push_back((id, sent + more)),
            _ => {} // all of it, or the stream is gone
        }
    }
}
