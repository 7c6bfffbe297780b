//! `tls.sni.routes` of a tcp listener: each name becomes a route of sessions and a pool for it, asked behind the routes
//! of the file.

use balance_core::{PoolId, RouteId};

use super::pools::Pools;
use crate::config::{Action, Route, RouteMatch, Transform};
use crate::diagnostics::{Diagnostics, Spanned};
use crate::sections::listener::ListenerDraft;
use crate::sections::tls::NameDraft;

/// Adds a route for each name of a listener, in the order in which they are asked. `pool` has the backends that are
/// named.
pub(super) fn add_routes(
    listener: &ListenerDraft,
    pool: Option<PoolId>,
    pools: &mut Pools,
    routes: &mut Vec<Route>,
    diagnostics: &mut Diagnostics,
) -> Vec<RouteId> {
    // That it lacks a pool is reported.
    let (Some(draft), Some(pool)) = (&listener.server_names, pool) else {
        return Vec::new();
    };
    if listener.tls.is_none() && !draft.is_enabled {
        let message = "sessions are routed by the server that they name; TLS is not ended here";
        diagnostics.note(&draft.place, message);
    }
    let of = pools.definition_of(pool);
    let add = |named: &NameDraft| {
        if named.backends.is_empty() {
            let message = format!("no backend for `{}`", named.name);
            diagnostics.error(&named.pattern.place, message);
        }
        let id = RouteId::from_index(routes.len());
        let name = format!("sni:{}:{}", listener.name.value, named.name);
        let view = pools.add_named_view(of, id, &name, &named.backends, diagnostics);
        let Spanned {
            value: pattern,
            place,
        } = named.pattern.clone();
        routes.push(Route {
            name,
            place,
            priority: LAST,
            matches: RouteMatch::default(),
            server_names: Some(vec![pattern]),
            action: Action::Forward(view),
            mirror: None,
            transform: Transform::default(),
            timeouts: pools.pools[view.index()].timeouts.clone(),
            tests: Vec::new(),
        });
        id
    };
    draft.names.iter().map(add).collect()
}

/// Below what a file can say: these are for what none of its routes takes.
const LAST: i64 = i64::MIN;
