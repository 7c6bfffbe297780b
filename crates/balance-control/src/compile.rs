//! From a configuration to everything that a publish needs.
//!
//! All that can fail happens here: routes and filters, the access log, the admin token, and binding of
//! addresses that are new. Until it has succeeded nothing running has changed; when it fails, sockets that
//! were bound meanwhile are closed again by being dropped.
//!
//! ```text
//!   Config ── draft (pure) ──► Draft ── acquire (sockets, files) ──► Prepared ── publish (cannot fail)
//!                │                          │
//!                └────── diagnostics ◄──────┘
//! ```

mod admin;
mod backends;
mod listeners;
mod log;
mod pools;
mod restart;
mod route_tests;
mod routes;
mod shadow;
mod show;
mod tls;
mod unused;

#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::Arc;

use balance_config::{Config, Diagnostic, Place, Severity, Sources, Spanned};
use balance_core::ListenAddress;
use balance_proxy::{ListenerKey, ListenerRules, ListenerSocket, PoolRules, Snapshot};
use balance_telemetry::Registry;

use crate::admin::AdminListener;
use crate::handle::has_errors;
use crate::identity::Identities;
use crate::view::{Running, View};

pub(crate) use admin::{AdminAddress, metrics_path};
pub(crate) use backends::BackendRules;
pub(crate) use listeners::BoundAddress;
pub(crate) use log::OpenLog;
pub(crate) use pools::balancer;
pub(crate) use routes::check_patterns;
pub(crate) use tls::{
    SecuredListener, Tls, certificates, check_names, listener_paths, store, upstream_paths,
};

use routes::Tables;

/// A configuration and all that it holds: the running one, or the one that may become it.
pub(crate) struct Compiled {
    pub(crate) config: Arc<Config>,
    /// Fixed at the start: sockets and idle caps are divided by it.
    pub(crate) worker_count: usize,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) identities: Identities,
    /// Control's own descriptors of every listening socket.
    pub(crate) listeners: Vec<Arc<BoundAddress>>,
    pub(crate) log: Option<OpenLog>,
    pub(crate) tls: Tls,
    pub(crate) admin: Vec<AdminAddress>,
}

/// Everything for a publish.
pub(crate) struct Prepared {
    pub(crate) next: Compiled,
    /// One set of sockets for each address that workers have to begin with.
    pub(crate) added: Vec<Vec<ListenerSocket>>,
    /// What workers have to stop accepting on.
    pub(crate) removed: Vec<ListenerKey>,
    pub(crate) admin: Vec<AdminListener>,
    /// What backends follow from the publish on, those that are carried over too.
    pub(crate) backends: Vec<BackendRules>,
    pub(crate) view: View,
    /// Warnings and notes.
    pub(crate) remarks: Vec<Diagnostic>,
}

/// The part that touches nothing outside.
struct Draft {
    identities: Identities,
    /// As it would be without sockets, names and logs.
    unbound: Snapshot,
    /// One for each listener of the configuration.
    tables: Vec<Tables>,
}

/// Compiles `config` as the successor of `previous`.
///
/// # Errors
/// Everything that is wrong, with its place.
pub(crate) fn compile(
    config: Config,
    sources: &dyn Sources,
    previous: Option<&Compiled>,
    registry: &Arc<Registry>,
) -> Result<Prepared, Vec<Diagnostic>> {
    let known = previous.map(|previous| &previous.identities);
    let draft = draft(&config, known)?;
    let mut diagnostics = restart::remarks(&config, previous);
    diagnostics.extend(limits(&config));
    diagnostics.extend(remarks(&config, &draft));

    let worker_count =
        previous.map_or_else(|| workers_wanted(&config), |previous| previous.worker_count);
    let bound = listeners::acquire(&config, previous, worker_count, &mut diagnostics);
    let tls = tls::acquire(&config, sources, previous, &mut diagnostics);
    let log = log::acquire(&config, previous, registry, &mut diagnostics);
    let admin = admin::acquire(&config, previous, &mut diagnostics);
    if has_errors(&diagnostics) {
        return Err(diagnostics);
    }

    let Draft {
        identities,
        unbound,
        tables,
    } = draft;
    let backends = BackendRules::of(&config, &identities, known);
    let generation = previous.map_or(0, |previous| previous.snapshot.generation) + 1;
    let addresses = bound.addresses.iter();
    let pools = unbound.pools.into_iter().enumerate();
    let snapshot = Arc::new(Snapshot {
        generation,
        listeners: addresses
            .map(|address| {
                let index = address.listener();
                ListenerRules {
                    tls: tls.policy(index),
                    ..listeners::rules(&config, index, &address.key, &tables)
                }
            })
            .collect(),
        pools: pools
            .map(|(index, pool)| PoolRules {
                tls: tls.members(&config, index),
                ..pool
            })
            .collect(),
        access_log: log.as_ref().map(|log| Arc::clone(&log.log)),
        ..unbound
    });
    let config = Arc::new(config);
    let running = Running {
        config: Arc::clone(&config),
        snapshot: Arc::downgrade(&snapshot),
    };
    let view = show::view(running, &identities, &tables, &bound.addresses, generation);
    Ok(Prepared {
        added: bound.added,
        removed: bound.removed,
        admin: admin.listeners,
        backends,
        view,
        remarks: diagnostics,
        next: Compiled {
            config,
            worker_count,
            snapshot,
            identities,
            listeners: bound.addresses,
            log,
            tls,
            admin: admin.addresses,
        },
    })
}

