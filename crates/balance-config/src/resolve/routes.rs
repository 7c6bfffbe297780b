//! Routes: unique names, one action each, inherited deadlines and transforms.

use std::collections::HashMap;

use balance_core::{PoolId, RouteId, Weight};

use super::pools::Pools;
use crate::check::shown;
use crate::config::{Action, Mirror, Route, Share, Transform};
use crate::diagnostics::{Diagnostic, Diagnostics, Place, Severity};
use crate::sections::mirror::MirrorDraft;
use crate::sections::route::RouteDraft;
use crate::sections::split::SplitDraft;
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
        let mirror = draft.mirror.take();
        let action = match (
            draft.redirect.take(),
            draft.respond.take(),
            draft.split.take(),
            target,
            &draft.backends,
        ) {
            (Some(redirect), ..) => Some(Action::Redirect(redirect)),
            (None, Some(respond), ..) => Some(Action::Respond(respond)),
            (None, None, Some(split), ..) => {
                let shares = shares(&split, pools, layers, &draft.timeouts, diagnostics);
                Some(Action::Split(shares))
            }
            (None, None, None, Some(pool), Some(backends)) => {
                if backends.is_empty() {
                    let message = format!("route `{}` names no backend", shown(&name));
                    diagnostics.error_help(&draft.place, message, "without `backends` it uses all");
                }
                let view = pools.add_view(pool, id, &name, backends, &timeouts, diagnostics);
                Some(Action::Forward(view))
            }
            (None, None, None, Some(pool), None) => Some(Action::Forward(pool)),
            (None, None, None, None, _) => None, // reported
        };
        let mirror = match (mirror, &action) {
            (Some(draft), Some(action)) => resolve_mirror(draft, action, pools, diagnostics),
            _ => None,
        };
        // Any pool keeps the positions as they are.
        let action = action.unwrap_or(Action::Forward(PoolId(0)));
        routes.push(Route {
            name,
            place: draft.place,
            priority: draft.priority,
            matches: draft.matches,
            server_names: draft.server_names,
            action,
            mirror,
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

/// The shares of a split whose pools exist; the others are reported.
fn shares(
    split: &SplitDraft,
    pools: &Pools,
    layers: [&TimeoutsLayer; 2],
    own: &TimeoutsLayer,
    diagnostics: &mut Diagnostics,
) -> Vec<Share> {
    let mut shares = Vec::with_capacity(split.shares.len());
    for share in &split.shares {
        if let Some(pool) = pools.find(&share.pool, diagnostics) {
            let timeouts = timeouts::resolve(&[layers[0], layers[1], pools.layer(pool), own]);
            shares.push(Share {
                pool,
                weight: Weight(share.weight),
                timeouts,
            });
        }
    }
    shares
}

/// A mirror, unless its pool does not exist or is one of those that serve the route.
fn resolve_mirror(
    draft: MirrorDraft,
    action: &Action,
    pools: &Pools,
    diagnostics: &mut Diagnostics,
) -> Option<Mirror> {
    let pool = pools.find(&draft.pool, diagnostics)?;
    let serves = |own: PoolId| pools.definition_of(own) == pool;
    if action.pools().any(serves) {
        let name = shown(&draft.pool.value);
        let message =
            format!("`mirror`: pool `{name}` serves the route, and would get each request twice");
        diagnostics.error_help(&draft.pool.place, message, "name a pool of its own");
        return None;
    }
    // Copies are made of what is forwarded; that a mirror beside another action does nothing is told already.
    action.pools().next()?;
    Some(Mirror {
        pool,
        sample: draft.sample,
        body_bytes_max: draft.body_bytes_max,
        in_flight_max: draft.in_flight_max,
        timeout: draft.timeout,
    })
}

/// The pool that the exchanges of a route go to, or that its backends are members of.
fn target_pool(
    draft: &RouteDraft,
    name: &str,
    pools: &Pools,
    diagnostics: &mut Diagnostics,
) -> Option<PoolId> {
    if draft.redirect.is_some() || draft.respond.is_some() || draft.split.is_some() {
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
            "give `pool`, `split`, `redirect` or `respond`",
        );
    }
    default
}
