//! TCP mode: one session is one connection to a backend, relayed both ways.
//!
//! ```text
//!   accepted ── pick ──► connecting ──► relaying ──► settled
//!       │        ▲▲           │ failed: the backend rests, nothing was sent
//!       ▼        │└───────────┘
//!   finding the server's name, where routes ask for it
//! ```
//!
//! Where the pool is full, the pick waits in its queue.

pub(crate) mod server_name;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use balance_core::{Cause, PoolId, Timeouts};
use balance_lb::{Lease, Outcome};
use balance_net::{PeerState, Relay, RelayOptions, Side, set_linger_zero};
use balance_proto::proxy_protocol::ConnectionEnds;

use crate::clock::millis;
use crate::isolate::{Panicked, isolate};
use crate::maybe_tls::MaybeTls;
use crate::planted;
use crate::relay::{RelayDeadlines, carry};
use crate::upstream::{
    Announced, ConnectError, Member, NoPick, Selection, Waiting, connect, report,
};
use crate::wheel::Timer;
use crate::worker::{Connected, Session, Worker, WorkerListener, WorkerSnapshot, ends_of};

/// Serves a session to its end.
pub(crate) async fn serve(worker: Rc<Worker>, listener: Rc<WorkerListener>, connected: Connected) {
    let Connected {
        stream: mut downstream,
        peer,
        ends,
        unread,
        mut counted,
    } = connected;
    counted.set_busy(true);
    let mut session = Session::new(peer, worker.clock.now_us());
    let client = Client { ends, unread };
    let ran = isolate(run(
        &worker,
        &listener,
        &mut downstream,
        client,
        &mut session,
    ))
    .await;
    let cause = ran.unwrap_or_else(|Panicked| {
        worker.metrics.panicked();
        let _ = set_linger_zero(&downstream);
        Cause::ProxyInternalError
    });
    session.settle(&worker, &listener, cause);
}

/// The session's life; what it comes to know stays in `session`, however it ends.
async fn run(
    worker: &Worker,
    listener: &WorkerListener,
    downstream: &mut MaybeTls,
    mut client: Client,
    session: &mut Session,
) -> Cause {
    let timer = worker.wheel.timer();
    let snapshot = listener.snapshot();
    let index = listener.index();
    let rules = &snapshot.rules.listeners[index];
    let mut route = None;
    if server_name::is_asked(rules) {
        let (head_ms, _) = listener.connection_timeouts();
        timer.set(worker.clock.now_ms(), head_ms);
        let unread = &mut client.unread;
        // Boxed: as connecting below.
        match Box::pin(server_name::find(worker, &timer, downstream, unread)).await {
            Ok(name) => {
                route = server_name::route(rules, name.as_deref());
                session.server_name = name.unwrap_or_default();
            }
            Err(cause) => {
                session.bytes_in = client.unread.len() as u64;
                let _ = set_linger_zero(&*downstream);
                return cause;
            }
        }
    }
    if let Some(route) = route {
        session
            .route
            .push_str(&snapshot.rules.routes[route.index()].name);
    }
    let Some(pool) = server_name::pool(&snapshot.rules, rules, route) else {
        let _ = set_linger_zero(&*downstream);
        return Cause::NoRoute;
    };
    session.asked = Some((Rc::clone(&snapshot), pool));
    if worker.budget.is_short() {
        let _ = set_linger_zero(&*downstream);
        return Cause::Overloaded;
    }
    let timeouts = match route {
        Some(route) => &snapshot.rules.routes[route.index()].timeouts,
        None => &snapshot.rules.pools[pool.index()].timeouts,
    };
    // Boxed: connecting is a short part of a session's life, its state a large part of the future.
    let asked = Asked {
        snapshot: &snapshot,
        pool,
        timeouts,
        ends: client.ends(&snapshot, downstream),
    };
    let connected = Box::pin(connect_backend(worker, &asked, &timer, session, downstream)).await;
    let (mut upstream, lease) = match connected {
        Ok(connected) => connected,
        Err(cause) => {
            // There is no other way to say in TCP that this failed.
            let _ = set_linger_zero(&*downstream);
            return cause;
        }
    };
    let deadlines = RelayDeadlines {
        idle_ms: millis(timeouts.idle),
        write_progress_ms: millis(timeouts.write_progress),
    };
    // A session may last for days; the snapshot it began with need not.
    session.asked = None;
    drop(snapshot);
    planted::panic_at("session", || true);
    let mut relay = Relay::new(RelayOptions {
        zero_copy: worker.shared.zero_copy,
    });
    if !client.unread.is_empty() {
        relay.queue(Side::Upstream, &client.unread, &worker.relay_buffers);
        drop(client);
    }
    let carried = carry(worker, &timer, relay, downstream, &mut upstream, deadlines).await;
    session.bytes_in = carried.to_upstream_bytes;
    session.bytes_out = carried.to_downstream_bytes;
    let lasted_us = worker.clock.now_us().saturating_sub(session.started_us);
    lease.backend().series().record(lasted_us);
    carried.cause
}

