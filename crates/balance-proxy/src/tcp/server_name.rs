//! Where a session goes, where that depends on the server that its client names in the first message of TLS.
//!
//! What is read for it is passed on unchanged: TLS is between the client and the backend.

use balance_core::{Cause, PoolId, RouteId};
use balance_route::Trace;

use crate::client_hello::{Peeked, peek_within};
use crate::maybe_tls::MaybeTls;
use crate::server_name::ServerNameFacts;
use crate::snapshot::{Action, ListenerRules, Snapshot};
use crate::wheel::Timer;
use crate::worker::Worker;

/// Whether a listener has to know the name.
pub(crate) fn is_asked(rules: &ListenerRules) -> bool {
    !rules.table.is_empty()
}

/// The route of a session. One whose client names no server has none.
pub(crate) fn route(rules: &ListenerRules, server_name: Option<&str>) -> Option<RouteId> {
    rules.table.decide(&ServerNameFacts(server_name?))
}

/// Every route that is asked for [`route`], and why it does not take the session.
pub(crate) fn trace(rules: &ListenerRules, server_name: &str) -> Trace {
    rules.table.explain(&ServerNameFacts(server_name))
}

/// The pool of a session that `route` takes, or no route.
pub(crate) fn pool(
    snapshot: &Snapshot,
    rules: &ListenerRules,
    route: Option<RouteId>,
) -> Option<PoolId> {
    match route.map(|route| &snapshot.routes[route.index()].action) {
        None => rules.pool,
        Some(Action::Forward(pool)) => Some(*pool),
        // The configuration gives sessions no other action.
        Some(Action::Split(_) | Action::Redirect(_) | Action::Respond(_)) => None,
    }
}

/// Finds the name, or that there is none: no TLS, or no name in it. Where TLS is not ended here it is read, and
/// everything that was read stays in `unread`. The deadline is set.
pub(super) async fn find(
    worker: &Worker,
    timer: &Timer,
    stream: &mut MaybeTls,
    unread: &mut Vec<u8>,
) -> Result<Option<String>, Cause> {
    let stream = match stream {
        MaybeTls::Plain(stream) => stream,
        MaybeTls::Tls(tls) => return Ok(tls.server_name().map(str::to_owned)),
    };
    match peek_within(worker, timer, stream, unread).await? {
        Peeked::Hello(name) => Ok(name),
        Peeked::NotTls => Ok(None),
        Peeked::Malformed(error) => {
            tracing::debug!(%error, "a session cannot be routed by its server name");
            Err(Cause::TlsHandshakeFailed)
        }
        Peeked::Closed => Err(Cause::ClientClosed),
    }
}
