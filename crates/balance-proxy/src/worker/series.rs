//! The handles that count requests, found by position: one for each listener, route and pool that belong together.

use std::cell::OnceCell;

use balance_core::{PoolId, RouteId};
use balance_telemetry::{RequestSeries, WorkerMetrics};

use crate::snapshot::{Action, Snapshot};

/// The handles of one snapshot, each made on first use.
///
/// A route has a slot for what ends before a pool is known (a filter refuses it), and one for each pool it sends to: a
/// handle keeps its labels, so two of them must not share a slot. What is asked for most, a route with one pool, is found
/// without asking where its slots are: of ten thousand routes that would be one more fetch from memory.
pub(super) struct RequestHandles {
    /// By listener: those without a route, those of each route, and then the pools of splits.
    slots: Vec<Box<[OnceCell<RequestSeries>]>>,
    /// Where the pools of a split have their slots, by the id of the split, which is that of one route.
    split_begins: Box<[usize]>,
}

impl RequestHandles {
    pub(super) fn new(rules: &Snapshot) -> Self {
        let mut end = SLOTS_OF_ONE * (1 + rules.routes.len());
        let split_begins = rules
            .splits
            .iter()
            .map(|split| {
                let begin = end;
                end += split.shares().len();
                begin
            })
            .collect();
        let of_listener = || (0..end).map(|_| OnceCell::new()).collect();
        Self {
            slots: rules.listeners.iter().map(|_| of_listener()).collect(),
            split_begins,
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
        let slot = self.slot(rules, route, pool);
        self.slots[listener][slot].get_or_init(|| {
            metrics.request_series(
                &rules.listeners[listener].name,
                route.map_or("", |route| &rules.routes[route.index()].name),
                pool.map_or("", |pool| &rules.pools[pool.index()].name),
            )
        })
    }

    fn slot(&self, rules: &Snapshot, route: Option<RouteId>, pool: Option<PoolId>) -> usize {
        let begin = route.map_or(0, |route| SLOTS_OF_ONE * (1 + route.index()));
        let Some(pool) = pool else {
            return begin;
        };
        match route.map(|route| &rules.routes[route.index()].action) {
            Some(Action::Split(split)) => {
                let position = rules.splits[split.index()].position(pool).unwrap_or(0);
                self.split_begins[split.index()] + position
            }
            _ => begin + 1,
        }
    }
}

/// Without a pool, and with one: of a route, and of requests that no route took (those go to the listener's).
const SLOTS_OF_ONE: usize = 2;
