//! An upgraded connection (WebSocket): bytes pass both ways after the backend's 101.

use balance_core::Cause;
use balance_net::{Relay, RelayOptions, Side};

use super::downstream::Http1Downstream;
use super::upstream::Http1Upstream;
use crate::clock::millis;
use crate::exchange::sides::Downstream;
use crate::exchange::{Context, Exchange, Tunnel};
use crate::planted;
use crate::relay::{RelayDeadlines, carry};
use crate::transport::HttpTransport;

/// Carries a tunnel to its end and settles its exchange.
pub(super) async fn carry_tunnel(
    context: &Context<'_, HttpTransport<'_>>,
    exchange: &mut Exchange,
    down: &mut Http1Downstream<'_>,
    tunnel: Tunnel<Http1Upstream>,
) {
    let worker = context.worker;
    let Tunnel {
        mut upstream,
        lease,
    } = tunnel;
    planted::panic_for("tunnel", down.request());
    let mut relay = Relay::new(RelayOptions {
        zero_copy: worker.shared.zero_copy,
    });
    // Both may have sent first bytes right behind their heads.
    relay.queue(Side::Upstream, down.unread, &worker.relay_buffers);
    *down.unread = Vec::new();
    relay.queue(
        Side::Downstream,
        &upstream.take_unread(),
        &worker.relay_buffers,
    );
    let deadlines = {
        let timeouts = exchange.timeouts_in(exchange.snapshot());
        RelayDeadlines {
            idle_ms: millis(timeouts.tunnel),
            write_progress_ms: millis(timeouts.write_progress),
        }
    };
    let carried = carry(
        worker,
        context.timer,
        relay,
        down.stream,
        upstream.stream(),
        deadlines,
    )
    .await;
    context.transport.http1.give_back(upstream.into_parts().1);
    drop(lease);
    down.add_tunnel_bytes(carried.to_upstream_bytes, carried.to_downstream_bytes);
    // A WebSocket that its client leaves is an ordinary end.
    let cause = match carried.cause {
        Cause::ClientClosed => Cause::Completed,
        cause => cause,
    };
    exchange.settle(worker, down, cause);
}
