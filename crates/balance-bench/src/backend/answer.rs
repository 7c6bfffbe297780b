//! The answers of the built-in backend: encoded once at start, written many times.

use balance_proto::{FieldName, FieldValue};

use super::BackendOptions;
use super::scanner::Request;

/// Which of the encoded answers a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Full,
    FullThenClose,
    /// To HEAD: the same head without the body (RFC 9110 §9.3.2).
    Head,
    HeadThenClose,
    Continue,
    BadRequest,
}

impl Answer {
    /// The answer to a complete request.
    pub(super) fn to_request(request: Request) -> Self {
        match (request.is_head, request.keep_alive) {
            (false, true) => Self::Full,
            (false, false) => Self::FullThenClose,
            (true, true) => Self::Head,
            (true, false) => Self::HeadThenClose,
        }
    }

    /// Whether the connection ends with it.
    pub(super) fn closes(self) -> bool {
        matches!(
            self,
            Self::FullThenClose | Self::HeadThenClose | Self::BadRequest
        )
    }
}

/// The bytes of every answer.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) status: u16,
    /// Of the field X-Backend. Empty: there is none.
    name: String,
    kept: Encoded,
    closing: Encoded,
}

#[derive(Debug)]
struct Encoded {
    bytes: Vec<u8>,
    head_len: usize,
}

impl Answers {
    pub(super) fn encode(options: &BackendOptions) -> Self {
        Self {
            status: options.status,
            name: options.name.clone(),
            kept: encode(options, true),
            closing: encode(options, false),
        }
    }

    /// The body alone, for HTTP/2.
    pub(super) fn body(&self) -> &[u8] {
        &self.kept.bytes[self.kept.head_len..]
    }

    pub(super) fn content_length(&self) -> Option<u64> {
        has_body(self.status).then(|| self.body().len() as u64)
    }

    /// What else stands in a head of HTTP/2.
    pub(super) fn fields(&self) -> impl Iterator<Item = (FieldName<'_>, FieldValue<'_>)> {
        let content = (
            FieldName::from_static("content-type"),
            FieldValue::from_static("text/plain"),
        );
        // The name was checked when the backend was started.
        let name = FieldValue::new(self.name.as_bytes()).ok();
        let name = name.filter(|_| !self.name.is_empty());
        let name = name.map(|name| (FieldName::from_static("x-backend"), name));
        let content = has_body(self.status).then_some(content);
        content.into_iter().chain(name)
    }

    pub(super) fn bytes(&self, answer: Answer) -> &[u8] {
        match answer {
            Answer::Full => &self.kept.bytes,
            Answer::FullThenClose => &self.closing.bytes,
            Answer::Head => &self.kept.bytes[..self.kept.head_len],
            Answer::HeadThenClose => &self.closing.bytes[..self.closing.head_len],
            Answer::Continue => b"HTTP/1.1 100 Continue\r\n\r\n",
            Answer::BadRequest => {
                b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            }
        }
    }
}

fn encode(options: &BackendOptions, keep_alive: bool) -> Encoded {
    let status = options.status;
    let reason = reason(status);
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n");
    let body = if has_body(status) {
        body(options)
    } else {
        Vec::new()
    };
    if has_body(status) {
        head.push_str(&format!(
            "Content-Type: text/plain\r\nContent-Length: {}\r\n",
            body.len()
        ));
    }
    if !options.name.is_empty() {
        head.push_str(&format!("X-Backend: {}\r\n", options.name));
    }
    if !keep_alive {
        head.push_str("Connection: close\r\n");
    }
    head.push_str("\r\n");
    let head_len = head.len();
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&body);
    Encoded { bytes, head_len }
}

/// RFC 9110 §6.4.1: 1xx, 204 and 304 have none.
fn has_body(status: u16) -> bool {
    !matches!(status, 204 | 304)
}

/// Lines of text, so that a large body is still readable in a terminal.
fn body(options: &BackendOptions) -> Vec<u8> {
    if options.identify {
        return format!("hello from {}\n", options.name).into_bytes();
    }
    const LINE: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.\n";
    LINE.iter()
        .copied()
        .cycle()
        .take(options.body_bytes)
        .collect()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "", // RFC 9112 §4: the reason phrase may be empty
    }
}
