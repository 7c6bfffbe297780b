//! One request and its response at a time on a blocking connection of HTTP/2.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use anyhow::Context;
use balance_proto::http1::{HeadSettings, RequestHead, ResponseHead};
use balance_proto::http2::{Connection, ConnectionSettings, Event, Role, StreamId};
use balance_proto::{FramingLine, HeadEdits, ResponseView, Scheme};
use balance_tls::RECORD_PLAINTEXT_MAX;

pub(super) struct Http2 {
    /// Boxed: as many as there are connections lie in one table.
    connection: Box<Connection>,
    is_begun: bool,
}

/// The head of a request that is written as in HTTP/1.1.
///
/// # Errors
/// HTTP/2 has no such request.
pub(super) fn request(text: &str, scheme: Scheme) -> anyhow::Result<Box<RequestHead>> {
    let settings = HeadSettings {
        scheme,
        ..HeadSettings::default()
    };
    let mut head = Box::<RequestHead>::default();
    head.parse(text.as_bytes(), &settings)
        .context("HTTP/2 has no such request")?;
    Ok(head)
}

impl Http2 {
    pub(super) fn new() -> Self {
        let connection = Connection::new(Role::Client, ConnectionSettings::default());
        Self {
            connection: Box::new(connection),
            is_begun: false,
        }
    }

    /// Sends the request, reads the response to its end and returns its status.
    ///
    /// # Errors
    /// The connection failed, or `InvalidData`: what came is not HTTP/2, or the target takes no more requests.
    pub(super) fn exchange(
        &mut self,
        stream: &mut (impl Read + Write),
        head: &RequestHead,
    ) -> io::Result<u16> {
        let mut out = Vec::new();
        if !self.is_begun {
            self.connection.start(&mut out);
            self.is_begun = true;
        }
        let (edits, framing) = (HeadEdits::default(), FramingLine::None);
        let id = self
            .connection
            .send_request(&mut out, head, &edits, framing, true)
            .map_err(|_| ErrorKind::InvalidData)?;
        let mut block = vec![0; RECORD_PLAINTEXT_MAX];
        let mut response = ResponseHead::default();
        loop {
            stream.write_all(&out)?;
            stream.flush()?;
            out.clear();
            let read = stream.read(&mut block)?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if self.take(id, &block[..read], &mut response, &mut out)? {
                stream.write_all(&out)?;
                stream.flush()?;
                self.connection.release_memory();
                return Ok(response.status());
            }
        }
    }

    /// True: the response is complete.
    fn take(
        &mut self,
        id: StreamId,
        mut input: &[u8],
        response: &mut ResponseHead,
        out: &mut Vec<u8>,
    ) -> io::Result<bool> {
        let mut is_complete = false;
        loop {
            let event = self.connection.poll(Instant::now(), &mut input, out);
            let event = event.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            match event {
                None => return Ok(is_complete),
                Some(Event::Head { ends, .. }) => {
                    self.connection.take_response(response);
                    is_complete |= ends;
                }
                Some(Event::Data { bytes, ends, .. }) => {
                    self.connection.release(out, id, bytes.len());
                    is_complete |= ends;
                }
                Some(Event::Trailers { .. }) => is_complete = true,
                Some(Event::Reset { .. } | Event::Failed { .. }) => {
                    return Err(ErrorKind::InvalidData.into());
                }
                Some(_) => {}
            }
        }
    }
}
