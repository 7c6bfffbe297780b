//! A snapshot as one worker uses it: with this worker's own part of each backend, and its metric handles.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use balance_core::{MirrorId, PoolId, RouteId};
use balance_lb::{AdminState, Balancer};
use balance_telemetry::{MirrorSeries, RequestSeries, RetrySeries, WorkerMetrics};

use super::Worker;
use super::series::RequestHandles;
use crate::clock::millis;
use crate::endpoint::Endpoint;
use crate::filter::Needs;
use crate::snapshot::{PoolRules, Snapshot};
use crate::upstream::{IdleConnections, IdleLimits, Member};

/// Held by `Rc`: an exchange keeps the one it began with.
pub(crate) struct WorkerSnapshot {
    pub(crate) rules: Arc<Snapshot>,
    /// Indexed by [`PoolId`].
    pub(crate) pools: Vec<WorkerPool>,
    /// Whether some pool wants to be told who the clients are.
    pub(crate) sends_proxy: bool,
    series: RequestHandles,
    /// By [`MirrorId`].
    mirrors: Vec<Rc<MirrorSeries>>,
    /// Each backend once, and where.
    members: Vec<Member>,
    positions: HashMap<*const Endpoint, usize>,
}

/// One pool's backends, in the order of its balancer.
pub(crate) struct WorkerPool {
    pub(crate) balancer: Arc<Balancer>,
    pub(crate) members: Vec<Member>,
    pub(crate) needs: Needs,
    /// Of a pool that repeats failed attempts.
    pub(crate) retry_series: Option<Rc<RetrySeries>>,
}

/// What a worker snapshot is made with.
pub(super) struct Parts<'a> {
    pub(super) metrics: &'a WorkerMetrics,
    pub(super) idle_limits: &'a Rc<IdleLimits>,
    pub(super) worker_count: usize,
    /// The one before: backends that stay keep their idle connections.
    pub(super) previous: Option<&'a WorkerSnapshot>,
}

impl WorkerSnapshot {
    pub(super) fn new(rules: Arc<Snapshot>, parts: &Parts<'_>) -> Self {
        let mut known: Vec<Member> = parts
            .previous
            .map(|previous| previous.members.clone())
            .unwrap_or_default();
        known.sort_by_key(|member| Arc::as_ptr(member.endpoint()));
        let mut members: Vec<Member> = Vec::new();
        let mut positions = HashMap::new();
        let pools = rules
            .pools
            .iter()
            .map(|pool| WorkerPool {
                balancer: pool.policy.balancer(),
                needs: Needs::of(&pool.filters),
                retry_series: pool
                    .retry
                    .as_ref()
                    .map(|_| parts.metrics.retry_series(&pool.name)),
                members: pool
                    .members
                    .iter()
                    .enumerate()
                    .map(|(position, endpoint)| {
                        let pointer = Arc::as_ptr(endpoint);
                        let index = *positions.entry(pointer).or_insert_with(|| {
                            let found = known.binary_search_by_key(&pointer, |member| {
                                Arc::as_ptr(member.endpoint())
                            });
                            let member = match found {
                                Ok(index) => known[index].clone(),
                                Err(_) => new_member(endpoint, parts),
                            };
                            member.idle().configure(
                                idle_share(pool, endpoint, parts.worker_count),
                                millis(pool.idle.idle_conn_timeout),
                            );
                            member.set_send_proxy(pool.send_proxy);
                            member.set_protocol(pool.protocol);
                            member.set_tls(pool.tls.as_ref().map(|tls| &tls[position]));
                            members.push(member);
                            members.len() - 1
                        });
                        members[index].clone()
                    })
                    .collect(),
            })
            .collect();
        Self {
            pools,
            sends_proxy: rules.pools.iter().any(|pool| pool.send_proxy.is_some()),
            series: RequestHandles::new(&rules),
            mirrors: mirror_handles(&rules, parts.metrics),
            members,
            positions,
            rules,
        }
    }

    /// What the route does beyond forwarding. Found when it is asked for: of a route without filters all of it lies on
    /// the cache line of its rules.
    pub(crate) fn route_needs(&self, route: RouteId) -> Needs {
        let rules = &self.rules.routes[route.index()];
        Needs {
            mirror: rules.mirror,
            ..Needs::of(&rules.filters)
        }
    }

    /// The handle that counts the copies of a mirror.
    pub(crate) fn mirror_series(&self, mirror: MirrorId) -> &Rc<MirrorSeries> {
        &self.mirrors[mirror.index()]
    }

    /// Every backend, once.
    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// Whether a backend is still part of it.
    pub(super) fn has(&self, member: &Member) -> bool {
        let pointer = Arc::as_ptr(member.endpoint());
        self.positions.contains_key(&pointer)
    }

    /// The handle that counts requests of a listener, route and pool; made on first use.
    pub(crate) fn request_series(
        &self,
        worker: &Worker,
        listener: usize,
        route: Option<RouteId>,
        pool: Option<PoolId>,
    ) -> &RequestSeries {
        let labels = (route, pool);
        self.series
            .find(&self.rules, &worker.metrics, listener, labels)
    }
}

/// Made at once: an alert on copies that fail needs its series from the start.
fn mirror_handles(rules: &Snapshot, metrics: &WorkerMetrics) -> Vec<Rc<MirrorSeries>> {
    let mirrors = rules.mirrors.iter();
    mirrors
        .map(|mirror| {
            let route = &rules.routes[mirror.route.index()];
            let pool = &rules.pools[mirror.pool.index()];
            metrics.mirror_series(&route.name, &pool.name)
        })
        .collect()
}

fn new_member(endpoint: &Arc<Endpoint>, parts: &Parts<'_>) -> Member {
    let identity = endpoint.backend().identity();
    Member::new(
        Arc::clone(endpoint),
        IdleConnections::new(0, Rc::clone(parts.idle_limits)),
        parts.metrics.backend_series(&identity.pool, &identity.name),
    )
}

/// `max_idle_conns_per_host` is per process: each worker gets its share, at least one connection. What is idle to a
/// backend without new traffic is of no use.
fn idle_share(pool: &PoolRules, endpoint: &Endpoint, worker_count: usize) -> usize {
    match pool.idle.max_idle_conns_per_host {
        _ if endpoint.admin_state() != AdminState::Enabled => 0,
        0 => 0,
        max => (max / worker_count).max(1),
    }
}
