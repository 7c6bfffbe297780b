//! Requests one behind the other on a connection, in two different series of reads: the same requests
//! come out, and a strict backend reads in what is forwarded exactly these.

use balance_proto::http1::{
    ChunkedDecoder, HeadSettings, Keep, Progress, RequestHead, worth_parsing,
};
use balance_proto::{BodyLength, RequestView};
use balance_testkit::Recorded;

use crate::corpus::{request_inputs, with_choice};
use crate::sender::{Sender, latin1};

/// The first byte chooses the reads, the rest is what a client sends.
pub fn check(input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else {
        return;
    };
    let whole = Connection::drive(bytes.chunks(bytes.len().max(1)));
    let piece_len = usize::from(*choice) % 61 + 1;
    let ragged = ragged_pieces(bytes, piece_len);
    assert_eq!(Connection::drive(ragged.into_iter()), whole, "ragged reads");
    assert_eq!(Connection::drive(bytes.chunks(1)), whole, "byte by byte");
    backend_reads_the_same(&whole);
}

/// Single requests, and pairs of them: the second is the canary of the first.
pub fn seeds() -> Vec<Vec<u8>> {
    let singles = request_inputs();
    let canary = b"GET /canary HTTP/1.1\r\nHost: a\r\n\r\n";
    let pairs = singles.iter().map(|first| [first, &canary[..]].concat());
    let mut seeds = with_choice(6, pairs.collect());
    let followed = singles.iter().map(|second| {
        let first = b"POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;e\r\nx\r\n0\r\n\r\n";
        [first, second.as_slice()].concat()
    });
    seeds.extend(with_choice(1, followed.collect()));
    seeds
}

/// How the connection stood when the input had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Within a head, or before the next one.
    InHead,
    InBody,
    HeadRefused,
    BodyRefused,
    /// After a request with which the client said close, or which may become a tunnel.
    Closed,
}

/// One request as it was forwarded. Of a request that was refused or not complete, only the head.
#[derive(Debug, PartialEq, Eq)]
struct Forwarded {
    method: Vec<u8>,
    target: Vec<u8>,
    head: Vec<u8>,
    body: Vec<u8>,
    payload: Vec<u8>,
    is_complete: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Connection {
    requests: Vec<Forwarded>,
    end: End,
}

impl Connection {
    /// Reads as the data path does: parse when it is worth it, take the body, go on with what is left.
    fn drive<'a>(mut pieces: impl Iterator<Item = &'a [u8]>) -> Self {
        let settings = HeadSettings::default();
        let mut head = RequestHead::default();
        let mut buffer = Vec::new();
        let mut requests = Vec::new();
        let end = loop {
            let consumed = match read_head(&mut head, &mut buffer, &mut pieces, &settings) {
                Ok(consumed) => consumed,
                Err(end) => break end,
            };
            buffer.drain(..consumed);
            let Ok(bytes) = Sender::UNTRUSTED.forward(&head, &head) else {
                break End::HeadRefused;
            };
            let mut forwarded = Forwarded {
                method: head.method().to_vec(),
                target: head.path_and_query().to_vec(),
                head: bytes,
                body: Vec::new(),
                payload: Vec::new(),
                is_complete: false,
            };
            let body = read_body(head.body(), &mut buffer, &mut pieces);
            let end = match body {
                Ok((body, payload)) => {
                    forwarded.body = body;
                    forwarded.payload = payload;
                    forwarded.is_complete = true;
                    (!head.keep_alive() || head.upgrade().is_some()).then_some(End::Closed)
                }
                Err(end) => Some(end),
            };
            requests.push(forwarded);
            if let Some(end) = end {
                break end;
            }
        };
        Self { requests, end }
    }
}

fn read_head<'a>(
    head: &mut RequestHead,
    buffer: &mut Vec<u8>,
    pieces: &mut impl Iterator<Item = &'a [u8]>,
    settings: &HeadSettings,
) -> Result<usize, End> {
    let mut seen = 0;
    loop {
        if seen == 0 || worth_parsing(buffer, seen) {
            match head.parse(buffer, settings) {
                Err(_) => return Err(End::HeadRefused),
                Ok(Progress::Complete { consumed }) => return Ok(consumed),
                Ok(Progress::Partial) => seen = buffer.len(),
            }
        }
        let Some(piece) = pieces.next() else {
            // Putting off a parse may put off an error; it must not put off a request.
            return Err(match head.parse(buffer, settings) {
                Ok(Progress::Partial) => End::InHead,
                Err(_) => End::HeadRefused,
                Ok(Progress::Complete { .. }) => panic!("a complete head was not worth parsing"),
            });
        };
        buffer.extend_from_slice(piece);
    }
}

/// The body as it is forwarded, and its payload. What follows it stays in `buffer`.
fn read_body<'a>(
    length: BodyLength,
    buffer: &mut Vec<u8>,
    pieces: &mut impl Iterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, Vec<u8>), End> {
    let (mut framing, mut payload) = (ChunkedDecoder::default(), ChunkedDecoder::default());
    let (mut framed, mut plain) = (Vec::new(), Vec::new());
    loop {
        match length {
            BodyLength::Exact(bytes) => {
                let left = bytes - plain.len() as u64;
                let taken = buffer
                    .len()
                    .min(usize::try_from(left).unwrap_or(usize::MAX));
                plain.extend(buffer.drain(..taken));
                if plain.len() as u64 == bytes {
                    return Ok((plain.clone(), plain));
                }
            }
            BodyLength::Chunked => {
                let mut copy = buffer.clone();
                let kept = payload.filter(&mut copy, Keep::Payload);
                let kept = kept.map_err(|_| End::BodyRefused)?.kept;
                plain.extend_from_slice(&copy[..kept]);
                let filtered = framing.filter(buffer, Keep::Framing);
                let filtered = filtered.map_err(|_| End::BodyRefused)?;
                framed.extend_from_slice(&buffer[..filtered.kept]);
                buffer.drain(..filtered.consumed);
                if filtered.done {
                    return Ok((framed, plain));
                }
            }
        }
        buffer.extend_from_slice(pieces.next().ok_or(End::InBody)?);
    }
}

/// The property that request smuggling breaks.
fn backend_reads_the_same(connection: &Connection) {
    let complete: Vec<&Forwarded> = connection
        .requests
        .iter()
        .filter(|request| request.is_complete)
        .collect();
    let mut bytes = Vec::new();
    for request in &complete {
        bytes.extend_from_slice(&request.head);
        bytes.extend_from_slice(&request.body);
    }
    let seen = Recorded::parse_all(&bytes).expect("a strict backend reads it");
    assert_eq!(seen.len(), complete.len(), "as many requests");
    for (seen, sent) in seen.iter().zip(complete) {
        assert_eq!(seen.method, latin1(&sent.method));
        assert_eq!(seen.target, latin1(&sent.target));
        assert_eq!(seen.body, sent.payload);
    }
}

/// Pieces of changing length, empty ones among them.
fn ragged_pieces(bytes: &[u8], piece_len: usize) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    let mut length = piece_len;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = after;
        length = (length * 5 + 3) % (piece_len + 7);
    }
    pieces
}
