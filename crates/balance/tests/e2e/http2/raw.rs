//! A client that sends frames as they are written down.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use balance_testkit::PATIENCE;

pub(crate) use balance_testkit::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, PREFACE,
    PRIORITY, RESET, SETTINGS, WINDOW_UPDATE, block, push_field, read_frame,
};

/// What every peer takes (RFC 9113 §4.2).
const FRAME_BYTES_MAX: usize = 16_384;

/// The head of a request with these fields behind its pseudo-header fields.
pub(crate) fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
    ];
    block(&[&pseudo[..], fields].concat())
}

/// What came on a stream.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// 0: no head has come.
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// The code that it was reset with.
    pub(crate) reset: Option<u32>,
}

/// A connection.
pub(crate) struct RawHttp2 {
    stream: TcpStream,
    next_stream: u32,
}

impl RawHttp2 {
    /// Connects, and says what each client says first; the settings of both sides are acknowledged.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[])
    }

    /// As `connect`, with settings.
    pub(crate) fn connect_with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self {
            stream,
            next_stream: 1,
        };
        let settings = Frame::settings(settings);
        client.send_bytes(&[PREFACE, &settings.bytes()].concat());
        client.send(&Frame::new(SETTINGS, ACK, 0, []));
        client
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        assert!(self.try_send(bytes), "the connection is closed");
    }

    /// Sends as far as the other side lets us: whether it was all.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub(crate) fn send(&mut self, frame: &Frame) {
        self.send_bytes(&frame.bytes());
    }

    /// A request without content; its stream.
    pub(crate) fn ask(&mut self, path: &str) -> u32 {
        self.begin("GET", path, &[], END_STREAM)
    }

    /// A request's head; its stream.
    pub(crate) fn begin(
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
    pub(crate) fn ask_whole(&mut self, block: &[u8], content: Option<&[u8]>) -> u32 {
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
    pub(crate) fn read(&mut self) -> Option<Frame> {
        read_frame(&mut self.stream)
    }

    /// The next frame of that kind.
    pub(crate) fn read_kind(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.read().expect("the connection has ended");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Reads to the end of a stream: its status and content, or the code that it was reset with.
    pub(crate) fn response(&mut self, stream: u32) -> Result<(u16, Vec<u8>), u32> {
        let received = self.receive(stream);
        match received.reset {
            None => Ok((received.status, received.body)),
            Some(code) => Err(code),
        }
    }

    /// Reads to the end of a stream, however it ends.
    pub(crate) fn receive(&mut self, stream: u32) -> Received {
        let mut received = Received::default();
        loop {
            let frame = self.read().expect("the connection has ended");
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                HEADERS if received.status < 200 => received.status = status_of(&frame.payload),
                DATA => received.body.extend(&frame.payload),
                RESET => {
                    received.reset = Some(frame.code());
                    return received;
                }
                _ => {}
            }
            if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                return received;
            }
        }
    }

    /// Reads to the end of the connection: the code of its last GOAWAY.
    pub(crate) fn end(&mut self) -> Option<u32> {
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
