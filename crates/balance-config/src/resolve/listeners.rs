//! Listeners: unique names and addresses, modes, and what happens when no route matches.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use balance_core::{HashKey, ListenAddress, PoolId, RouteId};

use super::pools::Pools;
use super::{mode, server_names, tls};
use crate::check::shown;
use crate::config::{Listener, Mode, Pool, Route, RouteScope, Transform, Version};
use crate::diagnostics::{Diagnostic, Diagnostics, Place, Severity, Spanned};
use crate::sections::listener::ListenerDraft;
use crate::value::Block;

/// What listeners refer to.
pub(super) struct Context<'a> {
    pub(super) version: Version,
    pub(super) file: &'a Arc<str>,
    pub(super) pools: &'a mut Pools,
    /// Those of the file; routes by the names of `tls.sni.routes` are added behind them.
    pub(super) routes: &'a mut Vec<Route>,
    pub(super) default_mode: mode::Default,
    /// The top-level one.
    pub(super) transform: &'a Transform,
}

/// Checks the drafts and resolves what they refer to.
pub(super) fn resolve(
    drafts: Vec<ListenerDraft>,
    root: &Block,
    context: &mut Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Vec<Listener> {
    if drafts.is_empty() && !root.has("listen") && root.list("listeners").is_empty() {
        diagnostics.error_help(
            &Place::whole(context.file),
            "there is nothing to listen on",
            "add `listen: \":8080\"`",
        );
    }
    if root.field("backends").is_none()
        && root.map("pools").is_empty()
        && !root.has("routes")
        && !root.has("http")
    {
        diagnostics.error_help(
            &Place::whole(context.file),
            "there are no backends",
            "add `backends: [\"127.0.0.1:9001\"]`",
        );
        return Vec::new();
    }
    let mut names: HashMap<String, Place> = HashMap::with_capacity(drafts.len());
    let route_ids: HashMap<String, RouteId> = context
        .routes
        .iter()
        .enumerate()
        .map(|(index, route)| (route.name.clone(), RouteId::from_index(index)))
        .collect();
    drafts
        .into_iter()
        .map(|draft| {
            check_name(&draft, &mut names, diagnostics);
            context.listener(draft, &route_ids, diagnostics)
        })
        .collect()
}

impl Context<'_> {
    fn listener(
        &mut self,
        draft: ListenerDraft,
        route_ids: &HashMap<String, RouteId>,
        diagnostics: &mut Diagnostics,
    ) -> Listener {
        let mode = self.mode(&draft, route_ids, diagnostics);
        let mut routes = self.scope(&draft, mode, route_ids, diagnostics);
        let pool = self.pool(&draft, mode, &routes, diagnostics);
        if mode == Mode::Tcp {
            warn_http_only(&draft, diagnostics);
        }
        let mut server_names = self.server_names(&draft, mode, pool, diagnostics);
        if let (Mode::Tcp, RouteScope::Listed(listed)) = (mode, &mut routes) {
            listed.append(&mut server_names);
        }
        if let Some(tls) = &draft.tls {
            tls::check(tls, mode, diagnostics);
        }
        Listener {
            name: draft.name.value,
            place: draft.place,
            listen: draft.listen,
            mode,
            proxy_sources: draft.proxy_sources,
            trusted_proxies: draft.trusted_proxies,
            routes,
            server_names,
            pool,
            tls: draft.tls,
        }
    }

    /// The routes of `tls.sni.routes`.
    fn server_names(
        &mut self,
        draft: &ListenerDraft,
        mode: Mode,
        pool: Option<PoolId>,
        diagnostics: &mut Diagnostics,
    ) -> Vec<RouteId> {
        if mode == Mode::Http && draft.tls.is_none() {
            refuse_server_names(draft, diagnostics);
            return Vec::new();
        }
        let Some(names) = &draft.server_names else {
            return Vec::new();
        };
        let pool = draft.pool.as_ref().and(pool).or(self.pools.default_pool());
        let Some(pool) = pool else {
            // Of sessions it is reported that there is no pool.
            if mode == Mode::Http {
                let message = "`sni.routes` names backends, and the listener has no pool";
                diagnostics.error_help(&names.place, message, "add `pool: NAME` to the listener");
            }
            return Vec::new();
        };
        let of = server_names::Of {
            listener: draft,
            pool,
            transform: match mode {
                Mode::Http => self.transform.clone(),
                Mode::Tcp => Transform::default(),
            },
        };
        server_names::add_routes(&of, names, self.pools, self.routes, diagnostics)
    }

    fn mode(
        &self,
        draft: &ListenerDraft,
        route_ids: &HashMap<String, RouteId>,
        diagnostics: &mut Diagnostics,
    ) -> Mode {
        if let Some(mode) = draft.mode {
            return mode;
        }
        let is_of_requests = |name: &Spanned<String>| {
            let id = route_ids.get(&name.value);
            id.is_none_or(|id| !self.is_of_sessions(*id))
        };
        match &draft.routes {
            Some(names) if !matches!(self.default_mode, mode::Default::Written(_)) => {
                if names.iter().any(is_of_requests) {
                    Mode::Http
                } else {
                    Mode::Tcp
                }
            }
            _ => {
                let name = &draft.name.value;
                self.default_mode.mode_of(name, &draft.place, diagnostics)
            }
        }
    }

    fn is_of_sessions(&self, route: RouteId) -> bool {
        self.routes[route.index()].server_names.is_some()
    }

    fn scope(
        &self,
        draft: &ListenerDraft,
        mode: Mode,
        route_ids: &HashMap<String, RouteId>,
        diagnostics: &mut Diagnostics,
    ) -> RouteScope {
        let Some(names) = &draft.routes else {
            // Of tcp listeners only those of the file: the names of another listener are not its.
            let of_file = (0..route_ids.len()).map(RouteId::from_index);
            let of_sessions = of_file.filter(|id| self.is_of_sessions(*id));
            return match mode {
                Mode::Http => RouteScope::All,
                Mode::Tcp => RouteScope::Listed(of_sessions.collect()),
            };
        };
        let mut listed: Vec<RouteId> = Vec::with_capacity(names.len());
        let mut seen: HashSet<RouteId> = HashSet::with_capacity(names.len());
        for name in names {
            match route_ids.get(name.value.as_str()) {
                Some(id) if !seen.insert(*id) => {
                    let message = format!("route `{}` is listed twice", shown(&name.value));
                    diagnostics.warning(&name.place, message);
                }
                Some(id) if self.is_of_sessions(*id) == (mode == Mode::Tcp) => listed.push(*id),
                Some(_) => refuse_other_mode(&draft.name.value, mode, name, diagnostics),
                None => unknown_route(name, self.routes, diagnostics),
            }
        }
        RouteScope::Listed(listed)
    }

    /// What is used when no route matches: the listener's pool; without `version` else all backends. With
    /// `version: 2` the pool `default` stands in only where there is no route at all, so that the shortest
    /// file still forwards and a file with routes answers 404 to what none of them wants.
    fn pool(
        &self,
        draft: &ListenerDraft,
        mode: Mode,
        routes: &RouteScope,
        diagnostics: &mut Diagnostics,
    ) -> Option<PoolId> {
        if let Some(pool) = &draft.pool {
            return self.pools.find(pool, diagnostics);
        }
        let has_routes = match routes {
            RouteScope::All => self.routes.iter().any(|route| route.server_names.is_none()),
            RouteScope::Listed(listed) => !listed.is_empty(),
        };
        let default = self.pools.default_pool();
        let pool = match self.version {
            Version::V2 if has_routes => None,
            _ => default,
        };
        let is_lost = pool.is_none() && !has_routes;
        let routes_reported = draft.routes.as_ref().is_some_and(|names| !names.is_empty());
        if is_lost && !routes_reported {
            let message = match mode {
                Mode::Tcp => format!(
                    "listener `{}` has no pool to send its sessions to",
                    shown(&draft.name.value)
                ),
                Mode::Http => format!(
                    "listener `{}` has neither routes nor a pool",
                    shown(&draft.name.value)
                ),
            };
            diagnostics.error_help(
                &draft.place,
                message,
                "add `pool: NAME`, or top-level `backends`",
            );
        }
        pool
    }
}

