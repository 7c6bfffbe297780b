//! How attempts come to connections that they share, and one of them opens those that are missing.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use balance_core::{Timeouts, UpstreamProtocol};
use balance_proto::http1::HeadSettings;
use balance_proto::http2::{BudgetLimits, Connection, ConnectionSettings, Role};

use super::attempt::Http2Upstream;
use super::connection::{BackendConnection, ConnectionLimits};
use super::shared::{STREAMS_MAX, Shared, State};
use crate::clock::millis;
use crate::maybe_tls::MaybeTls;
use crate::upstream::{Announced, ConnectError, Member, connect};
use crate::worker::Worker;

/// One worker's connections of HTTP/2 to one backend.
#[derive(Default)]
pub(crate) struct UpstreamConnections {
    open: RefCell<Vec<Rc<Shared>>>,
    opening: RefCell<Vec<Rc<Opening>>>,
    /// What a backend that may choose chose last.
    chose_http1: Cell<bool>,
}

/// A connection that somebody opens, and others wait for.
struct Opening {
    announced: Option<Rc<Announced>>,
    waiting: RefCell<Vec<Waker>>,
    joined: Cell<usize>,
    outcome: Cell<Option<Outcome>>,
}

#[derive(Clone, Copy)]
enum Outcome {
    /// Look again: there may be a connection now, or whoever opened it went away.
    Over,
    Failed(ConnectError),
}

/// What was opened.
pub(crate) enum Opened {
    Http1(MaybeTls),
    Http2(Http2Upstream),
}

impl UpstreamConnections {
    /// A stream's worth of room on a connection that is there.
    pub(crate) fn take(
        &self,
        worker: &Worker,
        member: &Member,
        announced: Option<&Announced>,
    ) -> Option<Http2Upstream> {
        let mut open = self.open.borrow_mut();
        open.retain(|shared| !matches!(shared.state.get(), State::Lost(_)));
        let identity = member.tls_identity();
        // The first one that has room: so that the last ones become idle when there is less to do.
        let shared = open.iter().find(|shared| {
            shared.announced.as_deref() == announced
                && shared.identity == identity
                && shared.takes_streams()
        })?;
        Some(upstream(worker, shared, shared.has_served.get()))
    }

    /// Opens no more streams on any of them.
    pub(crate) fn retire(&self) {
        for shared in self.open.borrow_mut().drain(..) {
            shared.retire();
        }
    }

    /// One that is being opened and has room for another one who waits.
    fn join(&self, announced: Option<&Announced>) -> Option<Rc<Opening>> {
        let opening = self.opening.borrow();
        let found = opening.iter().find(|opening| {
            opening.announced.as_deref() == announced && opening.joined.get() < STREAMS_MAX
        })?;
        found.joined.set(found.joined.get() + 1);
        Some(Rc::clone(found))
    }
}

impl Opening {
    async fn outcome(&self) -> Outcome {
        poll_fn(|cx| match self.outcome.get() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                let mut waiting = self.waiting.borrow_mut();
                if !waiting.iter().any(|known| known.will_wake(cx.waker())) {
                    waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
        })
        .await
    }
}

/// Whoever opens a connection. Others are told the outcome when it is dropped.
struct Opener<'m> {
    connections: &'m UpstreamConnections,
    opening: Rc<Opening>,
}

impl<'m> Opener<'m> {
    fn new(connections: &'m UpstreamConnections, announced: Option<Rc<Announced>>) -> Self {
        let opening = Rc::new(Opening {
            announced,
            waiting: RefCell::default(),
            joined: Cell::new(1),
            outcome: Cell::new(None),
        });
        connections.opening.borrow_mut().push(Rc::clone(&opening));
        Self {
            connections,
            opening,
        }
    }

    fn fail(&self, error: ConnectError) {
        self.opening.outcome.set(Some(Outcome::Failed(error)));
    }
}