/// Compiles as far as it goes without touching anything outside: what `balance check` can say about a
/// configuration while another process runs it.
pub(crate) fn check(config: &Config) -> Vec<Diagnostic> {
    let mut diagnostics = limits(config);
    diagnostics.extend(log::check(config));
    diagnostics.extend(tls::check(config));
    diagnostics.extend(admin::check(config));
    match draft(config, None) {
        Ok(draft) => diagnostics.extend(remarks(config, &draft)),
        Err(errors) => diagnostics.extend(errors),
    }
    diagnostics.sort_by(|a, b| a.place.cmp(&b.place));
    diagnostics
}

/// A snapshot of a configuration that serves nothing: nothing is bound, opened or resolved for it.
///
/// # Errors
/// Everything that is wrong, with its place.
pub(crate) fn unbound(config: &Config) -> Result<Snapshot, Vec<Diagnostic>> {
    let draft = draft(config, None)?;
    for rules in BackendRules::of(config, &draft.identities, None) {
        rules.apply(0);
    }
    Ok(draft.unbound)
}

fn draft(config: &Config, known: Option<&Identities>) -> Result<Draft, Vec<Diagnostic>> {
    let identities = match known {
        Some(known) => known.successor(config),
        None => Identities::default().successor(config),
    };
    let mut errors = Vec::new();
    let routes = routes::compile(config, &identities, &mut errors);
    let tables = routes::tables(config, &mut errors);
    let pools = pools::compile(config, &identities, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let unbound = Snapshot {
        generation: 0,
        listeners: unbound_listeners(config, &tables),
        routes: routes.routes,
        splits: routes.splits,
        mirrors: routes.mirrors,
        pools,
        access_log: None,
    };
    route_tests::run(config, &unbound, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Draft {
        identities,
        unbound,
        tables,
    })
}

/// One for each address, as it is written.
fn unbound_listeners(config: &Config, tables: &[Tables]) -> Vec<ListenerRules> {
    let listeners = config.listeners.iter().enumerate();
    let addresses = listeners.flat_map(|(index, listener)| {
        let key = |written: &Spanned<ListenAddress>| listeners::key(&written.value, listener.mode);
        listener
            .listen
            .iter()
            .map(move |written| (index, key(written)))
    });
    addresses
        .map(|(index, key)| listeners::rules(config, index, &key, tables))
        .collect()
}

/// What is legal and still cannot be meant.
fn remarks(config: &Config, draft: &Draft) -> Vec<Diagnostic> {
    let mut remarks = shadow::remarks(config, &draft.tables);
    remarks.extend(unused::remarks(config));
    remarks
}

/// What the configuration says, else one for each processor that this process may use.
fn workers_wanted(config: &Config) -> usize {
    config
        .worker_threads
        .map_or_else(balance_net::cpu_count, NonZeroUsize::get)
}

/// Whether the descriptors suffice for what the configuration allows.
fn limits(config: &Config) -> Vec<Diagnostic> {
    let available = balance_net::descriptor_limit().hard;
    let Some(listener) = config.listeners.first() else {
        return Vec::new();
    };
    let whole = Place::whole(&listener.place.file);
    let warning = |place: &Place, message: String, help: &str| {
        Diagnostic::new(Severity::Warning, place, message).with_help(help)
    };
    if available < DESCRIPTORS_LOW {
        let message = format!(
            "only {available} file descriptors are available: about {} proxied connections at a time",
            available / DESCRIPTORS_PER_CONNECTION
        );
        let help = "raise LimitNOFILE= (systemd) or `ulimit -Hn`";
        return vec![warning(&whole, message, help)];
    }
    let help = "raise LimitNOFILE= (systemd) or `ulimit -Hn`, or lower the limit";
    let mut warnings = Vec::new();
    let clients = u64::try_from(config.limits.connections_max).unwrap_or(u64::MAX);
    let wanted = clients.saturating_mul(DESCRIPTORS_PER_CONNECTION);
    if wanted > available {
        let place = config.connections_max_place.as_ref().unwrap_or(&whole);
        let message = format!(
            "limits.connections_max of {clients} needs about {wanted} file descriptors; this process may have {available}"
        );
        warnings.push(warning(place, message, help));
    }
    let allowed = |backend: &balance_config::Backend| u64::from(backend.max_connections);
    let wanted: u64 = config.backends.iter().map(allowed).sum();
    let largest = config
        .backends
        .iter()
        .max_by_key(|backend| allowed(backend));
    if let Some(largest) = largest.filter(|_| wanted > available) {
        let message = format!(
            "max_connections of all backends are {wanted} connections; this process may have {available} file descriptors"
        );
        warnings.push(warning(&largest.place, message, help));
    }
    warnings
}

/// One towards the client, one towards the backend.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;
/// The usual soft limit. A hard limit at or below it is a mistake of the environment.
const DESCRIPTORS_LOW: u64 = 1025;
