//! Pools and their backends: unique names, members, policies, and the views of routes.

use std::collections::{HashMap, HashSet};

use balance_core::{
    BackendAddress, BackendId, PoolId, RouteId, Timeouts, UpstreamProtocol, Weight,
};

use super::tls;
use crate::check::shown;
use crate::config::{Backend, Pool, PoolKind};
use crate::diagnostics::{Diagnostic, Diagnostics, Place, Severity, Spanned};
use crate::sections::pool::{DEFAULT, PoolDraft, VIEW_PREFIX};
use crate::sections::timeouts::{self, TimeoutsLayer};

/// All pools and backends of the file, with what is needed to refer to them.
pub(super) struct Pools {
    pub(super) pools: Vec<Pool>,
    pub(super) backends: Vec<Backend>,
    /// By name; also pools that are wrong in themselves, so that nobody is told they do not exist.
    ids: HashMap<String, PoolId>,
    /// Of each definition: its members by name. `None` = known and invalid.
    members: Vec<HashMap<String, Option<BackendId>>>,
    /// Of each definition: what it says itself about deadlines.
    layers: Vec<TimeoutsLayer>,
}

/// Checks the drafts and gives positions to pools and backends.
pub(super) fn resolve(
    drafts: Vec<PoolDraft>,
    layers: [&TimeoutsLayer; 2],
    diagnostics: &mut Diagnostics,
) -> Pools {
    let mut pools = Pools {
        pools: Vec::with_capacity(drafts.len()),
        backends: Vec::new(),
        ids: HashMap::new(),
        members: Vec::new(),
        layers: Vec::new(),
    };
    for draft in drafts {
        pools.define(draft, layers, diagnostics);
    }
    pools
}

impl Pools {
    /// The pool that routes and listeners mean which name none.
    pub(super) fn default_pool(&self) -> Option<PoolId> {
        self.ids.get(DEFAULT).copied()
    }

    /// A pool that something refers to; an unknown one is reported.
    pub(super) fn find(
        &self,
        name: &Spanned<String>,
        diagnostics: &mut Diagnostics,
    ) -> Option<PoolId> {
        if let Some(id) = self.ids.get(&name.value) {
            return Some(*id);
        }
        let mut diagnostic = Diagnostic::new(
            Severity::Error,
            &name.place,
            format!("there is no pool `{}`", shown(&name.value)),
        );
        let names = || self.definitions().map(|pool| pool.name.as_str());
        diagnostic.help = diagnostics.suggest("pools", &name.value, names);
        diagnostics.push(diagnostic);
        None
    }

    /// The pool itself, or that which a view is of.
    pub(super) fn definition_of(&self, id: PoolId) -> PoolId {
        match self.pools.get(id.index()).map(|pool| pool.kind) {
            Some(PoolKind::View { of, .. }) => of,
            _ => id,
        }
    }

    /// What a pool says itself about deadlines.
    pub(super) fn layer(&self, id: PoolId) -> &TimeoutsLayer {
        &self.layers[id.index()]
    }

    /// Adds a route's choice among the members of a pool.
    pub(super) fn add_view(
        &mut self,
        of: PoolId,
        route: RouteId,
        route_name: &str,
        names: &[Spanned<String>],
        timeouts: &Timeouts,
        diagnostics: &mut Diagnostics,
    ) -> PoolId {
        let members = self.select(of, names, diagnostics);
        let definition = &self.pools[of.index()];
        let view = Pool {
            name: format!("{VIEW_PREFIX}{route_name}"),
            place: names
                .first()
                .map_or(&definition.place, |name| &name.place)
                .clone(),
            kind: PoolKind::View { of, route },
            members,
            algorithm: definition.algorithm,
            hash_key: definition.hash_key.clone(),
            slow_start: definition.slow_start,
            limits: definition.limits.clone(),
            send_proxy: definition.send_proxy,
            tls: definition.tls.clone(),
            protocol: definition.protocol,
            timeouts: timeouts.clone(),
            health: definition.health.clone(),
            breaker: definition.breaker.clone(),
            retry: definition.retry.clone(),
        };
        self.pools.push(view);
        PoolId::from_index(self.pools.len() - 1)
    }

