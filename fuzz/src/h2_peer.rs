//! What both HTTP/2 targets share: a connection driven as a task would, and what came of it.

use std::time::Instant;

use balance_core::Method;
use balance_proto::http2::frame::{FrameHeader, FrameKind, PREFACE};
use balance_proto::http2::{Connection, ConnectionSettings, ErrorCode, Event, Role, StreamId};
use balance_proto::{Field, FramingLine, HeadEdits, HeadView, RequestView, Scheme, Version};

use crate::script;

/// One property for both sides: the same events and the same frames however the input is read, and nothing after the
/// connection is lost.
pub(crate) fn check(role: Role, input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else {
        return;
    };
    let whole = Peer::drive(role, bytes, bytes.len().max(1));
    let piece_len = usize::from(*choice) % 61 + 1;
    let ragged = Peer::drive(role, bytes, piece_len);
    assert_eq!(ragged, whole, "pieces of {piece_len}");
    assert_eq!(Peer::drive(role, bytes, 1), whole, "byte by byte");
}

/// The rows of balance-proto's table for this side, behind the preface and SETTINGS.
pub(crate) fn seeds(role: Role) -> Vec<Vec<u8>> {
    let (name, preface) = match role {
        Role::Server => ("server", &PREFACE[..]),
        Role::Client => ("client", &[][..]),
    };
    let rows = script::parse(TABLE).expect("the table is well-formed");
    let rows = rows.iter().filter(|row| row.role == name);
    let inputs = rows.map(|row| match row.has("bare") {
        true => [&[6], row.input().as_slice()].concat(),
        false => [&[6], preface, &SETTINGS[..], &row.input()].concat(),
    });
    inputs.filter(|input| input.len() <= 2048).collect()
}

/// The table that the seeds are taken from.
pub(crate) const TABLE: &str = include_str!("../../crates/balance-proto/tests/data/http2.txt");

const SETTINGS: [u8; FrameHeader::BYTES] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

struct Peer {
    connection: Connection,
    now: Instant,
    out: Vec<u8>,
    events: Vec<String>,
}

impl Peer {
    /// The events and the frames that came of it. Windows are left out: when they open depends on the reads.
    fn drive(role: Role, bytes: &[u8], piece_len: usize) -> (Vec<String>, Vec<FrameHeader>) {
        let settings = ConnectionSettings {
            streams_max: 4,
            ..ConnectionSettings::default()
        };
        let mut peer = Self {
            connection: Connection::new(role, settings),
            now: Instant::now(),
            out: Vec::new(),
            events: Vec::new(),
        };
        for method in [Method::Get, Method::Head, Method::Post] {
            let framing = FramingLine::None;
            let edits = HeadEdits::default();
            let ends = method != Method::Post;
            let sent = peer.connection.send_request(
                &mut peer.out,
                &Request(method),
                &edits,
                framing,
                ends,
            );
            assert_eq!(sent.is_ok(), role == Role::Client);
        }
        for piece in bytes.chunks(piece_len) {
            peer.read(piece);
        }
        let frames = frames(&peer.out);
        let is_lost = frames
            .last()
            .is_some_and(|last| last.kind == FrameKind::GoAway);
        assert_eq!(
            is_lost,
            peer.connection.is_closed(),
            "GOAWAY is the last word"
        );
        assert!(peer.connection.stream_count() <= 4, "the limit is kept");
        let told = |frame: &FrameHeader| frame.kind != FrameKind::WindowUpdate;
        (peer.events, frames.into_iter().filter(told).collect())
    }

    fn read(&mut self, piece: &[u8]) {
        let mut rest = piece;
        loop {
            match self.connection.poll(self.now, &mut rest, &mut self.out) {
                Ok(Some(event)) => self.on_event(event),
                Ok(None) => break,
                Err(violation) => {
                    self.events.push(format!("{violation:?}"));
                    let after = self.connection.poll(self.now, &mut rest, &mut self.out);
                    assert_eq!(after, Ok(None), "lost");
                }
            }
        }
        assert!(rest.is_empty(), "all input is used up");
    }

    /// Answers as an origin would, and releases what it was given.
    fn on_event(&mut self, event: Event<'_>) {
        let text = match event {
            Event::Data {
                stream,
                bytes,
                ends,
            } => {
                self.connection.release(&mut self.out, stream, bytes.len());
                if ends {
                    self.answer(stream);
                }
                return self.on_data(stream, bytes, ends);
            }
            Event::Head { stream, ends: true } | Event::Trailers { stream } => {
                self.answer(stream);
                format!("{event:?}")
            }
            Event::Refused { stream, .. } => {
                self.answer(stream);
                let code = ErrorCode::NO_ERROR;
                self.connection.reset(&mut self.out, stream, code);
                format!("{event:?}")
            }
            _ => format!("{event:?}"),
        };
        self.events.push(text);
    }

    /// Pieces of content are one event.
    fn on_data(&mut self, stream: StreamId, bytes: &[u8], ends: bool) {
        let start = format!("data {}: ", stream.get());
        let bytes = bytes.escape_ascii();
        let end = if ends { END } else { "" };
        match self.events.last_mut() {
            Some(last) if last.starts_with(&start) && !last.ends_with(END) => {
                last.push_str(&format!("{bytes}{end}"));
            }
            _ => self.events.push(format!("{start}{bytes}{end}")),
        }
    }

    /// A backend's stream may be ended by us already.
    fn answer(&mut self, stream: StreamId) {
        let out = &mut self.out;
        let sent = self
            .connection
            .send_own_response(out, stream, 200, &[], Some(2), false);
        if sent.is_ok() {
            let sent = self.connection.send_data(out, stream, b"ok", true);
            assert!(sent.is_ok(), "the stream is still there");
        }
    }
}

/// No escaped byte looks like it.
const END: &str = "\n";

/// All frames of what we wrote, each as the RFC wants it.
fn frames(mut out: &[u8]) -> Vec<FrameHeader> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = out.split_first_chunk() {
        let header = FrameHeader::parse(header);
        header.check(16_384).expect("we write valid frames");
        let rest = rest.get(header.length as usize..);
        out = rest.expect("a frame is written whole");
        frames.push(header);
    }
    assert!(out.is_empty(), "a frame is written whole");
    frames
}

struct Request(Method);

impl HeadView for Request {
    fn field_count(&self) -> usize {
        0
    }

    fn field(&self, _: usize) -> Field<'_> {
        Field::default()
    }
}

impl RequestView for Request {
    fn method(&self) -> &[u8] {
        self.0.name().as_bytes()
    }

    fn method_kind(&self) -> Method {
        self.0
    }

    fn version(&self) -> Version {
        Version::Http2
    }

    fn scheme(&self) -> Scheme {
        Scheme::Http
    }

    fn authority(&self) -> &[u8] {
        b"a"
    }

    fn path_and_query(&self) -> &[u8] {
        b"/"
    }
}
