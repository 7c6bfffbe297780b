//! Requests on a connection of HTTP/1.1: one at a time.

use std::io::{self, ErrorKind};

use super::{Arrived, Completed, Turn, UnderWay};
use crate::link::Link;
use crate::response::Reader;

pub(super) struct Http1 {
    reader: Reader,
    request: Option<UnderWay>,
    /// Bytes of the request that are written.
    sent: usize,
}

impl Http1 {
    pub(super) fn new(is_head: bool) -> Self {
        Self {
            reader: Reader::new(is_head),
            request: None,
            sent: 0,
        }
    }

    pub(super) fn under_way(&self) -> impl Iterator<Item = UnderWay> {
        self.request.into_iter()
    }

    pub(super) fn begin(&mut self, request: UnderWay) {
        self.request = Some(request);
        self.sent = 0;
    }

    /// The next bytes are those of another connection.
    pub(super) fn restart(&mut self) {
        self.request = None;
        self.reader.restart();
    }

    /// # Errors
    /// The connection failed.
    pub(super) fn send(&mut self, link: &mut Link, turn: &mut Turn<'_>) -> io::Result<()> {
        let bytes = &turn.request.bytes;
        if self.request.is_some() && !link.send(bytes, &mut self.sent, turn.records)? {
            return Ok(());
        }
        link.flush_some()
    }

    /// Reads what is there. `has_ended`: the end of the connection was announced, and will not be again. False: it is
    /// of no further use.
    ///
    /// # Errors
    /// The connection failed, or `InvalidData`: what came is no HTTP/1 response.
    pub(super) fn read(
        &mut self,
        link: &mut Link,
        turn: &mut Turn<'_>,
        has_ended: bool,
        arrived: &mut Arrived,
    ) -> io::Result<bool> {
        loop {
            let received = match link.receive(turn.scratch, turn.records) {
                Ok(Some(received)) => received,
                Ok(None) => return Ok(true),
                // A connection that nothing was asked on may end in any way.
                Err(_) if self.request.is_none() => return Ok(false),
                Err(error) => return Err(error),
            };
            if received.bytes == 0 {
                self.on_end(arrived)?;
                return Ok(false);
            }
            arrived.bytes += received.bytes as u64;
            let bytes = &turn.scratch[..received.bytes];
            if !self.take(bytes, turn.request.bytes.len(), arrived)? {
                return Ok(false);
            }
            // The next bytes are a new edge.
            if received.is_drained && !has_ended {
                return Ok(true);
            }
        }
    }

    fn take(
        &mut self,
        bytes: &[u8],
        request_bytes: usize,
        arrived: &mut Arrived,
    ) -> io::Result<bool> {
        let Some(request) = self.request else {
            return Err(ErrorKind::InvalidData.into());
        };
        let (used, response) = self
            .reader
            .feed(bytes)
            .map_err(|_| ErrorKind::InvalidData)?;
        let Some(response) = response else {
            return Ok(true);
        };
        if used < bytes.len() {
            return Err(ErrorKind::InvalidData.into());
        }
        self.request = None;
        arrived.responses.push(Completed {
            status: response.status,
            intended: request.intended,
        });
        Ok(response.keep_alive && self.sent == request_bytes)
    }

    fn on_end(&mut self, arrived: &mut Arrived) -> io::Result<()> {
        let response = self.reader.on_close();
        if self.request.is_some() && response.is_none() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if let (Some(request), Some(response)) = (self.request.take(), response) {
            arrived.responses.push(Completed {
                status: response.status,
                intended: request.intended,
            });
        }
        Ok(())
    }
}
