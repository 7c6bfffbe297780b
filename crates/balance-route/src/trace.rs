//! Why a request took its route: every route that was asked, in order.

use balance_core::RouteId;

use crate::route::Mismatch;

/// One route that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub route: RouteId,
    /// What the request lacks for it; `None` if it matches.
    pub mismatch: Option<Mismatch>,
}

/// The answer of [`RouteTable::explain`](crate::RouteTable::explain).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// In order of precedence, up to and including the one that matches.
    pub steps: Vec<Step>,
    /// How many routes stand behind the one that matched.
    pub unasked: usize,
}

impl Trace {
    /// What [`RouteTable::decide`](crate::RouteTable::decide) returns for the same request.
    pub fn decision(&self) -> Option<RouteId> {
        self.steps
            .last()
            .filter(|step| step.mismatch.is_none())
            .map(|step| step.route)
    }
}
