//! What a connection to a backend and the attempts on it share.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use balance_proto::http1::ResponseHead;
use balance_proto::http2::{Connection, ErrorCode, StreamId};
use balance_tls::TlsIdentity;

use crate::buffers::KEPT_BYTES;
use crate::http2::link::{Link, Slot};
use crate::upstream::{Announced, ConnectError};

/// A connection to a backend, as attempts see it.
pub(super) struct Shared {
    pub(super) link: RefCell<UpstreamLink>,
    /// The PROXY header that it began with.
    pub(super) announced: Option<Rc<Announced>>,
    /// What it was secured under.
    pub(super) identity: Option<TlsIdentity>,
    pub(super) state: Cell<State>,
    /// A stream was opened on it.
    pub(super) has_served: Cell<bool>,
    /// It was silent while an attempt waited in vain, and is asked whether it lives.
    pub(super) is_doubtful: Cell<bool>,
    /// Its task reads nothing until attempts have taken what came.
    pub(super) is_stalled: Cell<bool>,
    /// Octets that came on it.
    pub(super) received_bytes: Cell<u64>,
    /// The task of the connection.
    pub(super) task: RefCell<Waker>,
    /// Who waits until it may be used.
    waiting: RefCell<Option<Waker>>,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The backend's SETTINGS have not come.
    Opening,
    Open,
    /// It takes no more streams, and ends with its last one.
    Retired,
    /// It is gone, and why if it was never open.
    Lost(ConnectError),
}

/// What came for one attempt beside content.
#[derive(Default)]
pub(super) struct Awaited {
    /// Interim ones, then that of the response.
    heads: VecDeque<ResponseHead>,
    /// A head whose memory serves the next one.
    spare: Option<ResponseHead>,
    /// Whoever waits for what comes, or for room.
    pub(super) waker: Option<Waker>,
    pub(super) fate: Option<Fate>,
}

/// What attempts and the task of their connection share of it.
pub(super) type UpstreamLink = Link<Awaited>;

/// Why a stream exists no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The backend has processed nothing of it (RFC 9113 §8.7).
    Unprocessed,
    /// With its connection.
    Closed,
    /// The backend gave it up.
    Reset,
    /// What the backend sent is not HTTP/2.
    Malformed,
}

impl Slot for Awaited {
    fn clear(&mut self) {
        self.heads.clear();
        if let Some(spare) = &mut self.spare {
            spare.clear();
            spare.shrink(KEPT_BYTES);
        }
        self.waker = None;
        self.fate = None;
    }
}

impl Awaited {
    /// Takes the head that the engine has read last. False when there are too many (robustness BE-07): nobody counts
    /// them before they are taken.
    pub(super) fn push_head(&mut self, engine: &mut Connection) -> bool {
        if self.heads.len() >= HEADS_MAX {
            return false;
        }
        let mut head = self.spare.take().unwrap_or_default();
        engine.take_response(&mut head);
        self.heads.push_back(head);
        true
    }

    /// Swaps in the next head; whether there is one.
    pub(super) fn take_head(&mut self, head: &mut ResponseHead) -> bool {
        let Some(next) = self.heads.pop_front() else {
            return false;
        };
        self.spare = Some(std::mem::replace(head, next));
        true
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Whom to wake from now on.
    pub(super) fn set_waker(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            None => self.waker = Some(waker.clone()),
        }
    }
}

impl Shared {
    pub(super) fn new(
        engine: Connection,
        announced: Option<Rc<Announced>>,
        identity: Option<TlsIdentity>,
    ) -> Self {
        let mut link = Link::new(engine);
        link.engine.start(&mut link.out);
        Self {
            link: link.into(),
            announced,
            identity,
            state: Cell::new(State::Opening),
            has_served: Cell::new(false),
            is_doubtful: Cell::new(false),
            is_stalled: Cell::new(false),
            received_bytes: Cell::new(0),
            task: RefCell::new(Waker::noop().clone()),
            waiting: RefCell::new(None),
        }
    }

    /// Whether an attempt may open a stream on it now.
    pub(super) fn takes_streams(&self) -> bool {
        let link = self.link.borrow();
        self.state.get() == State::Open
            && !self.is_doubtful.get()
            && link.engine.stream_count() < STREAMS_MAX
            && link.engine.streams_available() > 0
    }

    /// Waits until it may be used.
    pub(super) async fn opened(&self) -> Result<(), ConnectError> {
        poll_fn(|cx| match self.state.get() {
            State::Opening => {
                *self.waiting.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Open | State::Retired => Poll::Ready(Ok(())),
            State::Lost(error) => Poll::Ready(Err(error)),
        })
        .await
    }

    /// Goes on to another state, unless it is gone already.
    pub(super) fn go(&self, state: State) {
        if !matches!(self.state.get(), State::Lost(_)) {
            self.state.set(state);
        }
        if let Some(waiting) = self.waiting.borrow_mut().take() {
            waiting.wake();
        }
    }

    /// Opens no more streams on it.
    pub(super) fn retire(&self) {
        self.go(State::Retired);
        self.wake();
    }

    /// The task of the connection has something to do.
    pub(super) fn wake(&self) {
        self.task.borrow().wake_by_ref();
    }

    /// An attempt is over; what is still to come of it is not wanted.
    pub(super) fn close(&self, stream: StreamId) {
        let mut link = self.link.borrow_mut();
        link.close(stream, ErrorCode::CANCEL);
        drop(link);
        self.wake();
    }

    /// Nothing came while an attempt waited: asks the backend whether it is there, and leaves it alone until it says so.
    pub(super) fn doubt(&self) {
        if !self.is_doubtful.replace(true) {
            let Link { engine, out, .. } = &mut *self.link.borrow_mut();
            engine.ping(out, PING_PAYLOAD);
        }
    }
}

/// Attempts that one connection carries at the same time, at most; the backend's own limit may be lower. Above it a
/// further connection is opened.
pub(super) const STREAMS_MAX: usize = 100;

/// Heads of one stream that wait to be taken.
const HEADS_MAX: usize = 16;

const PING_PAYLOAD: [u8; 8] = *b"you ok??";
