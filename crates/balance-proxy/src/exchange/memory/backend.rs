//! Backends: whether they accept connections, and what they answer on each.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use balance_core::Timeouts;
use balance_proto::{BodyLength, HeadEdits, RequestView, ResponseBody};

use super::journal::text;
use super::sink::MemorySink;
use super::{Journal, MemoryResponse, Script, Step, Takes};
use crate::exchange::sides::{
    BackendError, BodySink, BodySource, Form, Piece, Replay, ResponseStep, Transport, Upstream,
};
use crate::mirror::{self, MirroredRequest};
use crate::upstream::{ConnectError, Member};
use crate::worker::Worker;

/// What a backend answers.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Interim(MemoryResponse),
    Switch(MemoryResponse),
    /// A head, and what of its body comes along with it.
    Head(MemoryResponse, ResponseBody, &'static str),
    Piece(&'static str),
    /// The last piece, where no length says so.
    Last(&'static str),
    Closes,
    Garbage,
}

/// One connection of a backend.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    takes: Script<Takes>,
    replies: Script<Reply>,
}

impl Connection {
    pub(crate) fn new(replies: impl IntoIterator<Item = Step<Reply>>) -> Self {
        Self {
            takes: Script::default(),
            replies: Script::new(replies),
        }
    }

    pub(crate) fn with_takes(mut self, takes: impl IntoIterator<Item = Step<Takes>>) -> Self {
        self.takes = Script::new(takes);
        self
    }
}

/// What comes of wanting a connection.
#[derive(Debug)]
pub(crate) enum Connect {
    /// One that served before.
    Reused(Connection),
    Opens(Connection),
    Fails(ConnectError),
    Hangs,
}

impl Connect {
    fn is_idle(&self) -> bool {
        matches!(self, Self::Reused(_))
    }
}

/// All backends' connections, in the order they will be asked for.
#[derive(Clone)]
pub(crate) struct MemoryTransport {
    journal: Journal,
    connects: Rc<RefCell<Vec<(&'static str, Connect)>>>,
}

impl MemoryTransport {
    pub(crate) fn new(journal: &Journal, connects: Vec<(&'static str, Connect)>) -> Self {
        Self {
            journal: journal.clone(),
            connects: Rc::new(RefCell::new(connects)),
        }
    }

    /// How many connections of the script nobody asked for; idle ones may be left.
    pub(crate) fn unused(&self) -> usize {
        let connects = self.connects.borrow();
        connects.iter().filter(|(_, next)| !next.is_idle()).count()
    }

    fn next_of(&self, member: &Member, is_idle: bool) -> Option<(&'static str, Connect)> {
        let mut connects = self.connects.borrow_mut();
        let is_wanted = |(backend, connect): &(&'static str, Connect)| {
            *backend == member.name() && connect.is_idle() == is_idle
        };
        let next = connects.iter().position(is_wanted)?;
        Some(connects.remove(next))
    }

    fn upstream(
        &self,
        name: &'static str,
        connection: Connection,
        is_reused: bool,
    ) -> MemoryUpstream {
        MemoryUpstream {
            name,
            sink: MemorySink::new(name, &self.journal, connection.takes),
            replies: connection.replies,
            journal: self.journal.clone(),
            response: MemoryResponse {
                status: 0,
                fields: Vec::new(),
            },
            body: ResponseBody::None,
            left_bytes: 0,
            received_bytes: 0,
            is_reused,
        }
    }
}

impl Transport for MemoryTransport {
    type Upstream = MemoryUpstream;

    fn reuse(&self, member: &Member, _: u64) -> Option<MemoryUpstream> {
        let Some((name, Connect::Reused(connection))) = self.next_of(member, true) else {
            return None;
        };
        self.journal.write(format!("{name} reused"));
        Some(self.upstream(name, connection, true))
    }

    async fn open(&self, member: &Member, _: &Timeouts) -> Result<MemoryUpstream, ConnectError> {
        let next = self.next_of(member, false);
        let (name, connect) = next.expect("a connection is opened that no script has");
        tokio::task::yield_now().await;
        match connect {
            Connect::Opens(connection) | Connect::Reused(connection) => {
                self.journal.write(format!("{name} opened"));
                Ok(self.upstream(name, connection, false))
            }
            Connect::Fails(error) => {
                self.journal.write(format!("{name} failed"));
                Err(error)
            }
            Connect::Hangs => {
                self.journal.write(format!("{name} hangs"));
                std::future::pending().await
            }
        }
    }

    fn spawn_mirrored<V: RequestView + 'static>(
        &self,
        worker: &Rc<Worker>,
        copy: MirroredRequest<V>,
    ) {
        let (transport, owned) = (self.clone(), Rc::clone(worker));
        worker.spawn(async move { mirror::send(&owned, &transport, copy).await });
    }

    fn settle(&self, member: &Member, upstream: MemoryUpstream, clean: bool, _: u64) {
        let name = upstream.name;
        assert_eq!(member.name(), name, "settled with another backend");
        // That both messages are complete is not looked after here: who says so wrongly shows in the journal.
        let ends_with_close = upstream.body == ResponseBody::UntilClose;
        let is_kept = clean && !ends_with_close && !upstream.sink.is_blocked();
        let fate = if is_kept { "kept" } else { "closed" };
        self.journal.write(format!("{name} {fate}"));
    }
}

/// One connection while it serves an attempt.
pub(crate) struct MemoryUpstream {
    name: &'static str,
    journal: Journal,
    sink: MemorySink,
    replies: Script<Reply>,
    response: MemoryResponse,
    body: ResponseBody,
    /// Of a body whose length was announced.
    left_bytes: u64,
    received_bytes: u64,
    is_reused: bool,
}

impl MemoryUpstream {
    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Reply> {
        self.replies
            .poll_next(cx, &self.journal)
            .map(|reply| reply.expect("a backend is read beyond its script"))
    }

    fn take(&mut self, text: &str, range: Range<usize>, is_marked: bool) -> Piece {
        self.received_bytes += text.len() as u64;
        let last = match self.body {
            ResponseBody::Exact(_) => {
                self.left_bytes -= text.len() as u64;
                self.left_bytes == 0
            }
            _ => is_marked,
        };
        Piece {
            range,
            form: Form::Payload,
            last,
        }
    }
}

impl BodySource for MemoryUpstream {
    type Error = BackendError;

    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        _: Form,
    ) -> Poll<Result<Piece, BackendError>> {
        let (text, is_marked) = match ready!(self.poll_reply(cx)) {
            Reply::Piece(text) => (text, false),
            Reply::Last(text) => (text, true),
            Reply::Closes if self.body == ResponseBody::UntilClose => ("", true),
            Reply::Closes => return Poll::Ready(Err(BackendError::Incomplete)),
            Reply::Garbage => return Poll::Ready(Err(BackendError::Malformed)),
            other => panic!("{} sends {other:?} in a body", self.name),
        };
        scratch[..text.len()].copy_from_slice(text.as_bytes());
        Poll::Ready(Ok(self.take(text, 0..text.len(), is_marked)))
    }
}

impl BodySink for MemoryUpstream {
    fn form(&self) -> Form {
        Form::Payload
    }

    fn room(&self) -> usize {
        usize::MAX
    }

    fn push(&mut self, cx: &mut Context<'_>, bytes: &[u8], _: Form, last: bool) -> io::Result<()> {
        self.sink.push(cx, bytes, last)
    }

    fn is_blocked(&self) -> bool {
        self.sink.is_blocked()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sink.poll_flush(cx)
    }

    fn sent_bytes(&self) -> u64 {
        self.sink.sent_bytes()
    }
}

impl Upstream for MemoryUpstream {
    type Response = MemoryResponse;

    fn start_request<V: RequestView>(
        &mut self,
        request: &V,
        edits: &HeadEdits,
        _: BodyLength,
        upgrade: Option<&[u8]>,
    ) {
        self.journal.keep_head(self.name, request, edits);
        let method = text(request.method());
        let authority = text(edits.authority().unwrap_or(request.authority()));
        let target = text(edits.path().unwrap_or(request.path_and_query()));
        let upgrade = upgrade.map_or(String::new(), |name| format!(" upgrade {}", text(name)));
        self.sink
            .add_head(format!("{method} {authority}{target}{upgrade}"));
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<Result<ResponseStep, BackendError>> {
        let step = match ready!(self.poll_reply(cx)) {
            Reply::Interim(response) => {
                self.response = response;
                ResponseStep::Interim
            }
            Reply::Switch(response) => {
                self.response = response;
                ResponseStep::Switching
            }
            Reply::Head(response, body, rest) => {
                self.response = response;
                self.body = body;
                if let ResponseBody::Exact(bytes) = body {
                    self.left_bytes = bytes;
                }
                scratch[..rest.len()].copy_from_slice(rest.as_bytes());
                ResponseStep::Final {
                    rest: 0..rest.len(),
                }
            }
            Reply::Closes if self.received_bytes == 0 => {
                return Poll::Ready(Err(BackendError::Closed));
            }
            Reply::Closes => return Poll::Ready(Err(BackendError::Incomplete)),
            Reply::Garbage => return Poll::Ready(Err(BackendError::Malformed)),
            other => panic!("{} sends {other:?} before a head", self.name),
        };
        self.received_bytes += 1;
        Poll::Ready(Ok(step))
    }

    fn held_bytes(&self) -> usize {
        self.sink.kept_bytes()
    }

    fn response(&self) -> &MemoryResponse {
        &self.response
    }

    fn response_body(&self) -> ResponseBody {
        self.body
    }

    fn first_piece(
        &mut self,
        scratch: &mut [u8],
        rest: Range<usize>,
        _: Form,
    ) -> Result<Piece, BackendError> {
        let text = text(&scratch[rest.clone()]);
        Ok(self.take(&text, rest, false))
    }

    fn is_reused(&self) -> bool {
        self.is_reused
    }

    fn reclaim_body(&mut self) -> Option<Replay> {
        let form = Form::Payload;
        let bytes = self.sink.unsent_body()?;
        Some(Replay { bytes, form })
    }

    fn replay_body(&mut self, replay: Replay, last: bool) {
        self.sink.add_unsent(&replay.bytes, last);
    }

    fn received_bytes(&self) -> u64 {
        self.received_bytes
    }
}
