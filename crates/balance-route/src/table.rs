//! The routes of one listener, compiled.
//!
//! A listener has a table of its own instead of a filter over a table of all: then the order of its list is part of the
//! ranks, and a request never looks at a route that its listener does not serve. Listeners with the same list can share
//! one table.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use balance_core::RouteId;

use crate::facts::Facts;
use crate::host_index::HostIndex;
use crate::route::{Route, RouteError, RouteErrorKind, RouteSpec};
use crate::trace::{Step, Trace};

/// Immutable; shared by all workers.
#[derive(Debug)]
pub struct RouteTable {
    /// By rank: the position is the precedence.
    routes: Box<[Route]>,
    /// `None` where a scan is faster.
    index: Option<HostIndex>,
}

impl RouteTable {
    /// Compiles routes that stand in the order of the listener's list, or of the file. The sort by priority is stable,
    /// so that order decides between equals.
    ///
    /// # Errors
    /// Every mistake of every route.
    pub fn compile(specs: Vec<RouteSpec>) -> Result<Self, Vec<RouteError>> {
        let routes = compile_routes(specs)?;
        let index = (routes.len() > SCAN_MAX).then(|| HostIndex::compile(&routes));
        Ok(Self { routes, index })
    }

    /// Compiles those of `specs` (in file order) that a listener names, in the order of its list. `None` means all.
    ///
    /// # Errors
    /// As [`RouteTable::compile`], and names that do not exist or are named twice.
    pub fn compile_listed(
        specs: &[RouteSpec],
        listed: Option<&[RouteId]>,
    ) -> Result<Self, Vec<RouteError>> {
        let Some(listed) = listed else {
            return Self::compile(specs.to_vec());
        };
        let by_id: HashMap<RouteId, &RouteSpec> =
            specs.iter().map(|spec| (spec.id, spec)).collect();
        let mut seen = HashSet::new();
        let mut errors = Vec::new();
        let mut chosen = Vec::with_capacity(listed.len());
        for route in listed.iter().copied() {
            match by_id.get(&route) {
                Some(spec) if seen.insert(route) => chosen.push((*spec).clone()),
                Some(_) => errors.push(RouteError {
                    route,
                    kind: RouteErrorKind::ListedTwice,
                }),
                None => errors.push(RouteError {
                    route,
                    kind: RouteErrorKind::Unknown,
                }),
            }
        }
        match Self::compile(chosen) {
            Ok(table) if errors.is_empty() => Ok(table),
            Ok(_) => Err(errors),
            Err(more) => {
                errors.extend(more);
                Err(errors)
            }
        }
    }

    /// The first route, in order of precedence, that takes this request. Allocates nothing.
    pub fn decide<F: Facts>(&self, facts: &F) -> Option<RouteId> {
        match &self.index {
            None => self.scan(facts),
            Some(index) => self.look_up(index, facts),
        }
    }

    /// Every route that stands before the decision, and why it did not take the request.
    pub fn explain<F: Facts>(&self, facts: &F) -> Trace {
        let (host, path) = (facts.host(), facts.path());
        let mut steps = Vec::new();
        for route in &self.routes {
            let mismatch = route.mismatch(host, path, facts);
            steps.push(Step {
                route: route.spec.id,
                mismatch,
            });
            if mismatch.is_none() {
                break;
            }
        }
        let unasked = self.routes.len() - steps.len();
        Trace { steps, unasked }
    }

    /// The routes in order of precedence.
    pub fn routes(&self) -> impl ExactSizeIterator<Item = &RouteSpec> {
        self.routes.iter().map(|route| &route.spec)
    }

    pub fn len(&self) -> usize {
        self.routes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    fn look_up<F: Facts>(&self, index: &HostIndex, facts: &F) -> Option<RouteId> {
        let path = facts.path();
        let is_match = |rank: u32| {
            let route = &self.routes[rank as usize];
            route.unindexed_mismatch(path, facts).is_none()
        };
        index
            .least(facts.host(), path, is_match)
            .map(|route| route.id)
    }

    fn scan<F: Facts>(&self, facts: &F) -> Option<RouteId> {
        let (host, path) = (facts.host(), facts.path());
        self.routes
            .iter()
            .find(|route| route.mismatch(host, path, facts).is_none())
            .map(|route| route.spec.id)
    }
}

fn compile_routes(mut specs: Vec<RouteSpec>) -> Result<Box<[Route]>, Vec<RouteError>> {
    specs.sort_by_key(|spec| Reverse(spec.priority));
    let mut errors = Vec::new();
    let routes = specs
        .into_iter()
        .map(|spec| Route::compile(spec, &mut errors))
        .collect();
    if errors.is_empty() {
        Ok(routes)
    } else {
        Err(errors)
    }
}

/// Up to this many routes a scan is faster than the lookups by host and path.
const SCAN_MAX: usize = 8;

#[cfg(test)]
mod tests;
