//! Routes: unique names, one action each, inherited deadlines and transforms.

use std::collections::HashMap;

use balance_core::{PoolId, RouteId};

use super::pools::Pools;
use crate::check::shown;
use crate::config::{Action, Route, Transform};
use crate::diagnostics::{Diagnostic, Diagnostics, Place, Severity};
use crate::sections::route::RouteDraft;
use crate::sections::timeouts::{self, TimeoutsLayer};
use crate::sections::transform;

/// Checks the drafts and gives positions to routes. A route without a usable action is reported and
/// left out, so positions are final only without errors.
pub(super) fn resolve(
    drafts: Vec<RouteDraft>,
    pools: &mut Pools,
    layers: [&TimeoutsLayer; 2],
    top_transform: &Transform,
    diagnostics: &mut Diagnostics,
) -> Vec<Route> {
    let mut names: HashMap<String, Place> = HashMap::with_capacity(drafts.len());
    let mut routes = Vec::with_capacity(drafts.len());
    for (index, mut draft) in drafts.into_iter().enumerate() {
        let name = unique_name(&draft, index, &mut names, diagnostics);
        let id = RouteId::from_index(index);
        let target = target_pool(&draft, &name, pools, diagnostics);
        let timeouts = match target {
            Some(pool) => {
                timeouts::resolve(&[layers[0], layers[1], pools.layer(pool), &draft.timeouts])
            }
            None => timeouts::resolve(&[layers[0], layers[1], &draft.timeouts]),
        };
        let action = match (
            draft.redirect.take(),
            draft.respond.take(),
            target,
            &draft.backends,
        ) {
            (Some(redirect), ..) => Action::Redirect(redirect),
            (None, Some(respond), ..) => Action::Respond(respond),
            (None, None, Some(pool), Some(backends)) => {
                if backends.is_empty() {
                    let message = format!("route `{}` names no backend", shown(&name));
                    diagnostics.error_help(&draft.place, message, "without `backends` it uses all");
                }
                Action::Forward(pools.add_view(pool, id, &name, backends, &timeouts, diagnostics))
            }
            (None, None, Some(pool), None) => Action::Forward(pool),
            // Reported; any pool keeps the positions as they are.
            (None, None, None, _) => Action::Forward(PoolId(0)),
        };
        routes.push(Route {
            name,
            place: draft.place,
            priority: draft.priority,
            matches: draft.matches,
            action,
            transform: transform::merge(top_transform, draft.transform),
            timeouts,
            tests: draft.tests,
        });
    }
    routes
}

/// The written name, or one by the position in the file.
fn unique_name(
    draft: &RouteDraft,
    index: usize,
    names: &mut HashMap<String, Place>,
    diagnostics: &mut Diagnostics,
) -> String {
    let (name, place) = match &draft.name {
        Some(name) => (name.value.clone(), &name.place),
        None => (format!("route-{}", index + 1), &draft.place),
    };
    match names.get(&name) {
        Some(first) => {
            let message = format!("route `{}` is defined twice", shown(&name));
            diagnostics.push(
                Diagnostic::new(Severity::Error, place, message)
                    .with_related(first, "it is defined here first"),
            );
        }
        None => {
            names.insert(name.clone(), place.clone());
        }
    }
    name
}

/// The pool that the exchanges of a route go to, or that its backends are members of.
fn target_pool(
    draft: &RouteDraft,
    name: &str,
    pools: &Pools,
    diagnostics: &mut Diagnostics,
) -> Option<PoolId> {
    if draft.redirect.is_some() || draft.respond.is_some() {
        return None;
    }
    if let Some(pool) = &draft.pool {
        return pools.find(pool, diagnostics);
    }
    let default = pools.default_pool();
    if default.is_none() && !draft.is_reported {
        let message = match &draft.backends {
            Some(_) => format!("route `{}` names backends and no pool", shown(name)),
            None => format!("route `{}` does nothing", shown(name)),
        };
        diagnostics.error_help(
            &draft.place,
            message,
            "give `pool`, `redirect` or `respond`",
        );
    }
    default
}
