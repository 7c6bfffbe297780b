//! A backend's response from its bytes to the bytes that a client gets.

use crate::rows::Row;
use balance_core::Method;
use balance_proto::http1::{
    ChunkedDecoder, ConnectionLine, HeadSettings, Keep, LAST_CHUNK, Progress, ResponseContext,
    ResponseHead, encode_chunk_head, encode_response,
};
use balance_proto::hygiene::edit_response;
use balance_proto::{FramingLine, HeadEdits, ResponseBody, ResponseView, Version};

#[derive(Default)]
struct Outcome {
    verdict: &'static str,
    forwarded: Vec<u8>,
    rest: Vec<u8>,
    is_reusable: bool,
}

pub(crate) fn check(row: &Row, pieces: &[&[u8]]) -> Result<(), String> {
    let outcome = Exchange::new(row).drive(pieces);
    if outcome.verdict != row.verdict {
        return Err(format!("{} instead of {}", outcome.verdict, row.verdict));
    }
    if row.verdict != "ok" {
        return Ok(());
    }
    if outcome.forwarded != row.forwarded {
        return Err(format!("forwarded {}", outcome.forwarded.escape_ascii()));
    }
    if outcome.rest != row.rest {
        return Err(format!("left over {}", outcome.rest.escape_ascii()));
    }
    if outcome.is_reusable != (row.option("reuse") != Some("no")) {
        return Err(format!("reusable: {}", outcome.is_reusable));
    }
    Ok(())
}

struct Exchange {
    context: ResponseContext,
    to: Version,
    head: ResponseHead,
    edits: HeadEdits,
    outcome: Outcome,
}

impl Exchange {
    fn new(row: &Row) -> Self {
        Self {
            context: ResponseContext {
                request_method: match row.option("request") {
                    Some("HEAD") => Method::Head,
                    _ => Method::Get,
                },
                upgrade_offered: row.option("upgrade").is_some(),
            },
            to: match row.option("to") {
                Some("1.0") => Version::Http10,
                _ => Version::Http11,
            },
            head: ResponseHead::default(),
            edits: HeadEdits::default(),
            outcome: Outcome::default(),
        }
    }

    fn drive(mut self, pieces: &[&[u8]]) -> Outcome {
        let settings = HeadSettings::default();
        let mut buffer: Vec<u8> = Vec::new();
        let mut pieces = pieces.iter();
        loop {
            match self.head.parse(&buffer, self.context, &settings) {
                Err(_) => return self.end("502"),
                Ok(Progress::Complete { consumed }) => {
                    buffer.drain(..consumed);
                    if !self.head.is_interim() {
                        break;
                    }
                    if self.to != Version::Http10 {
                        self.forward_head(FramingLine::None);
                    }
                }
                Ok(Progress::Partial) => match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => return self.end("partial"),
                },
            }
        }
        let body = self.head.body();
        let status = self.head.status();
        let framing = FramingLine::for_response(self.context.request_method, status, body, self.to);
        self.forward_head(framing);
        buffer.extend(pieces.copied().flatten());
        let verdict = self.forward_body(body, framing, &mut buffer);
        self.outcome.is_reusable =
            self.head.keep_alive() && self.outcome.rest.is_empty() && !self.head.is_switching();
        self.end(verdict)
    }

    fn end(self, verdict: &'static str) -> Outcome {
        Outcome {
            verdict,
            ..self.outcome
        }
    }

    fn forward_head(&mut self, framing: FramingLine) {
        self.edits.clear();
        edit_response(&self.head, &mut self.edits, None);
        let ends_with_close = matches!(
            self.head.body(),
            ResponseBody::Chunked | ResponseBody::UntilClose
        );
        let connection = match self.head.upgrade() {
            Some(protocol) => ConnectionLine::Upgrade(protocol),
            None if self.to == Version::Http10 && ends_with_close => ConnectionLine::Close,
            None => ConnectionLine::None,
        };
        encode_response(
            &mut self.outcome.forwarded,
            &self.head,
            &self.edits,
            self.to,
            framing,
            connection,
        );
    }

    fn forward_body(
        &mut self,
        body: ResponseBody,
        framing: FramingLine,
        rest: &mut Vec<u8>,
    ) -> &'static str {
        let taken = match body {
            ResponseBody::None => 0,
            ResponseBody::Exact(bytes) if (rest.len() as u64) < bytes => return "incomplete",
            ResponseBody::Exact(bytes) => bytes as usize,
            ResponseBody::UntilClose => rest.len(),
            ResponseBody::Chunked => return self.forward_chunks(framing, rest),
        };
        let payload: Vec<u8> = rest.drain(..taken).collect();
        if framing == FramingLine::Chunked {
            let (head, n) = encode_chunk_head(payload.len() as u64);
            self.outcome.forwarded.extend_from_slice(&head[..n]);
            self.outcome.forwarded.extend_from_slice(&payload);
            self.outcome.forwarded.extend_from_slice(b"\r\n");
            self.outcome.forwarded.extend_from_slice(LAST_CHUNK);
        } else {
            self.outcome.forwarded.extend_from_slice(&payload);
        }
        self.outcome.rest = std::mem::take(rest);
        "ok"
    }

    fn forward_chunks(&mut self, framing: FramingLine, rest: &mut [u8]) -> &'static str {
        let keep = match framing {
            FramingLine::Chunked => Keep::Framing,
            _ => Keep::Payload,
        };
        // The decoder's own tests try every split.
        match ChunkedDecoder::default().filter(rest, keep) {
            Err(_) => "502-body",
            Ok(filtered) if !filtered.done => "incomplete",
            Ok(filtered) => {
                self.outcome
                    .forwarded
                    .extend_from_slice(&rest[..filtered.kept]);
                self.outcome.rest = rest[filtered.consumed..].to_vec();
                "ok"
            }
        }
    }
}
