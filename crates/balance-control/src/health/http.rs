//! An HTTP probe: one request over a connection of its own, and as much of the answer as decides.
//!
//! The answer is read by the parser of the data path, so a backend whose answers would be refused there does not count
//! as healthy here. At most one head and [`BODY_BYTES_MAX`] of a body are read, whatever comes.

use std::future::poll_fn;

use balance_core::{HttpProbe, Method};
use balance_proto::http1::{
    ChunkLimits, ChunkedDecoder, HeadSettings, Keep, Progress, ResponseContext, ResponseHead,
};
use balance_proto::{ResponseBody, ResponseView};
use balance_proxy::{Endpoint, OwnConnection};

use super::probe::ProbeError;

/// Asks once.
///
/// # Errors
/// No answer, or not the wanted one.
pub(super) async fn ask(
    stream: &mut OwnConnection,
    endpoint: &Endpoint,
    wanted: &HttpProbe,
) -> Result<(), ProbeError> {
    write_all(stream, &encode(endpoint, wanted)).await?;
    let mut answer = Answer {
        stream,
        received: Vec::new(),
    };
    let head = answer
        .read_head(Method::parse(wanted.method.as_bytes()))
        .await?;
    if !wanted.expected_status.contains(head.status()) {
        return Err(ProbeError::Status(head.status()));
    }
    match &wanted.expected_body {
        Some(text) if !text.is_empty() => answer.find(text.as_bytes(), head.body()).await,
        _ => Ok(()),
    }
}

/// The head of the request.
pub(super) fn encode(endpoint: &Endpoint, wanted: &HttpProbe) -> Vec<u8> {
    let HttpProbe {
        method,
        path,
        host,
        headers,
        ..
    } = wanted;
    let own_name = endpoint.identity().address.authority();
    let host = host.as_deref().unwrap_or(&own_name);
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    let is_given = |name: &str| {
        headers
            .iter()
            .any(|(given, _)| given.eq_ignore_ascii_case(name))
    };
    if !is_given("user-agent") {
        text.push_str("User-Agent: balance-health-check\r\n");
    }
    // RFC 9110 §8.6: these are expected to have a body, and some servers wait for one.
    if matches!(method.as_str(), "POST" | "PUT" | "PATCH") {
        text.push_str("Content-Length: 0\r\n");
    }
    for (name, value) in headers {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

pub(super) async fn write_all(
    stream: &mut OwnConnection,
    mut bytes: &[u8],
) -> Result<(), ProbeError> {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| stream.poll_write(cx, bytes)).await;
        bytes = &bytes[written.map_err(ProbeError::Broken)?..];
    }
    Ok(())
}

/// Reads what comes next behind `received`; `false` at the end.
pub(super) async fn read_more(
    stream: &mut OwnConnection,
    received: &mut Vec<u8>,
) -> Result<bool, ProbeError> {
    let before = received.len();
    received.resize(before + OwnConnection::READ_BYTES, 0);
    let buffer = &mut received[before..];
    let read = poll_fn(|cx| stream.poll_read(cx, buffer)).await;
    received.truncate(before + *read.as_ref().unwrap_or(&0));
    Ok(read.map_err(ProbeError::Broken)? > 0)
}

/// Whether a body has this text, which may be empty.
pub(super) fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

/// An answer that is being read.
struct Answer<'s> {
    stream: &'s mut OwnConnection,
    /// What came and is not consumed yet.
    received: Vec<u8>,
}

impl Answer<'_> {
    /// Reads more; `false` at the end.
    async fn read(&mut self) -> Result<bool, ProbeError> {
        read_more(self.stream, &mut self.received).await
    }

    /// The head of the answer itself, past interim ones.
    async fn read_head(&mut self, request_method: Method) -> Result<ResponseHead, ProbeError> {
        let context = ResponseContext {
            request_method,
            upgrade_offered: false,
        };
        let settings = HeadSettings::default();
        let mut head = ResponseHead::default();
        let mut interim = 0;
        loop {
            let parsed = head.parse(&self.received, context, &settings);
            match parsed.map_err(ProbeError::Head)? {
                Progress::Complete { consumed } => {
                    self.received.drain(..consumed);
                    if !head.is_interim() {
                        return Ok(head);
                    }
                    interim += 1;
                    if interim > INTERIM_MAX {
                        return Err(ProbeError::Interim(INTERIM_MAX)); // robustness BE-07
                    }
                }
                Progress::Partial => {
                    if !self.read().await? {
                        return Err(ProbeError::Closed);
                    }
                }
            }
        }
    }

    /// Looks for a text in the body.
    async fn find(&mut self, text: &[u8], body: ResponseBody) -> Result<(), ProbeError> {
        let mut decoder = ChunkedDecoder::new(ChunkLimits::default());
        let mut payload: Vec<u8> = Vec::new();
        loop {
            let mut piece = std::mem::take(&mut self.received);
            let is_done = match body {
                ResponseBody::None => true,
                ResponseBody::UntilClose => false,
                ResponseBody::Exact(bytes) => {
                    let left = bytes.saturating_sub(payload.len() as u64);
                    piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    piece.len() as u64 == left
                }
                ResponseBody::Chunked => {
                    let filtered = decoder.filter(&mut piece, Keep::Payload);
                    let filtered = filtered.map_err(ProbeError::Chunks)?;
                    piece.truncate(filtered.kept);
                    filtered.done
                }
            };
            payload.append(&mut piece);
            payload.truncate(BODY_BYTES_MAX);
            if contains(&payload, text) {
                return Ok(());
            }
            if is_done || payload.len() == BODY_BYTES_MAX || !self.read().await? {
                return Err(ProbeError::Body);
            }
        }
    }
}

/// Where a text is looked for.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;
/// As `limits.interim_responses_max` is for clients.
pub(super) const INTERIM_MAX: u32 = 8;
