//! A client that sends frames as they are written down.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use balance_testkit::PATIENCE;

/// A frame (RFC 9113 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RESET: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// What every peer takes (RFC 9113 §4.2).
const FRAME_BYTES_MAX: usize = 16_384;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Frame {
    pub(super) fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The first four octets of the payload as a number: the code of RST_STREAM.
    pub(super) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A field block of literals, as RFC 7541 §6.2.2 writes them with new names.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        push_field(&mut bytes, name.as_bytes(), value.as_bytes());
    }
    bytes
}

/// Adds a field to a field block, whatever is in it.
pub(super) fn push_field(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        push_length(block, text.len());
        block.extend(text);
    }
}

/// RFC 7541 §5.1 with a prefix of 7 bits.
fn push_length(bytes: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        bytes.push(u8::try_from(length).unwrap());
        return;
    };
    bytes.push(127);
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
}

/// The head of a request with these fields behind its pseudo-header fields.
pub(super) fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
    ];
    block(&[&pseudo[..], fields].concat())
}

/// A connection.
pub(super) struct RawHttp2 {
    stream: TcpStream,
    next_stream: u32,
}

impl RawHttp2 {
    /// Connects, and says what each client says first; the settings of both sides are acknowledged.
    pub(super) fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[])
    }

    /// As `connect`, with settings.
    pub(super) fn connect_with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self {
            stream,
            next_stream: 1,
        };
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let settings = Frame::new(SETTINGS, 0, 0, payload);
        client.send_bytes(&[PREFACE, &settings.bytes()].concat());
        client.send(&Frame::new(SETTINGS, ACK, 0, []));
        client
    }

    pub(super) fn send_bytes(&mut self, bytes: &[u8]) {
        assert!(self.try_send(bytes), "the connection is closed");
    }

    /// Sends as far as the other side lets us: whether it was all.
    pub(super) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub(super) fn send(&mut self, frame: &Frame) {
        self.send_bytes(&frame.bytes());
    }

    /// A request without content; its stream.
    pub(super) fn ask(&mut self, path: &str) -> u32 {
        self.begin("GET", path, &[], END_STREAM)
    }

    /// A request's head; its stream.
    pub(super) fn begin(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        flags: u8,
    ) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        let head = request(method, path, fields);
        self.send(&Frame::new(HEADERS, flags | END_HEADERS, stream, head));
        stream
    }

    /// A whole request on the next stream, in as many frames as it takes and one write; its stream.
    pub(super) fn ask_whole(&mut self, block: &[u8], content: Option<&[u8]>) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        let mut bytes = Vec::new();
        let ends = if content.is_none() { END_STREAM } else { 0 };
        let count = block.chunks(FRAME_BYTES_MAX).len();
        for (index, piece) in block.chunks(FRAME_BYTES_MAX).enumerate() {
            let (kind, flags) = match index {
                0 => (HEADERS, ends),
                _ => (CONTINUATION, 0),
            };
            let is_last = index + 1 == count;
            let flags = if is_last { flags | END_HEADERS } else { flags };
            bytes.extend(Frame::new(kind, flags, stream, piece).bytes());
        }
        if let Some(content) = content {
            bytes.extend(Frame::new(DATA, END_STREAM, stream, content).bytes());
        }
        self.send_bytes(&bytes);
        stream
    }

    /// The next frame; `None` at the end of the connection.
    pub(super) fn read(&mut self) -> Option<Frame> {
        let mut header = [0; 9];
        if !self.fill(&mut header) {
            return None;
        }
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let mut payload = vec![0; length];
        assert!(self.fill(&mut payload), "a frame is cut off");
        let stream = u32::from_be_bytes(header[5..9].try_into().unwrap());
        Some(Frame::new(header[3], header[4], stream, payload))
    }

    /// Whether the connection did not end first. A reset is an end, too.
    fn fill(&mut self, buffer: &mut [u8]) -> bool {
        let result = self.stream.read_exact(buffer);
        if let Err(error) = &result {
            let kind = error.kind();
            assert!(
                kind != std::io::ErrorKind::WouldBlock && kind != std::io::ErrorKind::TimedOut,
                "nothing came in time"
            );
        }
        result.is_ok()
    }

    /// The next frame of that kind.
    pub(super) fn read_kind(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.read().expect("the connection has ended");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Reads to the end of a stream: its status and content, or the code that it was reset with.
    pub(super) fn response(&mut self, stream: u32) -> Result<(u16, Vec<u8>), u32> {
        let mut status = 0;
        let mut body = Vec::new();
        loop {
            let frame = self.read().expect("the connection has ended");
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                HEADERS if status < 200 => status = status_of(&frame.payload),
                DATA => body.extend(&frame.payload),
                RESET => return Err(frame.code()),
                _ => {}
            }
            if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                return Ok((status, body));
            }
        }
    }

    /// Reads to the end of the connection: the code of its last GOAWAY.
    pub(super) fn end(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.read() {
            if frame.kind == GOAWAY {
                code = Some(frame.code());
            }
        }
        code
    }
}

/// The status at the beginning of a field block, as Balance writes it.
fn status_of(block: &[u8]) -> u16 {
    let block = block.strip_prefix(&[0x20]).unwrap_or(block);
    match block {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8a, ..] => 206,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        literal => {
            let digits = literal.strip_prefix(&[0x08, 3]).expect("a status is first");
            std::str::from_utf8(&digits[..3]).unwrap().parse().unwrap()
        }
    }
}
