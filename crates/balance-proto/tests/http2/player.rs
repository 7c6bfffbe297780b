//! Plays a row on a connection, and writes down what came of it.

use crate::script::{Row, Step};
use balance_core::Method;
use balance_proto::http1::{RequestHead, ResponseHead};
use balance_proto::http2::frame::{FrameHeader, FrameKind, GoAway, Headers, flags, settings};
use balance_proto::http2::hpack::{DecodedField, Decoder, FieldSink};
use balance_proto::http2::{
    Connection, ConnectionSettings, ErrorCode, Event, Role, StreamId, Trailers, Violation,
};
use balance_proto::{
    FieldName, FieldValue, FramingLine, HeadEdits, HeadView, RequestView, ResponseView, Scheme,
    Version,
};
use std::time::{Duration, Instant};

/// A connection and its transcript.
struct Player {
    connection: Connection,
    now: Instant,
    /// What the connection wrote and was not read yet.
    out: Vec<u8>,
    /// Reads field blocks that the connection wrote.
    decoder: Decoder,
    lines: Vec<String>,
    /// Lines before this one are not of the row.
    start: usize,
}

/// The transcript of a row whose inputs are cut into pieces of `piece_len`.
pub(crate) fn play(row: &Row, piece_len: usize) -> Result<Vec<String>, String> {
    let role = match row.role.as_str() {
        "server" => Role::Server,
        "client" => Role::Client,
        other => return Err(format!("`{other}` is neither server nor client")),
    };
    let mut player = Player::new(role, row);
    if !row.has("bare") {
        player.shake_hands(role);
    }
    for step in &row.steps {
        match step {
            Step::Input(bytes) => player.input(bytes, piece_len),
            Step::Action(words) => player.act(words)?,
        }
        player.read_output();
    }
    let lines = player.lines.split_off(player.start);
    Ok(match row.has("summed") {
        true => sum(&lines),
        false => lines,
    })
}

/// How many lines there are of each kind, and the error.
fn sum(lines: &[String]) -> Vec<String> {
    let kind = |line: &str| -> (String, String) {
        let mut words = line.splitn(3, ' ').map(str::to_owned);
        (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        )
    };
    let mut kinds: Vec<(String, String)> = Vec::new();
    for line in lines {
        if !kinds.contains(&kind(line)) {
            kinds.push(kind(line));
        }
    }
    let mut sums = Vec::new();
    for (mark, word) in kinds {
        let of_kind = lines
            .iter()
            .filter(|line| kind(line) == (mark.clone(), word.clone()));
        match word.as_str() {
            "error" => sums.extend(of_kind.cloned()),
            _ => sums.push(format!("{mark} {} {word}", of_kind.count())),
        }
    }
    sums
}

impl Player {
    fn new(role: Role, row: &Row) -> Self {
        let number = |key| row.option(key).and_then(|value| value.parse().ok());
        let defaults = ConnectionSettings::default();
        let mut settings = ConnectionSettings {
            streams_max: number("streams").unwrap_or(defaults.streams_max),
            stream_window: number("window").unwrap_or(65_535),
            connection_window: number("connection_window").unwrap_or(1 << 20),
            ..defaults
        };
        if let Some(bytes) = number("head") {
            settings.head.head_bytes_max = bytes as usize;
        }
        Self {
            connection: Connection::new(role, settings),
            now: Instant::now(),
            out: Vec::new(),
            decoder: Decoder::new(4096),
            lines: Vec::new(),
            start: 0,
        }
    }

    fn shake_hands(&mut self, role: Role) {
        self.connection.start(&mut self.out);
        let mut input = Vec::new();
        if role == Role::Server {
            input.extend_from_slice(balance_proto::http2::frame::PREFACE);
        } else {
            self.out.drain(..24);
        }
        input.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
        self.input(&input, usize::MAX);
        self.read_output();
        self.start = self.lines.len();
    }

    fn input(&mut self, bytes: &[u8], piece_len: usize) {
        for piece in bytes.chunks(piece_len.min(bytes.len().max(1))) {
            let mut rest = piece;
            loop {
                match self.connection.poll(self.now, &mut rest, &mut self.out) {
                    Ok(Some(event)) => self.on_event(event),
                    Ok(None) => break,
                    Err(violation) => return self.on_error(violation),
                }
            }
            assert!(rest.is_empty(), "all input is used up");
        }
    }