/// Two listeners on one address, or one that the process wants for itself (`own`).
pub(super) fn check_addresses(
    listeners: &[Listener],
    own: &[(Option<&Spanned<ListenAddress>>, &str)],
    diagnostics: &mut Diagnostics,
) {
    let mut taken: HashMap<&ListenAddress, (&Place, &str)> = HashMap::new();
    for listener in listeners {
        for listen in &listener.listen {
            claim(listen, &listener.name, &mut taken, diagnostics);
        }
    }
    // Those may share an address with one another, not with clients.
    for (listen, name) in own {
        if let Some(listen) = listen {
            claim(listen, name, &mut taken.clone(), diagnostics);
        }
    }
}

/// A header cannot be hashed where there is none.
pub(super) fn warn_hash_keys(
    listeners: &[Listener],
    pools: &[Pool],
    diagnostics: &mut Diagnostics,
) {
    for listener in listeners
        .iter()
        .filter(|listener| listener.mode == Mode::Tcp)
    {
        let Some(pool) = listener.pool.and_then(|id| pools.get(id.index())) else {
            continue;
        };
        if pool.algorithm.needs_hash() && matches!(pool.hash_key, HashKey::Header(_)) {
            let message = format!(
                "pool `{}` hashes a header, and tcp listener `{}` has none: it hashes the client's address",
                shown(&pool.name),
                shown(&listener.name)
            );
            diagnostics.warning(&pool.place, message);
        }
    }
}

