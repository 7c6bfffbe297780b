//! What stands before the protocol of a connection: the PROXY header of a proxy in front.
//!
//! ```text
//!   accepted ── a listed source? ── no ──► closed: blocked
//!                    │ yes
//!                    ▼
//!            reading the header ── none, malformed, too late ──► closed
//!                    │
//!                    ▼
//!     the protocol's task, with the client that is named and what was read behind the header
//! ```
//!
//! A task of its own, so that a connection which waits in its protocol does not keep the room for this.

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use balance_core::Cause;
use balance_net::set_linger_zero;
use balance_proto::proxy_protocol::{self, HEADER_BYTES_MAX, Origin, Progress};

use super::connected::Connected;
use super::{Session, Worker, WorkerListener, accept};
use crate::maybe_tls::MaybeTls;
use crate::snapshot::{ListenerRules, Mode};
use crate::wheel::Timer;

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preamble {
    /// Its protocol.
    None,
    ProxyHeader,
    /// Only proxies may connect, and this is none of them.
    Refused,
}

impl Preamble {
    pub(super) fn of(rules: &ListenerRules, peer: IpAddr) -> Self {
        match &rules.proxy_sources {
            None => Self::None,
            Some(sources) if sources.iter().any(|net| net.contains(&peer)) => Self::ProxyHeader,
            Some(_) => Self::Refused,
        }
    }
}

/// Counts a connection that is closed because of where it comes from.
pub(super) fn refuse(worker: &Worker, listener: &WorkerListener, peer: IpAddr) {
    Session::new(peer, worker.clock.now_us()).settle(worker, listener, Cause::Blocked);
}

/// Reads the header, then hands the connection to its protocol.
pub(super) async fn run(
    worker: Rc<Worker>,
    listener: Rc<WorkerListener>,
    mode: Mode,
    mut connected: Connected,
) {
    let mut session = Session::new(connected.peer, worker.clock.now_us());
    let timer = worker.wheel.timer();
    let (head_ms, _) = listener.connection_timeouts();
    timer.set(worker.clock.now_ms(), head_ms);
    let mut held = worker.budget.holder();
    let read = poll_fn(|cx| {
        let Connected { stream, unread, .. } = &mut connected;
        match poll_header(&worker, stream, unread, cx) {
            Poll::Pending => {
                held.set(unread.len());
                worker.poll_preamble_end(cx, &timer, unread.len()).map(Err)
            }
            ready => ready,
        }
    })
    .await;
    drop(held);
    let cause = match read {
        Ok(origin) => {
            if let Origin::Client(ends) = origin {
                connected.peer = ends.source().ip();
                connected.ends = Some(Box::new(ends));
            }
            let snapshot = listener.snapshot();
            let per_ip_max = snapshot.rules.listeners[listener.index()]
                .limits
                .connections_per_ip_max;
            if connected.counted.claim(connected.peer, per_ip_max).is_ok() {
                return accept::serve(&worker, &listener, mode, connected);
            }
            session.peer = connected.peer;
            Cause::ConnectionLimitReached
        }
        // Whoever only looks whether somebody answers: a health check of a proxy that sends no header for it.
        Err(Cause::ClientClosed) if connected.unread.is_empty() => return,
        Err(cause) => cause,
    };
    session.bytes_in = connected.unread.len() as u64;
    // A proxy must not take this for the end of an answer. Failing to say so is no loss: the socket is closed
    // in the next moment.
    let _ = set_linger_zero(&connected.stream);
    session.settle(&worker, &listener, cause);
}

impl Worker {
    /// How waiting for what precedes a protocol ends without it: at its deadline, or when the worker holds too much
    /// already and this connection holds a part of it.
    pub(crate) fn poll_preamble_end(
        &self,
        cx: &mut Context<'_>,
        timer: &Timer,
        held_bytes: usize,
    ) -> Poll<Cause> {
        if held_bytes > 0 && self.budget.is_short() {
            return Poll::Ready(Cause::Overloaded);
        }
        timer.poll_expired(cx).map(|()| {
            if self.is_cut() {
                Cause::Draining
            } else {
                Cause::ClientTimeout
            }
        })
    }
}

/// Reads until the header is complete; what stands behind it stays in `unread`.
fn poll_header(
    worker: &Worker,
    stream: &mut MaybeTls,
    unread: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Poll<Result<Origin, Cause>> {
    loop {
        let mut scratch = worker.scratch.borrow();
        // Not more at once than is looked at: it is held until the whole header is there.
        let len = match stream.poll_read(cx, &mut scratch[..HEADER_BYTES_MAX]) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0)) if !unread.is_empty() => {
                return Poll::Ready(Err(Cause::ProxyHeaderInvalid));
            }
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Cause::ClientClosed)),
            Poll::Ready(Ok(len)) => len,
        };
        unread.extend_from_slice(&scratch[..len]);
        match proxy_protocol::parse(unread) {
            Ok(Progress::Partial) => {}
            Ok(Progress::Complete { origin, consumed }) => {
                unread.drain(..consumed);
                return Poll::Ready(Ok(origin));
            }
            Err(error) => {
                tracing::debug!(%error, "no PROXY header");
                return Poll::Ready(Err(Cause::ProxyHeaderInvalid));
            }
        }
    }
}
