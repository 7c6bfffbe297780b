//! HTTP/2 by hand, frame by frame: what frames look like, and a backend that sends them as they are written down.

mod backend;

pub use backend::{Asked, Http2Backend, Http2Peer};

/// A frame (RFC 9113 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RESET: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// What a client says before its first frame (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    /// SETTINGS with these values (RFC 9113 §6.5).
    pub fn settings(settings: &[(u16, u32)]) -> Self {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        Self::new(SETTINGS, 0, 0, payload)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The error code of RST_STREAM or GOAWAY.
    ///
    /// # Panics
    /// It has none.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let code = self.payload[at..].first_chunk();
        u32::from_be_bytes(*code.expect("a code is four octets"))
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A field block of literals, as RFC 7541 §6.2.2 writes them with new names.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        push_field(&mut bytes, name.as_bytes(), value.as_bytes());
    }
    bytes
}

/// Adds a field to a field block, whatever is in it.
pub fn push_field(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        push_length(block, text.len());
        block.extend(text);
    }
}

/// RFC 7541 §5.1 with a prefix of 7 bits.
fn push_length(bytes: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        bytes.push(length.to_be_bytes()[size_of::<usize>() - 1]);
        return;
    };
    bytes.push(127);
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    bytes.push(rest as u8);
}

/// The next frame that comes; `None` at the end of the connection, which may be a reset.
///
/// # Panics
/// Nothing came in time, or the connection ended in a frame.
pub fn read_frame(stream: &mut impl std::io::Read) -> Option<Frame> {
    let mut header = [0; 9];
    if !fill(stream, &mut header) {
        return None;
    }
    let [a, b, c, kind, flags, id @ ..] = header;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    assert!(fill(stream, &mut payload), "a frame is cut off");
    Some(Frame::new(kind, flags, u32::from_be_bytes(id), payload))
}

/// Whether the connection did not end first.
fn fill(stream: &mut impl std::io::Read, buffer: &mut [u8]) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};

    let result = stream.read_exact(buffer);
    if let Err(error) = &result {
        let is_late = matches!(error.kind(), WouldBlock | TimedOut);
        assert!(!is_late, "nothing came in time");
    }
    result.is_ok()
}