fn claim<'a>(
    listen: &'a Spanned<ListenAddress>,
    owner: &'a str,
    taken: &mut HashMap<&'a ListenAddress, (&'a Place, &'a str)>,
    diagnostics: &mut Diagnostics,
) {
    if listen.value.port() == Some(0) {
        return; // Any free port, a new one each time.
    }
    if let Some((first, by)) = taken.get(&listen.value) {
        let message = format!(
            "`{}` wants {}, which `{}` has",
            shown(owner),
            listen.value,
            shown(by)
        );
        diagnostics.push(
            Diagnostic::new(Severity::Error, &listen.place, message)
                .with_related(first, "it is taken here first")
                .with_help("give each its own address"),
        );
        return;
    }
    taken.insert(&listen.value, (&listen.place, owner));
}

fn check_name(
    draft: &ListenerDraft,
    names: &mut HashMap<String, Place>,
    diagnostics: &mut Diagnostics,
) {
    let name = &draft.name;
    if let Some(first) = names.get(&name.value) {
        let message = format!("listener `{}` is defined twice", shown(&name.value));
        diagnostics.push(
            Diagnostic::new(Severity::Error, &name.place, message)
                .with_related(first, "it is defined here first"),
        );
        return;
    }
    names.insert(name.value.clone(), name.place.clone());
}

fn unknown_route(name: &Spanned<String>, routes: &[Route], diagnostics: &mut Diagnostics) {
    let message = format!("there is no route `{}`", shown(&name.value));
    let mut diagnostic = Diagnostic::new(Severity::Error, &name.place, message);
    let names = || routes.iter().map(|route| route.name.as_str());
    diagnostic.help = diagnostics.suggest("routes", &name.value, names);
    diagnostics.push(diagnostic);
}

/// A route of requests at a tcp listener, or one of sessions at an http listener.
fn refuse_other_mode(
    listener: &str,
    mode: Mode,
    route: &Spanned<String>,
    diagnostics: &mut Diagnostics,
) {
    let (listener, route_name) = (shown(listener), shown(&route.value));
    let (message, help) = match mode {
        Mode::Tcp => (
            format!(
                "listener `{listener}` has mode tcp: it cannot see what route `{route_name}` matches"
            ),
            "write `mode: http`, `pool` in place of `routes`, or a route with `match: { sni: NAME }`",
        ),
        Mode::Http => (
            format!(
                "listener `{listener}` has mode http: route `{route_name}` with `sni` is for mode tcp"
            ),
            "match by `host`, or write `mode: tcp`",
        ),
    };
    diagnostics.error_help(&route.place, message, help);
}

/// Requests without TLS name no server but their Host.
fn refuse_server_names(draft: &ListenerDraft, diagnostics: &mut Diagnostics) {
    let names = draft.server_names.as_ref().filter(|names| names.is_enabled);
    if let Some(names) = names {
        diagnostics.error_help(
            &names.place,
            "`sni.routes` of mode http needs TLS, and `tls` has no certificate",
            "add `cert_file` and `key_file`, or write `mode: tcp`, or routes with `host`",
        );
    }
}

fn warn_http_only(draft: &ListenerDraft, diagnostics: &mut Diagnostics) {
    let name = shown(&draft.name.value);
    if !draft.trusted_proxies.is_empty() {
        let message = format!("`trusted_proxies` has no effect: listener `{name}` has mode tcp");
        diagnostics.warning(&draft.place, message);
    }
}
