//! TCP mode: one session is one connection to a backend, relayed both ways.
//!
//! ```text
//!   accepted ── pick ──► connecting ──► relaying ──► settled
//!                ▲            │ failed: the backend rests, nothing was sent
//!                └────────────┘
//! ```

use std::net::IpAddr;
use std::rc::Rc;

use balance_core::{Cause, PoolId};
use balance_lb::Lease;
use balance_net::{Relay, RelayOptions, Stream, set_linger_zero};

use crate::clock::millis;
use crate::relay::{Carried, RelayDeadlines, carry};
use crate::upstream::{ConnectError, Member, Selection, connect};
use crate::wheel::Timer;
use crate::worker::{Counted, Session, Worker, WorkerListener, WorkerSnapshot};

/// An accepted connection, as the accept loop hands it over.
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    pub(crate) peer: IpAddr,
    pub(crate) counted: Counted,
}

/// Serves a session to its end.
pub(crate) async fn serve(worker: Rc<Worker>, listener: Rc<WorkerListener>, accepted: Accepted) {
    let Accepted {
        stream: mut downstream,
        peer,
        counted: _counted,
    } = accepted;
    let timer = worker.wheel.timer();
    let started_us = worker.clock.now_us();
    let snapshot = listener.snapshot();
    let mut session = Session::new(peer, started_us);
    let Some(pool) = snapshot.rules.listeners[listener.index()].pool else {
        return session.settle(&worker, &listener, &snapshot, Cause::NoRoute);
    };
    session.pool = Some(pool);
    // Boxed: connecting is a short part of a session's life, its state a large part of the future.
    let connected = Box::pin(connect_backend(
        &worker,
        &snapshot,
        &timer,
        pool,
        &mut session,
    ))
    .await;
    let (mut upstream, lease) = match connected {
        Ok(connected) => connected,
        Err(cause) => {
            // There is no other way to say in TCP that this failed.
            let _ = set_linger_zero(&downstream);
            return session.settle(&worker, &listener, &snapshot, cause);
        }
    };
    let timeouts = &snapshot.rules.pools[pool.index()].timeouts;
    let deadlines = RelayDeadlines {
        idle_ms: millis(timeouts.idle),
        write_progress_ms: millis(timeouts.write_progress),
    };
    // A session may last for days; the snapshot it began with need not.
    drop(snapshot);
    let relay = Relay::new(RelayOptions {
        zero_copy: worker.shared.zero_copy,
    });
    let carried = carry(
        &worker,
        &timer,
        relay,
        &mut downstream,
        &mut upstream,
        deadlines,
    )
    .await;
    settle(&worker, &listener, session, lease, carried);
}

fn settle(
    worker: &Worker,
    listener: &WorkerListener,
    mut session: Session,
    lease: Lease<Member>,
    carried: Carried,
) {
    session.bytes_in = carried.to_upstream_bytes;
    session.bytes_out = carried.to_downstream_bytes;
    let now_us = worker.clock.now_us();
    lease
        .backend()
        .series()
        .record(now_us.saturating_sub(session.started_us));
    drop(lease);
    session.settle(worker, listener, &listener.snapshot(), carried.cause);
}

async fn connect_backend(
    worker: &Worker,
    snapshot: &WorkerSnapshot,
    timer: &Timer,
    pool: PoolId,
    session: &mut Session,
) -> Result<(Stream, Lease<Member>), Cause> {
    let timeouts = &snapshot.rules.pools[pool.index()].timeouts;
    let mut selection = Selection::default();
    selection.set_hash(snapshot, pool, session.peer, |_| None);
    loop {
        let now_ms = worker.clock.now_ms();
        let lease = selection.pick(worker, snapshot, pool, now_ms).await?;
        session.backend = Some(lease.backend().clone());
        session.attempts = selection.attempts();
        timer.set_unless_zero(now_ms, millis(timeouts.connect));
        let opened = tokio::select! {
            opened = connect(lease.backend().endpoint(), timeouts.connect) => opened,
            () = timer.expired() => Err(ConnectError::TimedOut),
        };
        session.connect_us += worker.clock.now_us().saturating_sub(now_ms * 1000);
        match opened {
            Ok(stream) => {
                lease.backend().on_success();
                return Ok((stream, lease));
            }
            Err(error) => selection.on_connect_failure(worker, lease.backend(), error)?,
        }
    }
}