    /// The GOAWAY that belongs to it is taken off the output.
    fn on_error(&mut self, violation: Violation) {
        self.read_output();
        let told = self.lines.pop().expect("a GOAWAY");
        let code = violation.code().name();
        assert!(
            told.starts_with("< goaway ") && told.ends_with(code),
            "{told}"
        );
        assert!(self.connection.is_closed());
        self.lines.push(format!("= error {code}"));
    }

    fn on_event(&mut self, event: Event<'_>) {
        let line = match event {
            Event::Head { stream, ends } => self.head(stream, ends),
            Event::Refused { stream, error, .. } => {
                format!("refused {} {}", stream.get(), error.status())
            }
            Event::Data {
                stream,
                bytes,
                ends,
            } => return self.on_data(stream, bytes.len(), ends),
            Event::Trailers { stream } => {
                let mut trailers = Trailers::default();
                self.connection.take_trailers(&mut trailers);
                format!("trailers {}{}", stream.get(), fields(&trailers))
            }
            Event::Reset { stream, code } => format!("reset {} {}", stream.get(), code.name()),
            Event::Failed { stream, violation } => self.failed(stream, violation),
            Event::GoAway { last, code } => format!("goaway {} {}", last.get(), code.name()),
            Event::Settings => "settings".to_owned(),
            Event::Pong { payload } => format!("pong {}", payload.escape_ascii()),
        };
        self.lines.push(format!("= {line}"));
    }

    fn head(&mut self, stream: StreamId, ends: bool) -> String {
        let (mut request, mut response) = (RequestHead::default(), ResponseHead::default());
        self.connection.take_request(&mut request);
        self.connection.take_response(&mut response);
        let (start, fields) = match request.method() {
            [] => (response.status().to_string(), fields(&response)),
            method => {
                let (host, target) = (request.authority(), request.path_and_query());
                let text = [method, b" ", host, b" ", target].concat();
                (text.escape_ascii().to_string(), fields(&request))
            }
        };
        let end = if ends { " end" } else { "" };
        format!("head {}{end} {start}{fields}", stream.get())
    }

    /// Pieces of one frame are one line: how many there are depends on the reads.
    fn on_data(&mut self, stream: StreamId, length: usize, ends: bool) {
        let start = format!("= data {} ", stream.get());
        let before = match self.lines.last().and_then(|line| line.strip_prefix(&start)) {
            Some(rest) if !rest.ends_with("end") => {
                let before: usize = rest.parse().expect("a length");
                self.lines.pop();
                before
            }
            _ => 0,
        };
        let end = if ends { " end" } else { "" };
        self.lines.push(format!("{start}{}{end}", before + length));
    }

    /// The RST_STREAM that belongs to it is taken off the output.
    fn failed(&mut self, stream: StreamId, violation: Violation) -> String {
        self.read_output();
        let (id, code) = (stream.get(), violation.code().name());
        let told = self.lines.pop();
        assert_eq!(told, Some(format!("< reset {id} {code}")));
        format!("failed {id} {code}")
    }

    fn read_output(&mut self) {
        let out = std::mem::take(&mut self.out);
        let mut rest = out.as_slice();
        while let Some((header, tail)) = rest.split_first_chunk() {
            let header = FrameHeader::parse(header);
            header.check(16_384).expect("a frame as the RFC wants it");
            let (payload, tail) = tail.split_at(header.length as usize);
            rest = tail;
            let line = self.describe(header, payload);
            self.lines.push(format!("< {line}"));
        }
    }

    fn describe(&mut self, header: FrameHeader, payload: &[u8]) -> String {
        let stream = header.stream.get();
        let number = || u32::from_be_bytes(*payload.first_chunk().expect("four octets"));
        let end = if header.ends_stream() { " end" } else { "" };
        let ack = if header.has(flags::ACK) { "ack " } else { "" };
        match header.kind {
            FrameKind::Data => format!("data {stream} {}{end}", payload.len()),
            FrameKind::Headers => {
                let headers = Headers::parse(header, payload).expect("no padding");
                let mut texts = Texts::default();
                self.decoder
                    .decode(headers.block, usize::MAX, &mut texts)
                    .expect("a field block");
                format!("headers {stream}{end}{}", texts.0)
            }
            FrameKind::Reset => format!("reset {stream} {}", ErrorCode(number()).name()),
            FrameKind::Settings => {
                let texts = settings(payload).map(|s| format!("{}={}", s.id, s.value));
                let texts: Vec<_> = texts.collect();
                format!("settings {ack}{}", texts.join(" "))
                    .trim()
                    .to_owned()
            }
            FrameKind::Ping => format!("ping {ack}{}", payload.escape_ascii()),
            FrameKind::GoAway => {
                let goaway = GoAway::parse(payload).expect("a GOAWAY");
                format!("goaway {} {}", goaway.last.get(), goaway.code.name())
            }
            FrameKind::WindowUpdate => format!("window {stream} {}", number()),
            kind => format!("{kind:?} {stream}"),
        }
    }

