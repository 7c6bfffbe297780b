//! What is decided about a request before a backend is asked: whether it is admitted, where it goes, by whose rules,
//! and what hygiene and filters are told about it.
//!
//! Functions of the snapshot and the request alone. Exchanges are served by them and
//! `balance explain` tells them, so that what is explained cannot differ from what is done.

use std::net::IpAddr;

use balance_core::{Cause, PoolId, RouteId, SplitId, Timeouts};
use balance_lb::Backend;
use balance_proto::authority::Authority;
use balance_proto::hygiene::{ForwardContext, client_address};
use balance_proto::{BodyLength, HeadEdits, RequestView, Scheme};
use balance_route::Trace;
use balance_tls::Certificates;

use super::facts::RequestFacts;
use crate::filter::{Filter, FilterContext};
use crate::own_response::OwnResponse;
use crate::server_name::ServerNameFacts;
use crate::snapshot::{Action, ListenerRules, Snapshot};

/// Where a request goes.
pub(crate) enum Plan {
    Own(OwnResponse),
    Forward(Destination),
}

/// Who answers a request that is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Pool(PoolId),
    /// The one whose turn it is. Drawn when the request is forwarded: one that a filter refuses takes no turn.
    Split(SplitId),
}

impl Destination {
    /// The pool, or that whose turn is next.
    pub(crate) fn peek(self, snapshot: &Snapshot) -> PoolId {
        match self {
            Self::Pool(pool) => pool,
            Self::Split(split) => snapshot.splits[split.index()].peek(),
        }
    }

    /// The pool. Of a split it takes a turn.
    pub(crate) fn draw(self, snapshot: &Snapshot) -> PoolId {
        match self {
            Self::Pool(pool) => pool,
            Self::Split(split) => snapshot.splits[split.index()].draw(),
        }
    }
}

/// Whether the request is for a host of its connection (RFC 9110 §15.5.20): the client has seen no certificate of
/// others. `server_name`: whom it named in its handshake; one that named nobody was not promised anything.
pub(crate) fn admit_host<V: RequestView>(
    certificates: Option<&Certificates>,
    server_name: Option<&str>,
    request: &V,
) -> Result<(), OwnResponse> {
    let (Some(certificates), Some(name)) = (certificates, server_name) else {
        return Ok(());
    };
    if request.host() == name.as_bytes() {
        return Ok(()); // as in nearly all requests
    }
    // Without a host it is for whomever the connection is for.
    let host = std::str::from_utf8(request.host()).unwrap_or_default();
    if host.is_empty() || certificates.cover(name, host) {
        Ok(())
    } else {
        Err(OwnResponse::of_cause(Cause::Misdirected))
    }
}

/// Limits that need no route.
pub(crate) fn admit(listener: &ListenerRules, body: BodyLength) -> Result<(), OwnResponse> {
    let body_bytes_max = listener.limits.body_bytes_max;
    match body {
        BodyLength::Exact(bytes) if body_bytes_max != 0 && bytes > body_bytes_max => {
            Err(OwnResponse::of_cause(Cause::RequestTooLarge))
        }
        _ => Ok(()),
    }
}

/// The route that takes the request: by what is in it, and where none does, by the name of the handshake.
pub(crate) fn route<V: RequestView>(
    listener: &ListenerRules,
    server_name: Option<&str>,
    request: &V,
) -> Option<RouteId> {
    let decided = listener.table.decide(&RequestFacts(request));
    decided.or_else(|| {
        let names = listener.server_names.as_ref()?;
        names.decide(&ServerNameFacts(server_name?))
    })
}

/// Every route that is asked for [`route`], and what the request lacks for it.
pub(crate) fn trace<V: RequestView>(listener: &ListenerRules, request: &V) -> Trace {
    listener.table.explain(&RequestFacts(request))
}

/// What becomes of a request that `route` takes, or no route.
pub(crate) fn plan<V: RequestView>(
    snapshot: &Snapshot,
    listener: &ListenerRules,
    route: Option<RouteId>,
    request: &V,
) -> Plan {
    let Some(route) = route else {
        return match listener.pool {
            Some(pool) => Plan::Forward(Destination::Pool(pool)),
            None => Plan::Own(OwnResponse::of_cause(Cause::NoRoute)),
        };
    };
    match &snapshot.routes[route.index()].action {
        Action::Forward(pool) => Plan::Forward(Destination::Pool(*pool)),
        Action::Split(split) => Plan::Forward(Destination::Split(*split)),
        Action::Respond(respond) => Plan::Own(OwnResponse::direct(respond)),
        Action::Redirect(redirect) => Plan::Own(redirect.response_to(request)),
    }
}

/// Whose rules hold for a request: the route's, else the pool's, else the listener's.
#[derive(Clone, Copy)]
pub(crate) struct Scope {
    /// The position in the snapshot.
    pub(crate) listener: usize,
    pub(crate) route: Option<RouteId>,
    pub(crate) pool: Option<PoolId>,
}

impl Scope {
    pub(crate) fn timeouts(self, snapshot: &Snapshot) -> &Timeouts {
        match (self.route, self.pool) {
            (Some(route), pool) => snapshot.route_timeouts(route, pool),
            (None, Some(pool)) => &snapshot.pools[pool.index()].timeouts,
            (None, None) => &snapshot.listeners[self.listener].timeouts,
        }
    }

    pub(crate) fn filters(self, snapshot: &Snapshot) -> &[Filter] {
        match (
            self.route,
            self.pool.or(snapshot.listeners[self.listener].pool),
        ) {
            (Some(route), _) => &snapshot.routes[route.index()].filters,
            (None, Some(pool)) => &snapshot.pools[pool.index()].filters,
            (None, None) => &[],
        }
    }
}

/// The client address that hashing, limits and the log use.
pub(crate) fn client_of<V: RequestView>(
    listener: &ListenerRules,
    request: &V,
    peer: IpAddr,
) -> IpAddr {
    if listener.trusted_proxies.is_empty() {
        return peer;
    }
    client_address(request, peer, |ip| listener.trusts(ip))
}

/// Who sends a request.
#[derive(Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) peer: IpAddr,
    /// The result of [`client_of`].
    pub(crate) client: IpAddr,
    pub(crate) scheme: Scheme,
}

/// What hygiene is told.
pub(crate) fn forward_context<'a>(
    listener: &ListenerRules,
    sender: Sender,
    via_name: &'a str,
    new_request_id: &'a [u8; 32],
) -> ForwardContext<'a> {
    ForwardContext {
        peer: sender.peer,
        client: sender.client,
        peer_is_trusted: listener.trusts(sender.peer),
        scheme: sender.scheme,
        via_name,
        new_request_id,
        add_forwarded: false,
    }
}

/// What filters may know.
pub(crate) fn filter_context(
    listener: &ListenerRules,
    client: IpAddr,
    scheme: Scheme,
) -> FilterContext {
    FilterContext {
        client,
        scheme,
        paths: listener.protocol.paths,
    }
}

/// Gives a request without authority that of its backend.
pub(crate) fn name_backend(edits: &mut HeadEdits, backend: &Backend) {
    let authority = backend.identity().address.authority();
    // A host name with `_` is legal for a resolver and not in an authority; then it stays empty.
    if let Ok(authority) = Authority::new(authority.as_bytes()) {
        edits.replace_authority(authority);
    }
}
