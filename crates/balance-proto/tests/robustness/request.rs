//! A request from its bytes to the bytes that a backend gets, read by read as the data path does
//! it.

use crate::rows::Row;
use balance_core::{PathPolicy, UnderscorePolicy};
use balance_proto::authority::Authority;
use balance_proto::http1::{
    ChunkedDecoder, ConnectionLine, HeadSettings, Keep, Progress, RequestHead, encode_request,
    worth_parsing,
};
use balance_proto::hygiene::{ForwardContext, edit_request};
use balance_proto::{BodyLength, FramingLine, HeadEdits, RequestView, Scheme};

/// What became of a request.
#[derive(Default)]
struct Outcome {
    verdict: String,
    forwarded: Vec<u8>,
    rest: Vec<u8>,
}

pub(crate) fn check(row: &Row, pieces: &[&[u8]]) -> Result<(), String> {
    let outcome = drive(pieces, &settings(row));
    if outcome.verdict != row.verdict {
        return Err(format!("{} instead of {}", outcome.verdict, row.verdict));
    }
    if row.verdict != "ok" {
        return Ok(());
    }
    let seen = without_own_fields(&outcome.forwarded);
    if seen != row.forwarded {
        return Err(format!("forwarded {}", seen.escape_ascii()));
    }
    if outcome.rest != row.rest {
        return Err(format!("left over {}", outcome.rest.escape_ascii()));
    }
    Ok(())
}

pub(crate) fn settings(row: &Row) -> HeadSettings {
    let mut settings = HeadSettings::default();
    settings.paths = match row.option("paths") {
        Some("off") => PathPolicy::Off,
        Some("reject") => PathPolicy::Reject,
        _ => settings.paths,
    };
    settings.underscores = match row.option("underscores") {
        Some("pass") => UnderscorePolicy::Pass,
        Some("reject") => UnderscorePolicy::Reject,
        _ => settings.underscores,
    };
    settings
}

fn drive(pieces: &[&[u8]], settings: &HeadSettings) -> Outcome {
    let mut outcome = Outcome::default();
    let mut head = RequestHead::default();
    let mut buffer = Vec::new();
    let mut seen = 0;
    let mut pieces = pieces.iter();
    let consumed = loop {
        // Before the first piece too: no input is no error.
        if worth_parsing(&buffer, seen) {
            match head.parse(&buffer, settings) {
                Err(error) => return refused(outcome, error.status().to_string()),
                Ok(Progress::Complete { consumed }) => break consumed,
                Ok(Progress::Partial) => seen = buffer.len(),
            }
        }
        match pieces.next() {
            Some(piece) => buffer.extend_from_slice(piece),
            None => return unfinished(outcome, &mut head, &buffer, settings),
        }
    };
    if let Err(status) = forward_head(&mut outcome.forwarded, &head) {
        return refused(outcome, status);
    }
    let mut body = Body::new(head.body());
    let first = buffer[consumed..].to_vec();
    for piece in std::iter::once(first.as_slice()).chain(pieces.copied()) {
        if let Err(verdict) = body.on_piece(piece, &mut outcome) {
            return refused(outcome, verdict);
        }
    }
    outcome.verdict = if body.is_done() { "ok" } else { "partial" }.to_owned();
    outcome
}

/// `worth_parsing` may put off what is wrong with a head that never ends. It must not be accepted
/// then either.
fn unfinished(
    outcome: Outcome,
    head: &mut RequestHead,
    buffer: &[u8],
    settings: &HeadSettings,
) -> Outcome {
    match head.parse(buffer, settings) {
        Err(error) => refused(outcome, error.status().to_string()),
        Ok(Progress::Partial) => refused(outcome, "partial".to_owned()),
        Ok(Progress::Complete { .. }) => refused(outcome, "complete, but not parsed".to_owned()),
    }
}

fn refused(outcome: Outcome, verdict: String) -> Outcome {
    Outcome { verdict, ..outcome }
}

/// Writes the head as a backend gets it, or says with which status it is refused.
pub(crate) fn forward_head(forwarded: &mut Vec<u8>, head: &RequestHead) -> Result<(), String> {
    let mut edits = HeadEdits::default();
    let ctx = ForwardContext {
        peer: [192, 0, 2, 1].into(),
        client: [192, 0, 2, 1].into(),
        peer_is_trusted: false,
        scheme: Scheme::Http,
        via_name: "balance-00000000",
        new_request_id: b"00000000000000000000000000000000",
        add_forwarded: false,
    };
    edit_request(head, &mut edits, &ctx).map_err(|error| error.status().to_string())?;
    if head.authority().is_empty() {
        edits.replace_authority(Authority::new(b"backend.test").expect("a host name"));
    }
    let connection = match head.upgrade() {
        Some(protocol) => ConnectionLine::Upgrade(protocol),
        None => ConnectionLine::None,
    };
    let framing = FramingLine::for_request(head.method_kind(), head.body());
    encode_request(forwarded, head, &edits, framing, connection);
    Ok(())
}

enum Body {
    Left(u64),
    Chunked(ChunkedDecoder),
}

impl Body {
    fn new(length: BodyLength) -> Self {
        match length {
            BodyLength::Exact(bytes) => Self::Left(bytes),
            BodyLength::Chunked => Self::Chunked(ChunkedDecoder::default()),
        }
    }

    fn on_piece(&mut self, piece: &[u8], outcome: &mut Outcome) -> Result<(), String> {
        match self {
            Self::Left(left) => {
                let taken = piece.len().min(*left as usize);
                *left -= taken as u64;
                outcome.forwarded.extend_from_slice(&piece[..taken]);
                outcome.rest.extend_from_slice(&piece[taken..]);
            }
            Self::Chunked(decoder) => {
                let mut piece = piece.to_vec();
                let filtered = decoder
                    .filter(&mut piece, Keep::Framing)
                    .map_err(|_| "400-body".to_owned())?;
                outcome.forwarded.extend_from_slice(&piece[..filtered.kept]);
                outcome.rest.extend_from_slice(&piece[filtered.consumed..]);
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Left(left) => *left == 0,
            Self::Chunked(decoder) => decoder.is_done(),
        }
    }
}

/// Takes out the lines that `edit_request` added; that they are right is tested where they are
/// made.
pub(crate) fn without_own_fields(message: &[u8]) -> Vec<u8> {
    let head_end = message
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("an encoded head ends with an empty line");
    let (head, body) = message.split_at(head_end + 2);
    let own: [&[u8]; 6] = [
        b"X-Forwarded-For: 192.0.2.1\r\n",
        b"X-Forwarded-Proto: http\r\n",
        b"X-Forwarded-Host: ",
        b"X-Real-IP: 192.0.2.1\r\n",
        b"Via: ",
        b"X-Request-ID: 0000",
    ];
    let mut out: Vec<u8> = head
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !own.iter().any(|start| line.starts_with(start)))
        .flatten()
        .copied()
        .collect();
    out.extend_from_slice(body);
    out
}