    /// What a caller does: `! WORD …`, as the table describes it.
    fn act(&mut self, words: &[String]) -> Result<(), String> {
        let word = |index: usize| words.get(index).map_or("", String::as_str);
        let number = |index: usize| {
            word(index)
                .parse::<u32>()
                .map_err(|_| "a number".to_owned())
        };
        let stream = |index: usize| number(index).map(StreamId::new);
        let ends = words.iter().any(|word| word == "end");
        let result = match word(0) {
            "respond" => {
                let status = number(2)? as u16;
                let name = FieldName::new(b"x-a").expect("a name");
                let value = FieldValue::new(b"b").expect("a value");
                let fields = [(name, value)];
                let out = &mut self.out;
                let sent =
                    self.connection
                        .send_own_response(out, stream(1)?, status, &fields, None, ends);
                sent.map_err(|error| error.to_string())
            }
            "data" => {
                let bytes = vec![b'd'; number(2)? as usize];
                let sent = self
                    .connection
                    .send_data(&mut self.out, stream(1)?, &bytes, ends);
                match sent {
                    Ok(sent) if sent < bytes.len() => Err(format!("sent {sent}")),
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.to_string()),
                }
            }
            "trailers" => {
                let trailers = Trailers::default();
                let sent = self
                    .connection
                    .send_trailers(&mut self.out, stream(1)?, &trailers);
                sent.map_err(|error| error.to_string())
            }
            "request" => {
                let request = Request(Method::parse(word(1).as_bytes()), word(1));
                let (edits, framing) = (HeadEdits::default(), FramingLine::None);
                let sent =
                    self.connection
                        .send_request(&mut self.out, &request, &edits, framing, ends);
                sent.map(|_| ()).map_err(|error| error.to_string())
            }
            "release" => {
                let (id, octets) = (stream(1)?, number(2)? as usize);
                self.connection.release(&mut self.out, id, octets);
                Ok(())
            }
            "reset" => {
                let (id, code) = (stream(1)?, ErrorCode(number(2)?));
                self.connection.reset(&mut self.out, id, code);
                Ok(())
            }
            "writable" => {
                let next = self.connection.poll_writable().map(StreamId::get);
                Err(next.map_or("nothing is writable".to_owned(), |id| {
                    format!("writable {id}")
                }))
            }
            "drain" => {
                self.connection.drain(&mut self.out);
                Ok(())
            }
            "finish_drain" => {
                self.connection.finish_drain(&mut self.out);
                Ok(())
            }
            "drained" => Err(format!("drained {}", self.connection.is_drained())),
            "available" => Err(format!("available {}", self.connection.streams_available())),
            "ping" => {
                self.connection.ping(&mut self.out, *b"askalive");
                Ok(())
            }
            "time" => {
                self.now += Duration::from_secs(number(1)?.into());
                Ok(())
            }
            "start" => {
                self.connection.start(&mut self.out);
                Ok(())
            }
            other => return Err(format!("`{other}` is no action")),
        };
        self.read_output();
        if let Err(text) = result {
            self.lines.push(format!("= {text}"));
        }
        Ok(())
    }
}

/// The fields that are not told elsewhere in a line.
fn fields<V: HeadView>(view: &V) -> String {
    (0..view.field_count())
        .map(|index| view.field(index))
        .filter(|field| field.name != b"host")
        .map(|field| {
            let (name, value) = (field.name.escape_ascii(), field.value.escape_ascii());
            format!(" | {name}: {value}")
        })
        .collect()
}

#[derive(Default)]
struct Texts(String);

impl FieldSink for Texts {
    fn on_field(&mut self, field: DecodedField<'_>) {
        let (name, value) = (field.name.escape_ascii(), field.value.escape_ascii());
        self.0.push_str(&format!(" | {name}: {value}"));
    }
}

/// A request of ours.
struct Request<'a>(Method, &'a str);

impl HeadView for Request<'_> {
    fn field_count(&self) -> usize {
        0
    }

    fn field(&self, _: usize) -> balance_proto::Field<'_> {
        balance_proto::Field::default()
    }
}

impl RequestView for Request<'_> {
    fn method(&self) -> &[u8] {
        self.1.as_bytes()
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