/// What is known of a client besides its address.
struct Client {
    /// As a PROXY header told them.
    ends: Option<Box<ConnectionEnds>>,
    /// The first bytes of the session: read behind that header, or for the server's name.
    unread: Vec<u8>,
}

impl Client {
    /// Both ends of its connection, if a backend may want to know.
    fn ends(&self, snapshot: &WorkerSnapshot, downstream: &MaybeTls) -> Option<ConnectionEnds> {
        match &self.ends {
            Some(ends) => Some(**ends),
            None if snapshot.sends_proxy => ends_of(downstream.stream()),
            None => None,
        }
    }
}

/// What a backend is wanted for.
struct Asked<'a> {
    snapshot: &'a WorkerSnapshot,
    pool: PoolId,
    timeouts: &'a Timeouts,
    ends: Option<ConnectionEnds>,
}

async fn connect_backend(
    worker: &Worker,
    asked: &Asked<'_>,
    timer: &Timer,
    session: &mut Session,
    downstream: &mut MaybeTls,
) -> Result<(MaybeTls, Lease<Member>), Cause> {
    let (snapshot, pool, timeouts) = (asked.snapshot, asked.pool, asked.timeouts);
    let mut selection = Selection::default();
    selection.set_hash(snapshot, pool, session.peer, |_| None);
    loop {
        let now_ms = worker.clock.now_ms();
        let lease = match selection.pick(worker, snapshot, pool, now_ms) {
            Ok(lease) => lease,
            Err(NoPick::Full) => {
                wait_for_place(worker, asked, timer, &mut selection, downstream).await?
            }
            Err(NoPick::Ended(cause)) => return Err(cause),
        };
        let now_ms = worker.clock.now_ms();
        session.backend = Some(lease.backend().clone());
        session.attempts = selection.attempts();
        timer.set_unless_zero(now_ms, millis(timeouts.connect));
        let member = lease.backend();
        let announced = member.send_proxy();
        let announced = announced.map(|version| Announced::new(version, asked.ends));
        let opened = tokio::select! {
            opened = connect(worker, member, timeouts.connect, announced.as_ref()) => opened,
            () = timer.expired() => Err(ConnectError::TimedOut),
        };
        session.connect_us += worker.clock.now_us().saturating_sub(now_ms * 1000);
        match opened {
            Ok(stream) => {
                session.tls_us = stream.handshake_us();
                member.on_success();
                report(&lease, Outcome::Success, now_ms); // what is in the bytes nobody knows here
                session.place = selection.take_place();
                return Ok((stream, lease));
            }
            Err(error) => selection.on_connect_failure(worker, &lease, error)?,
        }
    }
}

/// Waits for a place at a backend, until the client resets. One that only ends its side may still want to hear.
async fn wait_for_place(
    worker: &Worker,
    asked: &Asked<'_>,
    timer: &Timer,
    selection: &mut Selection,
    downstream: &mut MaybeTls,
) -> Result<Lease<Member>, Cause> {
    let waiting = Waiting::join(worker, asked.snapshot, asked.pool, timer, None)?;
    let mut client_is_watched = true;
    let result = poll_fn(|cx| {
        if let Poll::Ready(result) = waiting.poll(cx, selection, timer) {
            return Poll::Ready(result);
        }
        // Nothing is read here: of a client that has sent something no more can be seen.
        if client_is_watched
            && let Poll::Ready(state) = downstream.poll_peer(cx, &mut Vec::new(), false)
        {
            if matches!(state, PeerState::Reset) {
                return Poll::Ready(Err(Cause::ClientClosed));
            }
            client_is_watched = false;
        }
        Poll::Pending
    })
    .await;
    waiting.end(result.as_ref().map(drop).map_err(|cause| *cause));
    result
}
