//! A client: a request, what it sends after its head, how it takes the response, and what it does while
//! it waits.

use std::io;
use std::task::{Context, Poll, ready};

use balance_proto::{BodyLength, HeadEdits, HeadView, ResponseBody, ResponseView};

use super::sink::MemorySink;
use super::{Journal, MemoryRequest, Script, Step, Takes};
use crate::exchange::sides::{
    BodySink, BodySource, ClientError, ClientEvent, Downstream, Form, Piece,
};
use crate::own_response::OwnResponse;

/// What a client sends after its head.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sends {
    Piece(&'static str),
    Last(&'static str),
    Fails(ClientError),
}

pub(crate) struct Client {
    pub(crate) request: MemoryRequest,
    pub(crate) upgrade: Option<&'static str>,
    body: BodyLength,
    upload: Script<Sends>,
    events: Script<ClientEvent>,
    takes: Script<Takes>,
    keeps_alive: bool,
    received_bytes: u64,
    side: Option<(Journal, MemorySink)>,
}

impl Client {
    pub(crate) fn new(request: MemoryRequest) -> Self {
        Self {
            request,
            upgrade: None,
            body: BodyLength::Exact(0),
            upload: Script::default(),
            events: Script::default(),
            takes: Script::default(),
            keeps_alive: true,
            received_bytes: HEAD_BYTES,
            side: None,
        }
    }

    pub(crate) fn get(target: &'static str) -> Self {
        Self::new(MemoryRequest::new("GET", target))
    }

    pub(crate) fn post(target: &'static str) -> Self {
        Self::new(MemoryRequest::new("POST", target))
    }

    pub(crate) fn field(mut self, name: &'static str, value: &'static str) -> Self {
        self.request.fields.push((name, value));
        self
    }

    pub(crate) fn with_body(
        mut self,
        body: BodyLength,
        upload: impl IntoIterator<Item = Step<Sends>>,
    ) -> Self {
        self.body = body;
        self.upload = Script::new(upload);
        self
    }

    pub(crate) fn with_events(
        mut self,
        events: impl IntoIterator<Item = Step<ClientEvent>>,
    ) -> Self {
        self.events = Script::new(events);
        self
    }

    pub(crate) fn with_takes(mut self, takes: impl IntoIterator<Item = Step<Takes>>) -> Self {
        self.takes = Script::new(takes);
        self
    }

    /// Connects it to what is written down.
    pub(crate) fn attach(&mut self, journal: &Journal) {
        let takes = std::mem::take(&mut self.takes);
        let sink = MemorySink::new("client", journal, takes);
        self.side = Some((journal.clone(), sink));
    }

    fn journal(&self) -> &Journal {
        &self.side.as_ref().expect("attached").0
    }

    fn sink(&self) -> &MemorySink {
        &self.side.as_ref().expect("attached").1
    }

    fn sink_mut(&mut self) -> &mut MemorySink {
        &mut self.side.as_mut().expect("attached").1
    }

    fn start(&mut self, line: String, closes: bool) {
        self.keeps_alive &= !closes;
        let suffix = if closes { " close" } else { "" };
        self.sink_mut().add_head(format!("{line}{suffix}"));
    }

    fn take(&mut self, sent: Sends, scratch: &mut [u8]) -> Result<Piece, ClientError> {
        let (text, last) = match sent {
            Sends::Piece(text) => (text, false),
            Sends::Last(text) => (text, true),
            Sends::Fails(error) => return Err(error),
        };
        self.received_bytes += text.len() as u64;
        scratch[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Piece {
            range: 0..text.len(),
            form: Form::Payload,
            last,
        })
    }
}

impl BodySource for Client {
    type Error = ClientError;

    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        _: Form,
    ) -> Poll<Result<Piece, ClientError>> {
        let journal = self.journal().clone();
        let sent = ready!(self.upload.poll_next(cx, &journal));
        let sent = sent.expect("the client is read beyond its script");
        Poll::Ready(self.take(sent, scratch))
    }
}

impl BodySink for Client {
    fn form(&self) -> Form {
        Form::Payload
    }

    fn room(&self) -> usize {
        usize::MAX
    }

    fn push(&mut self, cx: &mut Context<'_>, bytes: &[u8], _: Form, last: bool) -> io::Result<()> {
        self.sink_mut().push(cx, bytes, last)
    }

    fn is_blocked(&self) -> bool {
        self.sink().is_blocked()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sink_mut().poll_flush(cx)
    }

    fn sent_bytes(&self) -> u64 {
        self.sink().sent_bytes()
    }
}

impl Downstream for Client {
    type Request = MemoryRequest;

    fn request(&self) -> &MemoryRequest {
        &self.request
    }

    fn request_body(&self) -> BodyLength {
        self.body
    }

    fn server_name(&self) -> Option<&str> {
        None
    }

    fn offered_upgrade(&self) -> Option<&[u8]> {
        self.upgrade.map(str::as_bytes)
    }

    fn start_response<V: ResponseView>(
        &mut self,
        response: &V,
        edits: &HeadEdits,
        _: ResponseBody,
        closes: bool,
    ) {
        self.journal().keep_head("client", response, edits);
        self.start(response.status().to_string(), closes);
    }

    fn start_switch<V: ResponseView>(&mut self, response: &V, edits: &HeadEdits) {
        self.journal().keep_head("client", response, edits);
        self.start("101".to_owned(), false);
    }

    fn add_interim<V: ResponseView>(&mut self, response: &V, edits: &HeadEdits) {
        self.journal().keep_head("client", response, edits);
        self.start(response.status().to_string(), false);
    }

    fn start_own(&mut self, response: &OwnResponse, closes: bool) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut fields: Vec<_> = response
            .fields()
            .map(|(name, value)| (text(name.as_bytes()), text(value.as_bytes())))
            .collect();
        fields.push(("(body)".to_owned(), text(&response.body)));
        self.journal().keep_fields("client", fields);
        self.start(format!("own {}", response.status), closes);
    }

    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<ClientEvent> {
        let journal = self.journal().clone();
        match ready!(self.events.poll_next(cx, &journal)) {
            Some(event) => Poll::Ready(event),
            None => Poll::Pending,
        }
    }

    fn expects_continue(&self) -> bool {
        self.request.get(b"expect").is_some()
    }

    fn take_back_response(&mut self) {
        self.sink_mut().take_back_head();
    }

    fn held_bytes(&self) -> usize {
        self.sink().kept_bytes()
    }

    fn discard_body(&mut self) -> bool {
        if self.body == BodyLength::Exact(0) {
            return true;
        }
        let arrived = self.upload.take_all_ready().unwrap_or_default();
        matches!(arrived.last(), Some(Sends::Last(_)))
    }

    fn can_be_kept(&self) -> bool {
        self.keeps_alive
    }

    fn received_bytes(&self) -> u64 {
        self.received_bytes
    }
}

/// What a head counts as: there are no bytes of it.
const HEAD_BYTES: u64 = 1;
