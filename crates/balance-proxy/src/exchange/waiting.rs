//! An exchange that finds its pool full waits in the pool's queue, and leaves it when its client does.

use std::future::poll_fn;
use std::task::Poll;

use balance_core::{Cause, PoolId};
use balance_lb::Lease;

use super::sides::Downstream;
use super::{Context, Exchange};
use crate::upstream::{Member, Waiting};

/// Waits for a place at a backend, at most as long as the pool and the exchange allow.
pub(super) async fn wait_for_place<D: Downstream, T>(
    context: &Context<'_, T>,
    exchange: &mut Exchange,
    down: &mut D,
    pool: PoolId,
) -> Result<Lease<Member>, Cause> {
    let (worker, timer) = (&**context.worker, context.timer);
    let snapshot = exchange.snapshot_handle();
    let began_us = exchange.on_wait_begin(worker);
    let waiting = Waiting::join(worker, &snapshot, pool, timer, exchange.deadline_ms)?;
    let mut client_is_watched = true;
    let result = poll_fn(|cx| {
        if let Poll::Ready(result) = waiting.poll(cx, &mut exchange.selection, timer) {
            return Poll::Ready(result);
        }
        if client_is_watched && let Poll::Ready(event) = down.poll_client(cx) {
            if exchange.ends_with(event) {
                return Poll::Ready(Err(Cause::ClientClosed));
            }
            client_is_watched = false;
        }
        Poll::Pending
    })
    .await;
    waiting.end(result.as_ref().map(drop).map_err(|cause| *cause));
    exchange.on_wait_end(worker, began_us);
    match result {
        Err(Cause::QueueTimeout) if exchange.is_overdue(worker) => Err(Cause::HttpResponseTimeout),
        result => result,
    }
}
