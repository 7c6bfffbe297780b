//! Finds where requests end: enough of HTTP/1 to answer each request once and in order, whatever
//! body it has. It does not judge requests beyond that: the proxy under test has to.

/// One request that has arrived completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// HEAD: the answer has no body.
    pub(super) is_head: bool,
    /// Whether the connection stays open after the answer (RFC 9112 §9.3).
    pub(super) keep_alive: bool,
}

/// What the scanner saw, in the order of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Request(Request),
    /// The head asks for a 100 before its body (RFC 9110 §10.1.1).
    ExpectContinue,
    /// No end can be found any more: answer 400 and close.
    Malformed,
}

/// The place in the byte stream of one connection.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    state: State,
    /// A head or a chunk line that is not complete yet. Empty (and unallocated) otherwise.
    partial: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// Body bytes that are still to come.
    Exact(Request, u64),
    ChunkSize(Request),
    /// Chunk data that is still to come, its CRLF included.
    ChunkData(Request, u64),
    Trailers(Request),
    /// After something malformed: everything is ignored.
    Dead,
}

/// A head or chunk line longer than this is malformed. More than any proxy forwards by default.
const PARTIAL_BYTES_MAX: usize = 256 * 1024;

impl Scanner {
    /// Takes the next bytes of the connection and appends what they complete to `seen`.
    pub(super) fn feed(&mut self, bytes: &[u8], seen: &mut Vec<Seen>) {
        if self.partial.is_empty() {
            let consumed = self.scan(bytes, seen);
            self.partial.extend_from_slice(&bytes[consumed..]);
        } else {
            let mut joined = std::mem::take(&mut self.partial);
            joined.extend_from_slice(bytes);
            let consumed = self.scan(&joined, seen);
            if consumed < joined.len() {
                joined.drain(..consumed);
                self.partial = joined;
            }
        }
        if self.partial.len() > PARTIAL_BYTES_MAX {
            self.die(seen);
        }
    }

    /// Whether the connection may end here without cutting a request.
    #[cfg(test)]
    fn is_between_requests(&self) -> bool {
        self.state == State::Head && self.partial.is_empty()
    }

    /// Returns how many bytes were used; the rest is an incomplete head or line.
    fn scan(&mut self, bytes: &[u8], seen: &mut Vec<Seen>) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.step(rest, seen) {
                Some(used) => at += used,
                None => break,
            }
        }
        at
    }

    fn step(&mut self, rest: &[u8], seen: &mut Vec<Seen>) -> Option<usize> {
        match self.state {
            State::Head => {
                if let Some(skipped) = empty_line(rest) {
                    return skipped; // RFC 9112 §2.2: a line before the request line is ignored
                }
                let head_len = find_head_end(rest)?;
                match parse_head(&rest[..head_len]) {
                    Some(head) => self.on_head(head, seen),
                    None => self.die(seen),
                }
                Some(head_len)
            }
            State::Exact(request, left) => {
                let used = take(rest, left);
                self.state = State::Exact(request, left - used as u64);
                if left == used as u64 {
                    self.complete(request, seen);
                }
                Some(used)
            }
            State::ChunkSize(request) => {
                let line = find_line(rest)?;
                match chunk_size(&rest[..line]) {
                    Some(0) => self.state = State::Trailers(request),
                    Some(size) => self.state = State::ChunkData(request, size + 2),
                    None => self.die(seen),
                }
                Some(line)
            }
            State::ChunkData(request, left) => {
                let used = take(rest, left);
                self.state = if left == used as u64 {
                    State::ChunkSize(request)
                } else {
                    State::ChunkData(request, left - used as u64)
                };
                Some(used)
            }
            State::Trailers(request) => {
                let line = find_line(rest)?;
                if line <= 2 {
                    self.complete(request, seen);
                }
                Some(line)
            }
            State::Dead => Some(rest.len()),
        }
    }

    fn on_head(&mut self, head: Head, seen: &mut Vec<Seen>) {
        match head.body {
            Body::Exact(0) => return self.complete(head.request, seen),
            Body::Exact(length) => self.state = State::Exact(head.request, length),
            Body::Chunked => self.state = State::ChunkSize(head.request),
        }
        if head.expects_continue {
            seen.push(Seen::ExpectContinue);
        }
    }

    fn complete(&mut self, request: Request, seen: &mut Vec<Seen>) {
        self.state = if request.keep_alive {
            State::Head
        } else {
            State::Dead
        };
        seen.push(Seen::Request(request));
    }

    fn die(&mut self, seen: &mut Vec<Seen>) {
        self.state = State::Dead;
        self.partial = Vec::new();
        seen.push(Seen::Malformed);
    }
}

