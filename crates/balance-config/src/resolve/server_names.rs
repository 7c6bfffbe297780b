//! `tls.sni.routes` of a listener: each name becomes a route of sessions and a pool for it. Of a tcp listener they are
//! asked behind the routes of the file, of an http listener for requests that no route takes.

use balance_core::{PoolId, RouteId};

use super::pools::Pools;
use crate::config::{Action, Route, RouteMatch, Transform};
use crate::diagnostics::{Diagnostics, Spanned};
use crate::sections::listener::ListenerDraft;
use crate::sections::tls::{NameDraft, NamesDraft};

/// What such routes are made of, besides the names.
pub(super) struct Of<'a> {
    pub(super) listener: &'a ListenerDraft,
    /// Whose backends are named.
    pub(super) pool: PoolId,
    pub(super) transform: Transform,
}

/// Adds a route for each name of a listener, in the order in which they are asked.
pub(super) fn add_routes(
    of: &Of<'_>,
    draft: &NamesDraft,
    pools: &mut Pools,
    routes: &mut Vec<Route>,
    diagnostics: &mut Diagnostics,
) -> Vec<RouteId> {
    let listener = of.listener;
    if listener.tls.is_none() && !draft.is_enabled {
        let message = "sessions are routed by the server that they name; TLS is not ended here";
        diagnostics.note(&draft.place, message);
    }
    let definition = pools.definition_of(of.pool);
    let add = |named: &NameDraft| {
        if named.backends.is_empty() {
            let message = format!("no backend for `{}`", named.name);
            diagnostics.error(&named.pattern.place, message);
        }
        let id = RouteId::from_index(routes.len());
        let name = format!("sni:{}:{}", listener.name.value, named.name);
        let view = pools.add_named_view(definition, id, &name, &named.backends, diagnostics);
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
            transform: of.transform.clone(),
            timeouts: pools.pools[view.index()].timeouts.clone(),
            tests: Vec::new(),
        });
        id
    };
    draft.names.iter().map(add).collect()
}

/// Below what a file can say: these are for what none of its routes takes.
const LAST: i64 = i64::MIN;
