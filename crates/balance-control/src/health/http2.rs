//! The same probe over HTTP/2: one request on the first stream of a connection of its own.

use std::time::Instant;

use balance_core::HttpProbe;
use balance_proto::http1::{HeadSettings, RequestHead, ResponseHead};
use balance_proto::http2::{Connection, ConnectionSettings, ErrorCode, Event, Role, StreamId};
use balance_proto::{FramingLine, HeadEdits, RequestView, ResponseView, Scheme};
use balance_proxy::{Endpoint, OwnConnection};

use super::http::{BODY_BYTES_MAX, INTERIM_MAX, contains, encode, read_more, write_all};
use super::probe::ProbeError;

/// Asks once.
///
/// # Errors
/// No answer, or not the wanted one.
pub(super) async fn ask(
    stream: &mut OwnConnection,
    scheme: Scheme,
    endpoint: &Endpoint,
    wanted: &HttpProbe,
) -> Result<(), ProbeError> {
    let settings = HeadSettings {
        scheme,
        ..HeadSettings::default()
    };
    let mut request = RequestHead::default();
    let text = encode(endpoint, wanted);
    request
        .parse(&text, &settings)
        .map_err(ProbeError::Unaskable)?;
    let mut engine = Connection::new(Role::Client, ConnectionSettings::default());
    let mut out = Vec::new();
    engine.start(&mut out);
    let framing = FramingLine::for_request(request.method_kind(), request.body());
    let edits = HeadEdits::default();
    let asked = engine.send_request(&mut out, &request, &edits, framing, true);
    let mut answer = Answer {
        asked: asked.map_err(|_| ProbeError::Closed)?,
        engine,
        out,
        head: ResponseHead::default(),
        body: Vec::new(),
        interim: 0,
    };
    let text = wanted.expected_body.as_deref().unwrap_or_default();
    let mut received = Vec::new();
    while !answer.take(&received, wanted, text)? {
        write_all(stream, &std::mem::take(&mut answer.out)).await?;
        received.clear();
        if !read_more(stream, &mut received).await? {
            return Err(ProbeError::Closed);
        }
    }
    // That it is over is told as far as the backend wants to know.
    answer.engine.close(&mut answer.out, ErrorCode::NO_ERROR);
    write_all(stream, &answer.out).await
}

/// An answer that is being read.
struct Answer {
    asked: StreamId,
    engine: Connection,
    out: Vec<u8>,
    head: ResponseHead,
    body: Vec<u8>,
    interim: u32,
}

impl Answer {
    /// Reads what came. Whether it is what was wanted; false: more has to come.
    fn take(
        &mut self,
        mut input: &[u8],
        wanted: &HttpProbe,
        text: &str,
    ) -> Result<bool, ProbeError> {
        loop {
            let event = self.engine.poll(Instant::now(), &mut input, &mut self.out);
            let ends = match event.map_err(ProbeError::Http2)? {
                None => return Ok(false),
                Some(Event::Head { ends, .. }) => {
                    self.engine.take_response(&mut self.head);
                    if self.head.is_interim() {
                        self.interim += 1;
                        if self.interim > INTERIM_MAX {
                            return Err(ProbeError::Interim(INTERIM_MAX)); // robustness BE-07
                        }
                        continue;
                    }
                    if !wanted.expected_status.contains(self.head.status()) {
                        return Err(ProbeError::Status(self.head.status()));
                    }
                    ends
                }
                Some(Event::Data { bytes, ends, .. }) => {
                    let room = BODY_BYTES_MAX - self.body.len();
                    self.body.extend_from_slice(&bytes[..room.min(bytes.len())]);
                    self.engine.release(&mut self.out, self.asked, bytes.len());
                    ends || self.body.len() == BODY_BYTES_MAX
                }
                Some(Event::Trailers { .. }) => true,
                Some(Event::Reset { code, .. }) => return Err(ProbeError::Reset(code.name())),
                Some(Event::Failed { violation, .. }) => return Err(ProbeError::Http2(violation)),
                Some(
                    Event::Settings
                    | Event::GoAway { .. }
                    | Event::Pong { .. }
                    | Event::Refused { .. },
                ) => continue,
            };
            if contains(&self.body, text.as_bytes()) {
                return Ok(true);
            }
            if ends {
                return Err(ProbeError::Body);
            }
        }
    }
}