    fn define(
        &mut self,
        draft: PoolDraft,
        layers: [&TimeoutsLayer; 2],
        diagnostics: &mut Diagnostics,
    ) {
        let name = &draft.name;
        if name.value.starts_with(VIEW_PREFIX) || name.value.is_empty() {
            let message = format!("`{}` cannot be the name of a pool", shown(&name.value));
            diagnostics.error_help(
                &name.place,
                message,
                "`route:` is for the views that routes make",
            );
        }
        if let Some(first) = self.ids.get(&name.value) {
            let first = &self.pools[first.index()].place;
            let message = format!("pool `{}` is defined twice", shown(&name.value));
            diagnostics.push(
                Diagnostic::new(Severity::Error, &name.place, message)
                    .with_related(first, "it is defined here first"),
            );
            return;
        }
        if draft.is_empty {
            let message = format!("pool `{}` has no backends", shown(&name.value));
            diagnostics.error_help(
                &draft.place,
                message,
                "add at least one: `- \"127.0.0.1:9001\"`",
            );
        }
        warn_ignored_weights(&draft, diagnostics);
        if let Some(tls) = &draft.tls {
            tls::check_upstream(tls, &draft, diagnostics);
        }
        warn_nothing_to_choose(&draft, diagnostics);
        let (members, by_name) = self.add_backends(&draft, diagnostics);
        self.ids
            .insert(name.value.clone(), PoolId::from_index(self.pools.len()));
        self.members.push(by_name);
        self.pools.push(Pool {
            name: draft.name.value,
            place: draft.place,
            kind: PoolKind::Definition,
            members,
            algorithm: draft.balancer.algorithm,
            hash_key: draft.balancer.hash_key,
            slow_start: draft.balancer.slow_start,
            limits: draft.limits,
            send_proxy: draft.send_proxy,
            tls: draft.tls,
            protocol: draft.protocol.value,
            timeouts: timeouts::resolve(&[layers[0], layers[1], &draft.timeouts]),
            health: draft.health,
            breaker: draft.breaker,
            retry: draft.retry,
        });
        self.layers.push(draft.timeouts);
    }

    fn add_backends(
        &mut self,
        draft: &PoolDraft,
        diagnostics: &mut Diagnostics,
    ) -> (Vec<BackendId>, HashMap<String, Option<BackendId>>) {
        let mut ids = Vec::with_capacity(draft.backends.len());
        let mut by_name = HashMap::with_capacity(draft.backends.len());
        let mut places: HashMap<&str, &Place> = HashMap::with_capacity(draft.backends.len());
        for backend in &draft.backends {
            let name = &backend.name;
            if let Some(first) = places.insert(&name.value, &name.place) {
                let message = format!("backend `{}` is defined twice", shown(&name.value));
                diagnostics.push(
                    Diagnostic::new(Severity::Error, &name.place, message)
                        .with_related(first, "it is defined here first")
                        .with_help("equal addresses are fine under different names"),
                );
                continue;
            }
            let Some(address) = &backend.address else {
                by_name.insert(name.value.clone(), None);
                continue;
            };
            let id = BackendId::from_index(self.backends.len());
            self.backends.push(Backend {
                pool: draft.name.value.clone(),
                name: name.value.clone(),
                address: address.clone(),
                weight: backend.weight,
                max_connections: backend.max_connections,
                place: backend.place.clone(),
            });
            ids.push(id);
            by_name.insert(name.value.clone(), Some(id));
        }
        (ids, by_name)
    }

    /// The pool that a name of a server leads to: backends of another one, by name, `name:port` or address, and those
    /// that only this name knows.
    pub(super) fn add_named_view(
        &mut self,
        of: PoolId,
        route: RouteId,
        route_name: &str,
        backends: &[Spanned<String>],
        diagnostics: &mut Diagnostics,
    ) -> PoolId {
        let id = self.add_view(of, route, route_name, &[], &self.timeouts(of), diagnostics);
        let mut members: Vec<BackendId> = Vec::with_capacity(backends.len());
        for backend in backends {
            let Some(member) = self.find_or_add(of, id, backend, diagnostics) else {
                continue;
            };
            if members.contains(&member) {
                let message = format!("backend `{}` is named twice", shown(&backend.value));
                diagnostics.warning(&backend.place, message);
            } else {
                members.push(member);
            }
        }
        let view = &mut self.pools[id.index()];
        view.members = members;
        if let Some(first) = backends.first() {
            view.place = first.place.clone();
        }
        id
    }

    fn timeouts(&self, pool: PoolId) -> Timeouts {
        self.pools[pool.index()].timeouts.clone()
    }

