//! Finds where requests end: enough of HTTP/1 to answer each request once and in order, whatever
//! body it has. It does not judge requests beyond that: the proxy under test has to.

use crate::message::{Body, Step, empty_line, find_head_end, lines, parse_fields};

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
    Body(Request, Body),
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
            State::Body(request, mut body) => {
                let step = body.step(rest);
                self.state = State::Body(request, body);
                match step {
                    Step::Used(used) => Some(used),
                    Step::Ended(used) => {
                        self.complete(request, seen);
                        Some(used)
                    }
                    Step::Partial => None,
                    Step::Malformed => {
                        self.die(seen);
                        Some(rest.len())
                    }
                }
            }
            State::Dead => Some(rest.len()),
        }
    }

    fn on_head(&mut self, head: Head, seen: &mut Vec<Seen>) {
        if head.body == Body::Exact(0) {
            return self.complete(head.request, seen);
        }
        self.state = State::Body(head.request, head.body);
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

fn parse_head(head: &[u8]) -> Option<Head> {
    let mut lines = lines(head);
    let first = lines.next()?;
    let version = first.rsplit(|byte| *byte == b' ').next()?;
    let version_keeps = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return None,
    };
    let fields = parse_fields(lines)?;
    let request = Request {
        is_head: first.starts_with(b"HEAD "),
        keep_alive: fields.keep_alive.unwrap_or(version_keeps),
    };
    Some(Head {
        request,
        body: fields.body.unwrap_or(Body::Exact(0)),
        expects_continue: fields.expects_continue,
    })
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
