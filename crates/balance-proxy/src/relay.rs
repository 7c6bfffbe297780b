//! Carrying bytes between a client and a backend until both are done: TCP sessions and upgraded HTTP.

use std::future::poll_fn;
use std::task::Poll;

use balance_core::Cause;
use balance_net::{Relay, RelayError, RelayIo, Side, set_linger_zero};

use crate::maybe_tls::MaybeTls;
use crate::wheel::Timer;
use crate::worker::Worker;

/// Deadlines of a relayed pair; 0 = none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RelayDeadlines {
    /// Without a byte in either direction.
    pub(crate) idle_ms: u64,
    /// While a receiver takes nothing.
    pub(crate) write_progress_ms: u64,
}

/// What was carried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried {
    pub(crate) cause: Cause,
    pub(crate) to_upstream_bytes: u64,
    pub(crate) to_downstream_bytes: u64,
}

/// Relays to the end. A side that broke off makes the other see a reset, not a tidy end.
pub(crate) async fn carry(
    worker: &Worker,
    timer: &Timer,
    mut relay: Relay,
    downstream: &mut MaybeTls,
    upstream: &mut MaybeTls,
    deadlines: RelayDeadlines,
) -> Carried {
    let mut armed_at = None;
    let mut held = worker.budget.holder();
    let result = poll_fn(|cx| {
        let before = relay.progress();
        {
            let mut scratch = worker.scratch.borrow();
            let room = worker.budget.piece_bytes_max().min(scratch.len());
            let mut io = RelayIo {
                scratch: &mut scratch[..room],
                pipes: &worker.pipes,
                buffers: &worker.relay_buffers,
            };
            if let Poll::Ready(result) = relay.poll(cx, downstream, upstream, &mut io) {
                return Poll::Ready(Some(result));
            }
        }
        held.set(relay.held_bytes());
        let is_blocked = relay.is_write_blocked();
        if armed_at != Some(is_blocked) || relay.progress() != before {
            armed_at = Some(is_blocked);
            let after_ms = if is_blocked {
                deadlines.write_progress_ms
            } else {
                deadlines.idle_ms
            };
            timer.set_unless_zero(worker.clock.now_ms(), after_ms);
        }
        timer.poll_expired(cx).map(|()| None)
    })
    .await;
    let is_blocked_at_end = relay.is_write_blocked();
    let carried = Carried {
        cause: match &result {
            Some(Ok(())) => Cause::Completed,
            Some(Err(error)) => cause_of(error),
            None if worker.is_cut() => Cause::Draining,
            None => match relay.blocked_receiver() {
                Some(Side::Upstream) => Cause::ConnectionWriteTimeout,
                Some(Side::Downstream) | None => Cause::ClientTimeout,
            },
        },
        to_upstream_bytes: relay.to_upstream().sent,
        to_downstream_bytes: relay.to_downstream().sent,
    };
    let mut scratch = worker.scratch.borrow();
    relay.release(&RelayIo {
        scratch: &mut scratch,
        pipes: &worker.pipes,
        buffers: &worker.relay_buffers,
    });
    let is_truncated = match &result {
        Some(Ok(())) => false,
        Some(Err(error)) => error.is_truncated,
        // Without traffic nothing is lost; what a receiver did not take is.
        None => is_blocked_at_end,
    };
    if is_truncated {
        // The other side must see that this is not the end of what was to be said. Failing to say so is
        // no error of ours: the socket is closed in the next moment.
        let _ = set_linger_zero(&*downstream);
        let _ = set_linger_zero(&*upstream);
    }
    carried
}

fn cause_of(error: &RelayError) -> Cause {
    match error.side {
        Side::Downstream => Cause::ClientClosed,
        Side::Upstream => Cause::AbortedByUpstream,
    }
}
