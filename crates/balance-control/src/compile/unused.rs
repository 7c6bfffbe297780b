//! What the configuration defines and nobody uses: routes that no listener asks, pools that nothing sends
//! to, backends of pools that are only used in part.

use std::collections::HashSet;

use balance_config::{Config, Diagnostic, Mode, PoolKind, RouteScope, Severity};
use balance_core::{BackendId, PoolId, RouteId};

/// A warning for each. In a file of tcp listeners that routes do nothing is said once, elsewhere.
pub(super) fn remarks(config: &Config) -> Vec<Diagnostic> {
    let mut remarks = Vec::new();
    let has_http = config.listeners.iter().any(|one| one.mode == Mode::Http);
    routes(config, has_http, &mut remarks);
    pools(config, &mut remarks);
    remarks
}

fn routes(config: &Config, has_http: bool, remarks: &mut Vec<Diagnostic>) {
    let mut asked: HashSet<RouteId> = HashSet::new();
    // That no route of requests is asked, for want of an http listener, is one mistake.
    let mut all_requests_asked = !has_http;
    for listener in &config.listeners {
        asked.extend(&listener.server_names);
        match &listener.routes {
            RouteScope::All => all_requests_asked = true,
            RouteScope::Listed(listed) => asked.extend(listed),
        }
    }
    for (index, route) in config.routes.iter().enumerate() {
        let is_asked = all_requests_asked && route.server_names.is_none();
        if !is_asked && !asked.contains(&RouteId::from_index(index)) {
            let message = format!("no listener asks route `{}`", route.name);
            remarks.push(
                Diagnostic::new(Severity::Warning, &route.place, message)
                    .with_help("name it in the `routes` of a listener, or remove it"),
            );
        }
    }
}

fn pools(config: &Config, remarks: &mut Vec<Diagnostic>) {
    // A route that is reported already counts as a user of its pool: one mistake, one warning.
    let by_routes = config.routes.iter().flat_map(|route| {
        let mirror = route.mirror.as_ref().map(|mirror| mirror.pool);
        route.action.pools().chain(mirror)
    });
    let by_listeners = config.listeners.iter().filter_map(|one| one.pool);
    let used: HashSet<PoolId> = by_routes.chain(by_listeners).collect();
    let mut reached: HashSet<BackendId> = HashSet::new();
    let mut viewed: HashSet<PoolId> = HashSet::new();
    for id in &used {
        let pool = &config.pools[id.index()];
        reached.extend(&pool.members);
        if let PoolKind::View { of, .. } = pool.kind {
            viewed.insert(of);
        }
    }
    for (index, pool) in config.pools.iter().enumerate() {
        let id = PoolId::from_index(index);
        if pool.kind != PoolKind::Definition || used.contains(&id) {
            continue;
        }
        if !viewed.contains(&id) {
            let message = format!("nothing uses pool `{}`", pool.name);
            remarks.push(
                Diagnostic::new(Severity::Warning, &pool.place, message)
                    .with_help("name it as the `pool` of a route or listener, or remove it"),
            );
            continue;
        }
        for backend in pool
            .members
            .iter()
            .filter(|member| !reached.contains(member))
        {
            let backend = &config.backends[backend.index()];
            let message = format!(
                "nothing uses backend `{}`: routes take pool `{}` in part and never it",
                backend.name, pool.name
            );
            remarks.push(Diagnostic::new(Severity::Warning, &backend.place, message));
        }
    }
}
