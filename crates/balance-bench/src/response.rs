//! Reads HTTP/1 responses one after another: where each ends, and whether the connection outlives it.
//!
//! It judges nothing beyond that: it measures, and must not be what costs.

use crate::message::{Body, Step, find_head_end, lines, parse_fields};

/// A response that has arrived completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Whether the connection stays open behind it (RFC 9112 §9.3).
    pub(crate) keep_alive: bool,
}

/// What came is not an HTTP/1 response, or its end cannot be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The place in the byte stream of one connection.
#[derive(Debug)]
pub(crate) struct Reader {
    /// The request was HEAD: no response has a body (RFC 9110 §9.3.2).
    is_head: bool,
    state: State,
    /// A head or a chunk line that is not complete yet. Empty otherwise.
    partial: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Body(Response, Body),
}

/// A head or chunk line longer than this is malformed.
const PARTIAL_BYTES_MAX: usize = 256 * 1024;

impl Reader {
    pub(crate) fn new(is_head: bool) -> Self {
        Self {
            is_head,
            state: State::Head,
            partial: Vec::new(),
        }
    }

    /// Takes the next bytes of the connection, up to the end of the first response they complete. Returns how many
    /// were taken: all of them, unless a response was completed. Interim responses are skipped.
    ///
    /// # Errors
    /// No end can be found any more: the connection is of no further use.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(usize, Option<Response>), Malformed> {
        if self.partial.is_empty() {
            let (used, response) = self.scan(bytes)?;
            if response.is_none() {
                self.keep(&bytes[used..])?;
                return Ok((bytes.len(), None));
            }
            return Ok((used, response));
        }
        let mut joined = std::mem::take(&mut self.partial);
        let old = joined.len();
        joined.extend_from_slice(bytes);
        let (used, response) = self.scan(&joined)?;
        if response.is_none() {
            self.keep(&joined[used..])?;
            return Ok((bytes.len(), None));
        }
        // What was kept had no complete line in it, so at least one new byte was needed.
        Ok((used.saturating_sub(old), response))
    }

    /// The peer has closed. Some: that was the end of the response (RFC 9112 §6.3 item 8).
    pub(crate) fn on_close(&mut self) -> Option<Response> {
        match std::mem::replace(&mut self.state, State::Head) {
            State::Body(response, Body::UntilClose) => Some(response),
            _ => None,
        }
    }

    /// Forgets what has arrived: the next bytes are those of another connection.
    pub(crate) fn restart(&mut self) {
        self.state = State::Head;
        self.partial.clear();
    }

    fn keep(&mut self, rest: &[u8]) -> Result<(), Malformed> {
        if rest.len() > PARTIAL_BYTES_MAX {
            return Err(Malformed);
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    /// Returns how many bytes were used; without a response the rest is an incomplete head or line.
    fn scan(&mut self, bytes: &[u8]) -> Result<(usize, Option<Response>), Malformed> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.state {
                State::Head => {
                    let Some(head_len) = find_head_end(rest) else {
                        return if could_be_head(rest) {
                            Ok((at, None))
                        } else {
                            Err(Malformed)
                        };
                    };
                    at += head_len;
                    let (response, body) = self.parse_head(&rest[..head_len])?;
                    if response.status < 200 {
                        continue;
                    }
                    if body == Body::Exact(0) {
                        return Ok((at, Some(response)));
                    }
                    self.state = State::Body(response, body);
                }
                State::Body(response, body) => match body.step(rest) {
                    Step::Used(used) => at += used,
                    Step::Ended(used) => {
                        let response = *response;
                        self.state = State::Head;
                        return Ok((at + used, Some(response)));
                    }
                    Step::Partial => return Ok((at, None)),
                    Step::Malformed => return Err(Malformed),
                },
            }
        }
        Ok((at, None))
    }

    fn parse_head(&self, head: &[u8]) -> Result<(Response, Body), Malformed> {
        let mut lines = lines(head);
        let first = lines.next().ok_or(Malformed)?;
        let version_keeps = match first {
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor, b' ', ..] => *minor == b'1',
            _ => return Err(Malformed),
        };
        let status = match &first[9..] {
            [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9']
            | [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', ..] => {
                let digit = |byte: u8| u16::from(byte - b'0');
                digit(*a) * 100 + digit(*b) * 10 + digit(*c)
            }
            _ => return Err(Malformed),
        };
        let fields = parse_fields(lines).ok_or(Malformed)?;
        let body = if self.is_head || status < 200 || status == 204 || status == 304 {
            Body::Exact(0)
        } else {
            fields.body.unwrap_or(Body::UntilClose)
        };
        let response = Response {
            status,
            keep_alive: fields.keep_alive.unwrap_or(version_keeps) && body != Body::UntilClose,
        };
        Ok((response, body))
    }
}

/// Whether an incomplete head may still become one: a server of another protocol must not be waited for.
fn could_be_head(rest: &[u8]) -> bool {
    const START: &[u8] = b"HTTP/1.";
    let shared = rest.len().min(START.len());
    rest[..shared] == START[..shared]
}

#[cfg(test)]
mod tests {
    use super::{Malformed, Reader, Response};

    type Seen = Result<Vec<(u16, bool)>, Malformed>;

    /// Feeds the pieces, then the end of the connection.
    fn read(pieces: [&[u8]; 2], is_head: bool) -> Seen {
        let mut reader = Reader::new(is_head);
        let mut seen = Vec::new();
        let mut push = |response: Response| seen.push((response.status, response.keep_alive));
        for mut piece in pieces {
            while !piece.is_empty() {
                let (used, response) = reader.feed(piece)?;
                piece = &piece[used..];
                response.map(&mut push);
            }
        }
        reader.on_close().map(&mut push);
        Ok(seen)
    }

    /// Every split of the input in two must show the same.
    fn check(input: &str, expected: &[(u16, bool)]) {
        for split in 0..=input.len() {
            let (first, second) = input.as_bytes().split_at(split);
            let seen = read([first, second], false);
            assert_eq!(seen.as_deref(), Ok(expected), "{input:?} split at {split}");
        }
    }

    #[test]
    fn responses_end_where_their_bodies_end() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 204\r\n\r\n",
            &[(200, true), (204, true)],
        );
        check(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nT: 1\r\n\r\n",
            &[(404, true)],
        );
        check("HTTP/1.1 200 OK\r\n\r\nuntil close", &[(200, false)]);
        check(
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
            &[(200, false)],
        );
        check(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            &[(200, false)],
        );
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", &[]);
    }

    #[test]
    fn a_response_to_head_has_no_body() {
        let input = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(read([input, b""], true), Ok(vec![(200, true)]));
    }

    #[test]
    fn what_is_no_response_is_refused_at_once() {
        for input in [
            "SSH-2.0",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "HTTP/1.1 2000\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        ] {
            assert_eq!(
                read([input.as_bytes(), b""], false),
                Err(Malformed),
                "{input:?}"
            );
        }
    }
}
