//! Numbers merged over workers, and the last word of workers and series that are gone.
//!
//! A counter must never go back, or every rate computed from it shows a hole. So when a reload drops a
//! route, its cells are folded into the retired totals and stay visible; should the route come back, its
//! new cells count on from there. How much is kept for those that never come back is bounded.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use balance_core::{Cause, Method, RetryReason, RetryRefusal, TlsVersion};

use crate::histogram::HistogramTotals;
use crate::series::{
    BackendCells, BackendLabels, ListenerCells, MirrorCells, MirrorLabels, MirrorOutcome,
    RequestCells, RequestLabels, RetryCells,
};
use crate::worker::{SeriesMaps, Shard};

/// Everything that workers count, merged.
#[derive(Clone, Debug)]
pub(crate) struct Totals {
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    /// Of the workers that are there: who is gone holds nothing.
    pub(crate) buffered_bytes: u64,
    pub(crate) accept_errors: u64,
    pub(crate) panics: u64,
    pub(crate) tls_handshakes: [[u64; 2]; TlsVersion::ALL.len()],
    pub(crate) causes: [u64; Cause::COUNT],
    pub(crate) requests: BTreeMap<RequestLabels, RequestTotals>,
    pub(crate) backends: BTreeMap<BackendLabels, BackendTotals>,
    pub(crate) listeners: BTreeMap<Box<str>, ListenerTotals>,
    pub(crate) mirrors: BTreeMap<MirrorLabels, MirrorTotals>,
    /// By pool.
    pub(crate) retries: BTreeMap<Box<str>, RetryTotals>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct RequestTotals {
    /// By method, as its discriminant, and status. `None` is what found no place in a worker's table.
    pub(crate) requests: BTreeMap<Option<(u8, u16)>, (Method, u64)>,
    pub(crate) duration: HistogramTotals,
    order: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct BackendTotals {
    pub(crate) requests: u64,
    pub(crate) duration: HistogramTotals,
    pub(crate) retries: u64,
    pub(crate) connect_failures: u64,
    /// Full ones, and resumed ones.
    pub(crate) tls_handshakes: [u64; 2],
    order: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ListenerTotals {
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) became_busy: u64,
    pub(crate) became_idle: u64,
    order: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct MirrorTotals {
    /// By outcome, in their order.
    pub(crate) outcomes: [u64; MirrorOutcome::COUNT],
    order: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct RetryTotals {
    /// By reason, in their order.
    pub(crate) granted: [u64; RetryReason::ALL.len()],
    /// By refusal, in their order.
    pub(crate) refused: [u64; RetryRefusal::ALL.len()],
    order: u64,
}

impl Totals {
    /// Adds what a worker has counted so far.
    pub(crate) fn add_shard(&mut self, shard: &Shard) {
        self.add_cells(shard);
        self.buffered_bytes += shard.buffered_bytes.value();
        shard.with_series(|series| {
            for (labels, cells) in &series.requests {
                self.requests.entry(labels.clone()).or_default().add(cells);
            }
            for (labels, cells) in &series.backends {
                self.backends.entry(labels.clone()).or_default().add(cells);
            }
            for (labels, cells) in &series.listeners {
                self.listeners.entry(labels.clone()).or_default().add(cells);
            }
            for (labels, cells) in &series.mirrors {
                self.mirrors.entry(labels.clone()).or_default().add(cells);
            }
            for (pool, cells) in &series.retries {
                self.retries.entry(pool.clone()).or_default().add(cells);
            }
        });
    }

    /// Adds the series that no handle writes any more, and takes them out of the worker's maps. `order`
    /// tells the eldest from the latest: it grows with each call.
    pub(crate) fn retire_series(&mut self, series: &mut SeriesMaps, order: u64) {
        retire(&mut series.requests, &mut self.requests, order);
        retire(&mut series.backends, &mut self.backends, order);
        retire(&mut series.listeners, &mut self.listeners, order);
        retire(&mut series.mirrors, &mut self.mirrors, order);
        retire(&mut series.retries, &mut self.retries, order);
    }

    /// Adds the counters without labels.
    pub(crate) fn add_cells(&mut self, shard: &Shard) {
        self.bytes_received += shard.bytes_received.value();
        self.bytes_sent += shard.bytes_sent.value();
        self.accept_errors += shard.accept_errors.value();
        self.panics += shard.panics.value();
        let totals = self.tls_handshakes.iter_mut().flatten();
        for (total, cell) in totals.zip(shard.tls_handshakes.iter().flatten()) {
            *total += cell.value();
        }
        for (total, cell) in self.causes.iter_mut().zip(&shard.causes) {
            *total += cell.value();
        }
    }
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            bytes_received: 0,
            bytes_sent: 0,
            buffered_bytes: 0,
            accept_errors: 0,
            panics: 0,
            tls_handshakes: [[0; 2]; TlsVersion::ALL.len()],
            causes: [0; Cause::COUNT],
            requests: BTreeMap::new(),
            backends: BTreeMap::new(),
            listeners: BTreeMap::new(),
            mirrors: BTreeMap::new(),
            retries: BTreeMap::new(),
        }
    }
}

/// What the kinds of series have in common.
trait SeriesTotals: Default {
    type Cells;

    fn add(&mut self, cells: &Self::Cells);
    /// When it was retired last, as a growing number.
    fn retired_at(&mut self) -> &mut u64;
}

impl SeriesTotals for RequestTotals {
    type Cells = RequestCells;

    fn add(&mut self, cells: &RequestCells) {
        cells.for_each_status(|combination, count| {
            let method = combination.map_or(Method::Other, |(method, _)| method);
            let key = combination.map(|(method, status)| (method as u8, status));
            self.requests.entry(key).or_insert((method, 0)).1 += count;
        });
        cells.duration.add_to(&mut self.duration);
    }

    fn retired_at(&mut self) -> &mut u64 {
        &mut self.order
    }
}

impl SeriesTotals for BackendTotals {
    type Cells = BackendCells;

    fn add(&mut self, cells: &BackendCells) {
        self.requests += cells.requests.value();
        cells.duration.add_to(&mut self.duration);
        self.retries += cells.retries.value();
        self.connect_failures += cells.connect_failures.value();
        for (total, cell) in self.tls_handshakes.iter_mut().zip(&cells.tls_handshakes) {
            *total += cell.value();
        }
    }

    fn retired_at(&mut self) -> &mut u64 {
        &mut self.order
    }
}

impl SeriesTotals for ListenerTotals {
    type Cells = ListenerCells;

    fn add(&mut self, cells: &ListenerCells) {
        // In this order: what closes in between was opened before and is counted there.
        self.closed += cells.closed.value();
        self.opened += cells.opened.value();
        self.became_idle += cells.became_idle.value();
        self.became_busy += cells.became_busy.value();
    }

    fn retired_at(&mut self) -> &mut u64 {
        &mut self.order
    }
}

impl SeriesTotals for MirrorTotals {
    type Cells = MirrorCells;

    fn add(&mut self, cells: &MirrorCells) {
        for (total, cell) in self.outcomes.iter_mut().zip(&cells.0) {
            *total += cell.value();
        }
    }

    fn retired_at(&mut self) -> &mut u64 {
        &mut self.order
    }
}

impl SeriesTotals for RetryTotals {
    type Cells = RetryCells;

    fn add(&mut self, cells: &RetryCells) {
        for (total, cell) in self.granted.iter_mut().zip(&cells.granted) {
            *total += cell.value();
        }
        for (total, cell) in self.refused.iter_mut().zip(&cells.refused) {
            *total += cell.value();
        }
    }

    fn retired_at(&mut self) -> &mut u64 {
        &mut self.order
    }
}

/// Moves what is held by the map alone: `get_mut` proves that no handle is left, and makes the last
/// writes of its thread visible.
fn retire<L: Ord + Eq + Hash + Clone, T: SeriesTotals>(
    live: &mut HashMap<L, Arc<T::Cells>>,
    retired: &mut BTreeMap<L, T>,
    order: u64,
) {
    live.retain(|labels, cells| match Arc::get_mut(cells) {
        Some(cells) => {
            let totals = retired.entry(labels.clone()).or_default();
            totals.add(cells);
            *totals.retired_at() = order;
            false
        }
        None => true,
    });
    while retired.len() > RETIRED_SERIES_MAX {
        let times = retired
            .iter_mut()
            .map(|(labels, totals)| (*totals.retired_at(), labels));
        if let Some((_, eldest)) = times.min() {
            let eldest = eldest.clone();
            retired.remove(&eldest);
        }
    }
}

/// Of each kind. Discovery can bring new backend names for years; a scrape must not grow with them.
pub(crate) const RETIRED_SERIES_MAX: usize = 1_000;