struct Head {
    request: Request,
    body: Body,
    expects_continue: bool,
}

enum Body {
    Exact(u64),
    Chunked,
}

/// `Some(Some(n))`: an empty line of n bytes. `Some(None)`: perhaps the start of one.
fn empty_line(rest: &[u8]) -> Option<Option<usize>> {
    match rest {
        [b'\r', b'\n', ..] => Some(Some(2)),
        [b'\r'] => Some(None),
        [b'\n', ..] => Some(Some(1)),
        _ => None,
    }
}

/// The length of the head, its empty line included.
fn find_head_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = find_line(&bytes[at..])?;
        at += line;
        if line == 1 || (line == 2 && bytes[at - 2] == b'\r') {
            return Some(at);
        }
    }
}

/// The length of the first line, its LF included.
fn find_line(bytes: &[u8]) -> Option<usize> {
    bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .map(|end| end + 1)
}

fn take(rest: &[u8], left: u64) -> usize {
    usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()))
}

fn parse_head(head: &[u8]) -> Option<Head> {
    let mut lines = head
        .split(|byte| *byte == b'\n')
        .map(|line| line.trim_ascii_end());
    let first = lines.next()?;
    let version = first.rsplit(|byte| *byte == b' ').next()?;
    let mut keep_alive = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return None,
    };
    let mut body = Body::Exact(0);
    let mut expects_continue = false;
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // The length first: nearly every field is told apart by it, without comparing.
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                body = Body::Exact(decimal(value)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                value.eq_ignore_ascii_case(b"chunked").then_some(())?;
                body = Body::Chunked;
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    if option.eq_ignore_ascii_case(b"close") {
                        keep_alive = false;
                    } else if option.eq_ignore_ascii_case(b"keep-alive") {
                        keep_alive = true;
                    }
                }
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                expects_continue = value.eq_ignore_ascii_case(b"100-continue");
            }
            _ => {}
        }
    }
    let request = Request {
        is_head: first.starts_with(b"HEAD "),
        keep_alive,
    };
    Some(Head {
        request,
        body,
        expects_continue,
    })
}

fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// RFC 9112 §7.1; extensions are ignored.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::{Request, Scanner, Seen};

    const KEPT: Seen = Seen::Request(Request {
        is_head: false,
        keep_alive: true,
    });
    const CLOSED: Seen = Seen::Request(Request {
        is_head: false,
        keep_alive: false,
    });

    /// Every split of the input in two must show the same.
    fn check(input: &str, expected: &[Seen]) {
        for split in 0..=input.len() {
            let mut scanner = Scanner::default();
            let mut seen = Vec::new();
            scanner.feed(&input.as_bytes()[..split], &mut seen);
            scanner.feed(&input.as_bytes()[split..], &mut seen);
            assert_eq!(seen, expected, "{input:?} split at {split}");
        }
    }

    #[test]
    fn requests_end_where_their_bodies_end() {
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[KEPT]);
        check(
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            &[KEPT, KEPT],
        );
        check(
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n",
            &[KEPT, CLOSED],
        );
        check(
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            &[KEPT, KEPT],
        );
        check("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", &[KEPT]);
        check(
            "GET / HTTP/1.1\r\nConnection: x, close\r\n\r\nGET ",
            &[CLOSED],
        );
        check(
            "HEAD / HTTP/1.1\r\n\r\n",
            &[Seen::Request(Request {
                is_head: true,
                keep_alive: true,
            })],
        );
        check(
            "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
            &[Seen::ExpectContinue, KEPT],
        );
    }

    #[test]
    fn what_has_no_end_is_malformed_once() {
        check("garbage\r\n\r\nGET / HTTP/1.1\r\n\r\n", &[Seen::Malformed]);
        check(
            "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            &[Seen::Malformed],
        );
        check(
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            &[Seen::Malformed],
        );
    }

    #[test]
    fn an_idle_connection_holds_no_buffer() {
        let mut scanner = Scanner::default();
        let mut seen = Vec::new();
        scanner.feed(b"GET / HT", &mut seen);
        scanner.feed(b"TP/1.1\r\n\r\n", &mut seen);
        assert!(scanner.is_between_requests());
        assert_eq!(scanner.partial.capacity(), 0);
    }
}
