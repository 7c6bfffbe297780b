//! Field blocks: put together from HEADERS and CONTINUATION, decoded, and judged by the state of their stream.

use super::reader::{OpenBlock, Reading};
use super::{Connection, Drain, Event, Role};
use crate::framing::{BodyLength, ResponseBody};
use crate::http2::error::{Flood, Malformed, Violation};
use crate::http2::frame::{Continuation, FrameHeader, Headers, StreamId};
use crate::http2::head::{
    Ignored, RequestAssembly, RequestFault, ResponseAssembly, TrailersAssembly,
};
use crate::http2::stream::{Closed, Receive, Stream};
use std::time::Instant;

/// A complete field block.
#[derive(Clone, Copy)]
struct Block<'b> {
    stream: StreamId,
    bytes: &'b [u8],
    ends: bool,
    depends_on_itself: bool,
}

impl Connection {
    pub(super) fn on_headers(
        &mut self,
        now: Instant,
        header: FrameHeader,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, Violation> {
        let headers = Headers::parse(header, payload).map_err(|error| error.violation)?;
        let stream = header.stream;
        let depends_on_itself = headers
            .priority
            .is_some_and(|priority| priority.depends_on == stream);
        if headers.ends_block {
            let block = Block {
                stream,
                bytes: headers.block,
                ends: headers.ends_stream,
                depends_on_itself,
            };
            return self.on_block(now, block, out);
        }
        self.check_block_len(headers.block.len())?;
        self.block = Some(Box::new(OpenBlock {
            stream,
            ends_stream: headers.ends_stream,
            depends_on_itself,
            bytes: headers.block.to_vec(),
            continuations: 0,
        }));
        Ok(None)
    }

    pub(super) fn on_continuation(
        &mut self,
        now: Instant,
        header: FrameHeader,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, Violation> {
        let continuation = Continuation::parse(header, payload);
        let Some(mut open) = self.block.take() else {
            return Err(Violation::ContinuationUnexpected);
        };
        open.continuations = open.continuations.saturating_add(1);
        self.settings
            .budget
            .check_continuation(open.continuations)?;
        open.bytes.extend_from_slice(continuation.block);
        self.check_block_len(open.bytes.len())?;
        if !continuation.ends_block {
            self.block = Some(open);
            return Ok(None);
        }
        let block = Block {
            stream: open.stream,
            bytes: &open.bytes,
            ends: open.ends_stream,
            depends_on_itself: open.depends_on_itself,
        };
        self.on_block(now, block, out)
    }

    /// What is collected is bounded before it can be decoded: a block is at most as large as its fields, plus what
    /// encoding them in the worst way adds.
    fn check_block_len(&self, length: usize) -> Result<(), Violation> {
        match length > self.settings.head.head_bytes_max.saturating_mul(2) {
            true => Err(Flood::BlockBytes.into()),
            false => Ok(()),
        }
    }

    fn on_block(
        &mut self,
        now: Instant,
        block: Block<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, Violation> {
        match self.streams.get(block.stream).map(|stream| stream.receive) {
            _ if block.depends_on_itself && !self.is_refused_at_once(block.stream) => {
                self.decode_ignored(block)?;
                self.open_id(block.stream);
                self.fail_stream(now, block.stream, Violation::DependsOnItself, out)
            }
            Some(Receive::Head) => self.on_response(now, block, out),
            Some(Receive::Content) => self.on_trailers(now, block, out),
            Some(Receive::Ended) => {
                self.decode_ignored(block)?;
                self.fail_stream(now, block.stream, Violation::StreamClosed, out)
            }
            None => match self.role {
                Role::Server => self.on_request(now, block, out),
                Role::Client => {
                    self.decode_ignored(block)?;
                    self.on_late_frame(now, block.stream).map(|()| None)
                }
            },
        }
    }

    /// Whether a block on this stream is a violation of the connection, or ignored, whatever is in it.
    fn is_refused_at_once(&self, stream: StreamId) -> bool {
        self.streams.get(stream).is_none()
            && (self.role == Role::Client || !stream.is_of_client() || stream <= self.last_peer_id)
    }

    /// RFC 9113 §5.1.1: all ids below are used up with it.
    fn open_id(&mut self, stream: StreamId) {
        if self.role == Role::Server {
            self.last_peer_id = self.last_peer_id.max(stream);
        }
    }

    fn on_request(
        &mut self,
        now: Instant,
        block: Block<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, Violation> {
        if !block.stream.is_of_client() {
            return Err(Violation::StreamIdInvalid);
        }
        if let Drain::Final(last) = self.drain
            && block.stream > last
        {
            // It may be tried elsewhere: GOAWAY said so (RFC 9113 §6.8).
            self.budget.on_idle_frame(now, &self.settings.budget)?;
            self.decode_ignored(block)?;
            self.open_id(block.stream);
            return Ok(None);
        }
        if block.stream <= self.last_peer_id {
            self.decode_ignored(block)?;
            // RFC 9113 §5.1.1 for an id that was skipped, §5.1 for one that was used.
            return match self.closed.find(block.stream) {
                Closed::Unknown => Err(Violation::StreamIdInvalid),
                _ => self.on_late_frame(now, block.stream).map(|()| None),
            };
        }
        self.open_id(block.stream);
        if self.streams.len() >= self.settings.streams_max as usize {
            self.decode_ignored(block)?;
            return self.fail_stream(now, block.stream, Violation::TooManyStreams, out);
        }
        let list_bytes_max = self.settings.head.head_bytes_max;
        let heads = self.heads.get_or_insert_default();
        let mut assembly =
            RequestAssembly::new(&mut heads.request, &mut heads.scratch, &self.settings.head);
        let list = self
            .decoder
            .decode(block.bytes, list_bytes_max, &mut assembly)?;
        let method = assembly.method();
        let judged = assembly.finish(list, block.ends);
        self.budget.earn(&self.settings.budget);
        let stream = block.stream;
        match judged {
            Ok(()) => {
                let content_left = match heads.request.body() {
                    BodyLength::Exact(bytes) => Some(bytes),
                    BodyLength::Chunked => None,
                };
                self.streams.push(Stream {
                    receive: Receive::after(block.ends),
                    content_left,
                    ..self.new_stream(stream, method)
                });
                let ends = block.ends;
                Ok(Some(Event::Head { stream, ends }))
            }
            Err(RequestFault::Refused(error)) => {
                self.streams.push(Stream {
                    receive: Receive::after(block.ends),
                    discards: true,
                    ..self.new_stream(stream, method)
                });
                Ok(Some(Event::Refused {
                    stream,
                    method,
                    error,
                }))
            }
            Err(RequestFault::Malformed(malformed)) => {
                self.fail_stream(now, stream, malformed.into(), out)
            }
        }
    }

    fn on_response(
        &mut self,
        now: Instant,
        block: Block<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, Violation> {
        let list_bytes_max = self.settings.head.head_bytes_max;
        let heads = self.heads.get_or_insert_default();
        let mut assembly = ResponseAssembly::new(&mut heads.response, &self.settings.head);
        let list = self
            .decoder
            .decode(block.bytes, list_bytes_max, &mut assembly)?;
        let Some(stream) = self.streams.get_mut(block.stream) else {
            return Ok(None);
        };
        if let Err(malformed) = assembly.finish(list, block.ends, stream.method) {
            return self.fail_stream(now, block.stream, malformed.into(), out);
        }
        if !heads.response.is_interim() {
            stream.receive = Receive::Content;
            stream.content_left = match heads.response.body() {
                ResponseBody::None => Some(0),
                ResponseBody::Exact(bytes) => Some(bytes),
                ResponseBody::Chunked | ResponseBody::UntilClose => None,
            };
        }
        if block.ends {
            stream.receive = Receive::Ended;
            self.forget_if_closed(block.stream, out);
        }
        let (stream, ends) = (block.stream, block.ends);
        Ok(Some(Event::Head { stream, ends }))
    }

    fn on_trailers(
        &mut self,
        now: Instant,
        block: Block<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, Violation> {
        let list_bytes_max = self.settings.head.head_bytes_max;
        let heads = self.heads.get_or_insert_default();
        let mut assembly = TrailersAssembly::new(&mut heads.trailers, &self.settings.head);
        let list = self
            .decoder
            .decode(block.bytes, list_bytes_max, &mut assembly)?;
        let mut judged = assembly.finish(list);
        if !block.ends {
            judged = Err(Malformed::TrailersUnended);
        }
        let Some(stream) = self.streams.get_mut(block.stream) else {
            return Ok(None);
        };
        if let Err(malformed) = judged.and_then(|()| stream.take_content(0, true)) {
            return self.fail_stream(now, block.stream, malformed.into(), out);
        }
        stream.receive = Receive::Ended;
        let discards = stream.discards;
        self.forget_if_closed(block.stream, out);
        let stream = block.stream;
        Ok((!discards).then_some(Event::Trailers { stream }))
    }

    fn decode_ignored(&mut self, block: Block<'_>) -> Result<(), Violation> {
        self.decoder.decode(block.bytes, 0, &mut Ignored)?;
        Ok(())
    }

    /// Whether the peer owes the rest of something that is short: the beginning of the connection, a field block, a
    /// frame that is read as a whole. Content may take its time.
    pub fn awaits_rest(&self) -> bool {
        let in_frame = matches!(self.reading, Reading::Preface { .. } | Reading::Payload(_));
        in_frame || self.block.is_some() || !self.has_settings
    }
}
