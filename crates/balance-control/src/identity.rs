//! What outlives a reload: backends by their identity, cursors by their pool or route, counts of copies by their route,
//! counts of retries by their pool.
//!
//! Compiling makes a successor of the registry that shares what stays; the old one is not touched, so a
//! reload that fails has changed nothing.

use std::collections::HashMap;
use std::sync::Arc;

use balance_config::{Action, Backend as BackendConfig, Config, Pool, PoolKind, Route};
use balance_core::BackendAddress;
use balance_lb::{Backend, BackendIdentity, Cursor, Places, Queue};
use balance_proxy::{Endpoint, UpstreamAddress};

/// The objects that one configuration uses.
#[derive(Default)]
pub(crate) struct Identities {
    endpoints: HashMap<BackendIdentity, Arc<Endpoint>>,
    /// By the name of the pool or view.
    cursors: HashMap<String, Arc<Cursor>>,
    /// By the name of the pool or view; a view has those of its definition.
    limits: HashMap<String, SharedLimits>,
    /// By the name of the route that splits.
    splits: HashMap<String, Arc<Cursor>>,
    /// By the name of the route that mirrors.
    mirrors: HashMap<String, Arc<Places>>,
    /// Retries under way, by the name of the pool or view.
    retries: HashMap<String, Arc<Places>>,
}

/// What all views of a pool count and wait by.
#[derive(Clone, Default)]
pub(crate) struct SharedLimits {
    pub(crate) places: Arc<Places>,
    pub(crate) queue: Arc<Queue>,
}

impl Identities {
    /// The registry of `config`: known objects where the identity is the same, new ones elsewhere.
    pub(crate) fn successor(&self, config: &Config) -> Self {
        let limits = self.successor_limits(config);
        let endpoints = config.backends.iter().map(|backend| {
            let identity = identity(backend);
            let known = self.endpoints.get(&identity).cloned();
            let queue = || limits.get(&backend.pool).cloned().unwrap_or_default().queue;
            let new = || Arc::new(new_endpoint(identity.clone(), queue()));
            let endpoint = known.unwrap_or_else(new);
            (identity, endpoint)
        });
        let endpoints = endpoints.collect();
        let cursors = config.pools.iter().map(|pool| {
            let known = self.cursors.get(&pool.name).cloned();
            (pool.name.clone(), known.unwrap_or_default())
        });
        let does_split = |route: &&Route| matches!(route.action, Action::Split(_));
        let splits = config.routes.iter().filter(does_split).map(|route| {
            let known = self.splits.get(&route.name).cloned();
            (route.name.clone(), known.unwrap_or_default())
        });
        let does_mirror = |route: &&Route| route.mirror.is_some();
        let mirrors = config.routes.iter().filter(does_mirror).map(|route| {
            let known = self.mirrors.get(&route.name).cloned();
            (route.name.clone(), known.unwrap_or_default())
        });
        let does_retry = |pool: &&Pool| pool.retry.is_some();
        let retries = config.pools.iter().filter(does_retry).map(|pool| {
            let known = self.retries.get(&pool.name).cloned();
            (pool.name.clone(), known.unwrap_or_default())
        });
        Self {
            endpoints,
            cursors: cursors.collect(),
            limits,
            splits: splits.collect(),
            mirrors: mirrors.collect(),
            retries: retries.collect(),
        }
    }

    fn successor_limits(&self, config: &Config) -> HashMap<String, SharedLimits> {
        let definition = |pool: &Pool| match pool.kind {
            PoolKind::Definition => pool.name.clone(),
            PoolKind::View { of, .. } => config.pools[of.index()].name.clone(),
        };
        let mut limits: HashMap<String, SharedLimits> = HashMap::new();
        for pool in &config.pools {
            let definition = definition(pool);
            let known = limits.get(&definition).or(self.limits.get(&definition));
            let shared = known.cloned().unwrap_or_default();
            limits.insert(definition, shared.clone());
            limits.insert(pool.name.clone(), shared);
        }
        limits
    }

    /// What all views of this pool count and wait by.
    pub(crate) fn limits(&self, pool: &str) -> &SharedLimits {
        self.limits.get(pool).expect("the registry has every pool")
    }

    /// The object of a backend of the configuration that this registry was made for.
    pub(crate) fn endpoint(&self, backend: &BackendConfig) -> &Arc<Endpoint> {
        self.endpoints
            .get(&identity(backend))
            .expect("the registry has every backend")
    }

    pub(crate) fn cursor(&self, pool: &str) -> Arc<Cursor> {
        self.cursors
            .get(pool)
            .cloned()
            .expect("the registry has every pool")
    }

    /// Where the split of a route stands.
    pub(crate) fn split(&self, route: &str) -> Arc<Cursor> {
        self.splits
            .get(route)
            .cloned()
            .expect("the registry has every split")
    }

    /// The copies of a route's requests that are under way.
    pub(crate) fn mirror(&self, route: &str) -> Arc<Places> {
        self.mirrors
            .get(route)
            .cloned()
            .expect("the registry has every mirror")
    }

    /// The retries of a pool that are under way.
    pub(crate) fn retries(&self, pool: &str) -> Arc<Places> {
        self.retries
            .get(pool)
            .cloned()
            .expect("the registry has every pool that retries")
    }

    /// All backends, in no order.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.values()
    }

    pub(crate) fn knows(&self, backend: &BackendIdentity) -> bool {
        self.endpoints.contains_key(backend)
    }

    /// Backends that `next` does not know any more.
    pub(crate) fn gone<'a>(&'a self, next: &'a Self) -> impl Iterator<Item = &'a BackendIdentity> {
        self.endpoints
            .keys()
            .filter(|identity| !next.knows(identity))
    }

    /// `pool/backend (address)` of each, sorted: another address is another backend.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |one: &BackendIdentity| format!("{}/{} ({})", one.pool, one.name, one.address);
        let mut names: Vec<String> = self.endpoints.keys().map(name).collect();
        names.sort_unstable();
        names
    }
}

fn identity(backend: &BackendConfig) -> BackendIdentity {
    BackendIdentity {
        pool: backend.pool.clone(),
        name: backend.name.clone(),
        address: backend.address.value.clone(),
    }
}

/// A name has no address until it is resolved.
fn new_endpoint(identity: BackendIdentity, queue: Arc<Queue>) -> Endpoint {
    let addresses = match &identity.address {
        BackendAddress::Ip(ip) => vec![UpstreamAddress::Ip(*ip)],
        BackendAddress::Unix(path) => vec![UpstreamAddress::Unix(path.clone())],
        BackendAddress::Name { .. } => Vec::new(),
    };
    Endpoint::new(Backend::in_pool(identity, queue), addresses)
}
