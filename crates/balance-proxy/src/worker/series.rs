//! The handles that count requests, found by position: one for each listener, route and pool that belong together.

use std::cell::OnceCell;

use balance_core::{PoolId, RouteId};
use balance_telemetry::{RequestSeries, WorkerMetrics};

use crate::snapshot::{Action, Snapshot};

/// The handles of one snapshot, each made on first use.
///
/// A route has a slot for what ends before a pool is known (a filter refuses it), and one for each pool it sends to: a
/// handle keeps its labels, so two of them must not share a slot.
pub(super) struct RequestHandles {
    /// By listener.
    slots: Vec<Box<[OnceCell<RequestSeries>]>>,
    /// Where the slots of each route begin, by [`RouteId`]. Small, to be in a cache when it is asked.
    begins: Box<[u32]>,
}

impl RequestHandles {
    pub(super) fn new(rules: &Snapshot) -> Self {
        let mut end = WITHOUT_ROUTE;
        let begins = rules
            .routes
            .iter()
            .map(|route| {
                let begin = u32::try_from(end).expect("fewer than 2^32 routes and pools of them");
                end += 1 + match &route.action {
                    Action::Forward(_) => 1,
                    Action::Split(split) => rules.splits[split.index()].shares().len(),
                    Action::Redirect(_) | Action::Respond(_) => 0,
                };
                begin
            })
            .collect();
        let of_listener = || (0..end).map(|_| OnceCell::new()).collect();
        Self {
            slots: rules.listeners.iter().map(|_| of_listener()).collect(),
            begins,
        }
    }

    /// The handle of a listener, route and pool of the snapshot that it was made for.
    pub(super) fn find(
        &self,
        rules: &Snapshot,
        metrics: &WorkerMetrics,
        listener: usize,
        (route, pool): (Option<RouteId>, Option<PoolId>),
    ) -> &RequestSeries {
        let slot = match (route, pool) {
            (None, None) => 0,
            (None, Some(_)) => 1,
            (Some(route), None) => self.begins[route.index()] as usize,
            (Some(route), Some(pool)) => {
                self.begins[route.index()] as usize + 1 + position(rules, route, pool)
            }
        };
        self.slots[listener][slot].get_or_init(|| {
            metrics.request_series(
                &rules.listeners[listener].name,
                route.map_or("", |route| &rules.routes[route.index()].name),
                pool.map_or("", |pool| &rules.pools[pool.index()].name),
            )
        })
    }
}

/// The position of a pool among those of its route.
fn position(rules: &Snapshot, route: RouteId, pool: PoolId) -> usize {
    match &rules.routes[route.index()].action {
        Action::Split(split) => rules.splits[split.index()].position(pool).unwrap_or(0),
        _ => 0,
    }
}

/// The slots of requests that no route took: without a pool, and with the listener's.
const WITHOUT_ROUTE: usize = 2;