impl Drop for Opener<'_> {
    fn drop(&mut self) {
        let Self {
            connections,
            opening,
        } = self;
        connections
            .opening
            .borrow_mut()
            .retain(|other| !Rc::ptr_eq(other, opening));
        if opening.outcome.get().is_none() {
            opening.outcome.set(Some(Outcome::Over));
        }
        opening.waiting.take().into_iter().for_each(Waker::wake);
    }
}

/// Opens a connection to a backend that may speak HTTP/2, or waits for one that another attempt opens. The caller bounds
/// it by its deadline.
///
/// # Errors
/// There is no connection, or the backend does not speak HTTP/2 where it has to.
pub(crate) async fn open(
    worker: &Rc<Worker>,
    member: &Member,
    timeouts: &Timeouts,
    settings: HeadSettings,
    announced: Option<Rc<Announced>>,
) -> Result<Opened, ConnectError> {
    let connections = member.http2();
    while let Some(opening) = connections.join(announced.as_deref()) {
        match opening.outcome().await {
            Outcome::Failed(error) => return Err(error),
            Outcome::Over => {}
        }
        if let Some(upstream) = connections.take(worker, member, announced.as_deref()) {
            return Ok(Opened::Http2(upstream.into_fresh()));
        }
        if connections.chose_http1.get() {
            break; // nothing to share
        }
    }
    let is_shared = !connections.chose_http1.get();
    let opener = is_shared.then(|| Opener::new(connections, announced.clone()));
    let opened = open_one(worker, member, timeouts, settings, announced).await;
    if let (Some(opener), Err(error)) = (&opener, &opened) {
        opener.fail(*error);
    }
    opened
}

async fn open_one(
    worker: &Rc<Worker>,
    member: &Member,
    timeouts: &Timeouts,
    settings: HeadSettings,
    announced: Option<Rc<Announced>>,
) -> Result<Opened, ConnectError> {
    let stream = connect(worker, member, timeouts.connect, announced.as_deref()).await?;
    let is_http2 = match (member.protocol(), stream.agreed_on_http2()) {
        (UpstreamProtocol::Http2, None) => true, // known beforehand
        (UpstreamProtocol::Http2, Some(false)) => return Err(ConnectError::NotHttp2),
        (_, agreed) => agreed.unwrap_or(false),
    };
    member.http2().chose_http1.set(!is_http2);
    if !is_http2 {
        return Ok(Opened::Http1(stream));
    }
    let head = HeadSettings {
        scheme: stream.scheme(),
        ..settings
    };
    let handshake_us = stream.handshake_us();
    let engine = Connection::new(Role::Client, connection_settings(head));
    let shared = Rc::new(Shared::new(engine, announced, stream.identity()));
    let limits = ConnectionLimits {
        open_ms: millis(timeouts.connect),
        write_progress_ms: millis(timeouts.write_progress),
    };
    let connection = BackendConnection::new(worker, member, &shared, stream, limits);
    worker.spawn(Box::new(connection).run());
    member.http2().open.borrow_mut().push(Rc::clone(&shared));
    // What the backend takes is known then, and that it speaks HTTP/2 at all, before anything is sent that could be lost.
    shared.opened().await?;
    let upstream = upstream(worker, &shared, false).with_handshake(handshake_us);
    Ok(Opened::Http2(upstream))
}

fn upstream(worker: &Worker, shared: &Rc<Shared>, is_reused: bool) -> Http2Upstream {
    let parts = worker.http2_upstream_parts.take(Box::default);
    Http2Upstream::new(Rc::clone(shared), parts, is_reused)
}

/// A slow client stops its own stream, and never the others: the connection's window has room for all of them. What is
/// really held counts against the worker's budget.
fn connection_settings(head: HeadSettings) -> ConnectionSettings {
    let stream_window = ConnectionSettings::default().stream_window;
    ConnectionSettings {
        streams_max: 0, // a server opens none
        stream_window,
        connection_window: stream_window * STREAMS_MAX as u32,
        scheme: Some(head.scheme),
        head,
        // What comes of streams that were cancelled counts as well: 16 frames fill a window.
        budget: BudgetLimits {
            idle_frames_max: 100 * 16 * STREAMS_MAX as u32,
            ..BudgetLimits::default()
        },
    }
}
