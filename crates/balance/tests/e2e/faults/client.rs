//! The client of a case, of either version.

use std::net::SocketAddr;

use balance_testkit::{Framing, RawClient, Response, StrictError};

use super::lane::request_body;
use super::table::Request;
use crate::http2::raw::{DATA, END_STREAM, Frame, RawHttp2};

/// What the clients of a lane speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

pub(super) enum Client {
    Http1(RawClient),
    Http2(RawHttp2),
}

/// A response that is complete, as far as its client can tell.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
    /// The version itself says where it ends, also when its length was not announced.
    pub(super) has_end: bool,
    /// The next request may follow on this connection.
    pub(super) keeps_alive: bool,
}

impl Client {
    pub(super) fn connect(version: Version, web: SocketAddr) -> Self {
        match version {
            Version::Http1 => Self::Http1(RawClient::connect(web).unwrap()),
            Version::Http2 => Self::Http2(RawHttp2::connect(web)),
        }
    }

    /// Sends a request whose body is short, and reads the response. `encoded` is what it is in HTTP/1.
    pub(super) fn exchange(
        &mut self,
        request: Request,
        target: &str,
        encoded: &[u8],
    ) -> Result<Answer, StrictError> {
        match self {
            Self::Http1(client) => client.exchange(encoded).map(Answer::from),
            Self::Http2(client) => {
                let stream = begin(client, request, target);
                let body = request_body(target);
                match request {
                    Request::Get => {}
                    Request::Chunked => {
                        let (first, second) = body.split_at(body.len() / 2);
                        client.send(&Frame::new(DATA, 0, stream, first));
                        client.send(&Frame::new(DATA, END_STREAM, stream, second));
                    }
                    _ => client.send(&Frame::new(DATA, END_STREAM, stream, body)),
                }
                read(client, stream)
            }
        }
    }

    /// Sends a request but for the last `held_bytes` of its body, reads the response, and sends the rest, so that it is known
    /// who was first.
    pub(super) fn upload(
        &mut self,
        target: &str,
        encoded: &[u8],
        held_bytes: usize,
    ) -> Result<Answer, StrictError> {
        match self {
            Self::Http1(client) => {
                let (first, rest) = encoded.split_at(encoded.len() - held_bytes);
                client.send(first)?;
                let early = client.read_response().map(Answer::from);
                let _ = client.send(rest); // it may meet a closed connection
                early
            }
            Self::Http2(client) => {
                let stream = begin(client, Request::Uploading, target);
                let body = request_body(target).into_bytes();
                let (first, rest) = body.split_at(body.len() - held_bytes);
                client.send(&Frame::new(DATA, 0, stream, first));
                let early = read(client, stream);
                client.send(&Frame::new(DATA, END_STREAM, stream, rest));
                early
            }
        }
    }

    /// Whether a connection that serves nothing more is closed. One of HTTP/2 always may serve more.
    pub(super) fn is_closed_by_peer(&mut self) -> bool {
        match self {
            Self::Http1(client) => client.is_closed_by_peer(),
            Self::Http2(_) => false,
        }
    }

    /// Whether the next request can follow on this connection. A stream that breaks off leaves the others alone.
    pub(super) fn is_kept(&self, result: &Result<Answer, StrictError>) -> bool {
        match self {
            Self::Http1(_) => result.as_ref().is_ok_and(|answer| answer.keeps_alive),
            Self::Http2(_) => true,
        }
    }
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Self {
            status: response.status,
            text: response.text(),
            has_end: response.framing == Framing::Chunked,
            keeps_alive: response.keeps_alive(),
        }
    }
}

/// Sends the head of a request; its stream.
fn begin(client: &mut RawHttp2, request: Request, target: &str) -> u32 {
    let length = request_body(target).len().to_string();
    match request {
        Request::Get => client.ask(target),
        Request::Chunked => client.begin("POST", target, &[], 0),
        _ => client.begin("POST", target, &[("content-length", &length)], 0),
    }
}

/// In the words of the other version: a stream that is reset behind the head of its response is one that was cut off.
fn read(client: &mut RawHttp2, stream: u32) -> Result<Answer, StrictError> {
    let received = client.receive(stream);
    match (received.reset, received.status) {
        (None, status) => Ok(Answer {
            status,
            text: String::from_utf8_lossy(&received.body).into_owned(),
            has_end: true,
            keeps_alive: true,
        }),
        (Some(_), 0) => Err(StrictError::Closed),
        (Some(_), _) => Err(StrictError::Reset),
    }
}
