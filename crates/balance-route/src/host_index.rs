//! The routes of a table, found by host and then by path.

use std::collections::HashMap;

use crate::host_map::HostMap;
use crate::path_index::{PathIndex, Ranked};
use crate::pattern::{HOST_BYTES_MAX, HostPattern};
use crate::route::Route;

/// Three places where the routes for a host may be; the least rank of all three wins. Merging them into one list per
/// host at compile time would multiply hosts by catch-all routes.
#[derive(Debug)]
pub(crate) struct HostIndex {
    exact: HostMap,
    /// By suffix, without `*.`.
    suffix: HostMap,
    /// The most labels of any suffix: a client's host of a hundred labels costs no more lookups.
    suffix_labels_max: usize,
    any: Option<PathIndex>,
}

impl HostIndex {
    /// From routes in order of rank.
    pub(crate) fn compile(routes: &[Route]) -> Self {
        let mut exact: Ranks<'_> = HashMap::new();
        let mut suffix: Ranks<'_> = HashMap::new();
        let mut any = Vec::new();
        for (rank, route) in (0_u32..).zip(routes) {
            if route.spec.hosts.is_empty() {
                any.push(rank);
            }
            for host in &route.spec.hosts {
                let ranks = match host {
                    HostPattern::Any => &mut any,
                    HostPattern::Exact(host) => exact.entry(host.as_bytes()).or_default(),
                    HostPattern::Suffix(host) => suffix.entry(host.as_bytes()).or_default(),
                };
                // A route may name a host twice.
                if ranks.last() != Some(&rank) {
                    ranks.push(rank);
                }
            }
        }
        let suffix_labels_max = suffix.keys().map(|host| labels(host)).max().unwrap_or(0);
        Self {
            exact: index_all(exact, routes),
            suffix: index_all(suffix, routes),
            suffix_labels_max,
            any: (!any.is_empty()).then(|| index(&[], &any, routes)),
        }
    }

    /// The route of the least rank whose host and path take these and for which `is_match` holds. It is asked of routes
    /// that ask for more than host and path, which the regular expression of a path is too.
    pub(crate) fn least(
        &self,
        host: &[u8],
        path: &[u8],
        is_match: impl Fn(u32) -> bool,
    ) -> Option<Ranked> {
        let mut best: Option<Ranked> = None;
        let mut ask = |index: &PathIndex| {
            if best.is_none_or(|best| index.rank_min() < best.rank) {
                best = index.least(path, best, &is_match);
            }
        };
        let mut buffer = [0; END_BYTES_MAX];
        // A host that is longer than any pattern can still be below a suffix, so its end is looked at.
        let end = &host[host.len().saturating_sub(END_BYTES_MAX)..];
        let lower = &mut buffer[..end.len()];
        lower.copy_from_slice(end);
        lower.make_ascii_lowercase();
        let lower = &*lower;

        if host.len() == lower.len()
            && let Some(index) = self.exact.get(lower)
        {
            ask(index);
        }
        // From the shortest suffix on. The dot before a suffix must have something before it: `.a` is not below `a`.
        let dots = (0..lower.len()).rev().filter(|at| lower[*at] == b'.');
        for dot in dots.take(self.suffix_labels_max) {
            if (dot > 0 || host.len() > lower.len())
                && let Some(index) = self.suffix.get(&lower[dot + 1..])
            {
                ask(index);
            }
        }
        if let Some(index) = &self.any {
            ask(index);
        }
        best
    }
}

/// The ranks of the routes that name a host.
type Ranks<'a> = HashMap<&'a [u8], Vec<u32>>;

fn index_all(ranks: Ranks<'_>, routes: &[Route]) -> HostMap {
    let indexes = ranks.iter().map(|(host, ranks)| index(host, ranks, routes));
    HostMap::new(indexes.collect())
}

fn index(name: &[u8], ranks: &[u32], routes: &[Route]) -> PathIndex {
    let routes = ranks.iter().map(|rank| (*rank, &routes[*rank as usize]));
    PathIndex::compile(name, routes)
}

fn labels(host: &[u8]) -> usize {
    1 + host.iter().filter(|byte| **byte == b'.').count()
}

/// The longest pattern and the dot before it.
const END_BYTES_MAX: usize = HOST_BYTES_MAX + 1;