    /// `None`: reported, here or where it is defined.
    fn find_or_add(
        &mut self,
        of: PoolId,
        view: PoolId,
        named: &Spanned<String>,
        diagnostics: &mut Diagnostics,
    ) -> Option<BackendId> {
        let text = named.value.as_str();
        let by_name = &self.members[of.index()];
        if let Some(known) = by_name.get(text) {
            return *known;
        }
        let address = BackendAddress::parse(text).ok();
        if let Some(address) = &address {
            let (members, backends) = (&self.pools[of.index()].members, &self.backends);
            let same = |id: &&BackendId| backends[id.index()].address.value == *address;
            if let Some(known) = members.iter().find(same) {
                return Some(*known);
            }
        }
        let with_port = text.rsplit_once(':');
        if let Some((name, port)) = with_port
            && let Some(known) = by_name.get(name)
        {
            let id = (*known)?;
            let own = &self.backends[id.index()].address;
            if own.value.port().map(|own| own.to_string()).as_deref() == Some(port) {
                return Some(id);
            }
            let message = format!("backend `{}` is at {}", shown(name), own.value);
            diagnostics.push(
                Diagnostic::new(Severity::Error, &named.place, message)
                    .with_related(&own.place, "its address is here"),
            );
            return None;
        }
        let Some(address) = address else {
            self.unknown_backend(of, named, diagnostics);
            return None;
        };
        self.backends.push(Backend {
            pool: self.pools[view.index()].name.clone(),
            name: text.to_owned(),
            address: Spanned::new(address, named.place.clone()),
            weight: Weight(1),
            max_connections: 0,
            place: named.place.clone(),
        });
        Some(BackendId::from_index(self.backends.len() - 1))
    }

    fn unknown_backend(&self, of: PoolId, name: &Spanned<String>, diagnostics: &mut Diagnostics) {
        let pool = shown(&self.pools[of.index()].name);
        let message = format!("pool `{pool}` has no backend `{}`", shown(&name.value));
        let mut diagnostic = Diagnostic::new(Severity::Error, &name.place, message);
        let names = || self.members[of.index()].keys().map(String::as_str);
        diagnostic.help = diagnostics.suggest("backends", &name.value, names);
        diagnostics.push(diagnostic);
    }

    /// The members of a pool that a route names, each once.
    fn select(
        &self,
        of: PoolId,
        names: &[Spanned<String>],
        diagnostics: &mut Diagnostics,
    ) -> Vec<BackendId> {
        let by_name = &self.members[of.index()];
        let mut members: Vec<BackendId> = Vec::with_capacity(names.len());
        let mut seen: HashSet<BackendId> = HashSet::with_capacity(names.len());
        for name in names {
            match by_name.get(&name.value) {
                Some(Some(id)) if !seen.insert(*id) => {
                    let message = format!("backend `{}` is named twice", shown(&name.value));
                    diagnostics.warning(&name.place, message);
                }
                Some(Some(id)) => members.push(*id),
                Some(None) => {} // Reported where it is defined.
                None => self.unknown_backend(of, name, diagnostics),
            }
        }
        members
    }

    fn definitions(&self) -> impl Iterator<Item = &Pool> {
        self.pools
            .iter()
            .filter(|pool| pool.kind == PoolKind::Definition)
    }
}

fn warn_nothing_to_choose(draft: &PoolDraft, diagnostics: &mut Diagnostics) {
    if let (UpstreamProtocol::Auto, Some(place), None) =
        (draft.protocol.value, &draft.protocol.place, &draft.tls)
    {
        diagnostics.push(
            Diagnostic::new(
                Severity::Warning,
                place,
                "`protocol: auto` is HTTP/1.1 here: without `tls` there is no ALPN to choose by",
            )
            .with_help("`h2` speaks HTTP/2 to backends that are known to understand it"),
        );
    }
}

/// Different weights that the algorithm does not look at are a misunderstanding.
fn warn_ignored_weights(draft: &PoolDraft, diagnostics: &mut Diagnostics) {
    let mut weights = draft.backends.iter().map(|backend| backend.weight);
    let first = weights.next();
    if !draft.balancer.algorithm.uses_weights() && weights.any(|weight| Some(weight) != first) {
        let message = format!(
            "`{}` ignores the weights of pool `{}`",
            draft.balancer.algorithm.name(),
            shown(&draft.name.value)
        );
        let place = draft.balancer.place.as_ref().unwrap_or(&draft.place);
        diagnostics.push(
            Diagnostic::new(Severity::Warning, place, message)
                .with_help("`weighted-round-robin` follows them"),
        );
    }
}
