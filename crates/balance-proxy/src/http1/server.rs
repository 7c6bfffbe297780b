//! What serves exchanges for whichever connection has one: a coroutine of its own, used again and again.
//!
//! An exchange's future is a kilobyte and more. Kept in the connection it would make every idle one that
//! large; boxed per exchange it would cost an allocation each. So a worker keeps a few of these: a
//! connection that has read a head takes one, lends itself to it until the exchange is over, and gives it
//! back.

use std::convert::Infallible;
use std::rc::Rc;
use std::task::{Context, Poll};

use balance_core::Cause;
use balance_net::set_linger_zero;

use super::connection::Connection;
use super::downstream::{DownstreamOptions, Http1Downstream, RequestParts};
use super::tunnel::carry_tunnel;
use crate::coroutine::{Coroutine, Desk};
use crate::exchange::{self, Arrival, Ended, Exchange, Next, Tunnel};
use crate::isolate::{Panicked, isolate};
use crate::transport::{HttpTransport, HttpUpstream};
use crate::worker::ends_of;

/// A coroutine that serves one exchange at a time. Dropped in the middle of one, it takes the exchange's
/// connections with it.
pub(crate) struct Server {
    coroutine: Coroutine<Job, Served>,
    /// Where the next head is parsed into. Empty while an exchange runs.
    pub(super) parts: Option<Box<RequestParts>>,
}

/// One exchange to be served.
struct Job {
    connection: Box<Connection>,
    parts: Box<RequestParts>,
    head_bytes: usize,
}

/// An exchange that is over.
struct Served {
    connection: Box<Connection>,
    parts: Box<RequestParts>,
    next: Next,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self {
            coroutine: Coroutine::new(serve_all),
            parts: Some(Box::new(RequestParts::new())),
        }
    }

    /// Takes the connection and the head in `parts`; [`Server::poll_served`] gives both back.
    pub(super) fn start(&mut self, connection: Box<Connection>, head_bytes: usize) {
        let parts = self
            .parts
            .take()
            .expect("a server serves one exchange at a time");
        self.coroutine.start(Job {
            connection,
            parts,
            head_bytes,
        });
    }

    /// Ready when the exchange is over.
    pub(super) fn poll_served(&mut self, cx: &mut Context<'_>) -> Poll<(Box<Connection>, Next)> {
        self.coroutine.poll_served(cx).map(|served| {
            self.parts = Some(served.parts);
            (served.connection, served.next)
        })
    }
}

async fn serve_all(desk: Rc<Desk<Job, Served>>) -> Infallible {
    let mut state = Exchange::new();
    loop {
        let Job {
            mut connection,
            mut parts,
            head_bytes,
        } = desk.next_job().await;
        let next = serve_one(&mut state, &mut connection, &mut parts, head_bytes).await;
        connection.known_ms = state.known_ms();
        state.end();
        parts.clear();
        desk.give_back(Served {
            connection,
            parts,
            next,
        });
    }
}

async fn serve_one(
    state: &mut Exchange,
    connection: &mut Connection,
    parts: &mut RequestParts,
    head_bytes: usize,
) -> Next {
    let Connection {
        worker,
        listener,
        stream,
        peer,
        ends,
        unread,
        timer,
        ..
    } = connection;
    let snapshot = listener.snapshot();
    if snapshot.sends_proxy && ends.is_none() {
        *ends = ends_of(stream.stream()).map(Box::new);
    }
    state.begin(Arrival {
        listener: listener.index(),
        snapshot,
        peer: *peer,
        scheme: stream.scheme(),
        now_us: worker.clock.now_us(),
        listener_is_retired: listener.is_retired(),
    });
    let told = ends.as_deref().copied();
    let transport = HttpTransport::new(worker, listener.head_settings(), told);
    let context = exchange::Context {
        worker,
        timer,
        transport: &transport,
    };
    let options = DownstreamOptions {
        body_bytes_max: state.listener().limits.body_bytes_max,
        enable_websocket: state.listener().protocol.enable_websocket,
    };
    let mut down = Http1Downstream::new(stream, unread, parts, head_bytes, options);
    let next = match isolate(exchange::run(&context, state, &mut down)).await {
        Ok(Ended::Exchange(next)) => Ok(next),
        Ok(Ended::Tunnel(Tunnel {
            upstream: HttpUpstream::Http1(upstream),
            lease,
        })) => {
            let tunnel = Tunnel { upstream, lease };
            // Boxed: rare, and larger than everything else here.
            let carried = Box::pin(carry_tunnel(&context, state, &mut down, tunnel));
            isolate(carried).await.map(|()| Next::Abort)
        }
        Ok(Ended::Tunnel(_)) => {
            debug_assert!(false, "nothing switches in HTTP/2");
            state.settle(worker, &down, Cause::HttpUpgradeFailed);
            Ok(Next::Abort)
        }
        Err(panicked) => Err(panicked),
    };
    let (next, has_panicked) = match next {
        Ok(next) => (next, false),
        Err(Panicked) => {
            state.on_panic(worker, &down);
            (Next::Abort, true)
        }
    };
    if next == Next::Abort && down.ends_with_close() {
        // Otherwise a client could take a broken response for a complete one (robustness BE-03).
        let _ = set_linger_zero(&*down.stream);
    }
    if has_panicked {
        // What was half done must not meet the next exchange.
        *state = Exchange::new();
        *parts = RequestParts::new();
    }
    next
}
