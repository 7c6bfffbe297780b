//! Where a request or session would go: the pool, each backend as it stands, and the pick.

use std::net::IpAddr;
use std::sync::Arc;

use balance_core::{Cause, PoolId};
use balance_lb::{Backend, BackendState, Rehearsal, Rng};

use super::{Explainer, text};
use crate::endpoint::Endpoint;
use crate::snapshot::{PoolRules, Snapshot};
use crate::upstream::{HashSource, cause_of};

/// A pool and what its balancer would do.
#[derive(Clone, Debug)]
pub struct Destination {
    pub pool: PoolId,
    /// What a hash algorithm hashes.
    pub hashed: Option<Hashed>,
    /// In the order of [`PoolRules::members`].
    pub candidates: Vec<Candidate>,
    /// Positions in the same order.
    pub rehearsal: Rehearsal,
}

/// The key of a hash algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hashed {
    Header {
        name: String,
        value: String,
    },
    Client {
        ip: IpAddr,
        /// The configured header, which the request does not have.
        instead_of: Option<String>,
    },
}

/// A backend as it stands.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    pub state: BackendState,
    /// False for a weight of 0, where the algorithm uses weights.
    pub is_eligible: bool,
    /// Whether its pool is in panic, so that its health is not looked at.
    pub is_in_panic: bool,
}

impl Destination {
    /// As `Selection` does it. `header` finds a field of the request.
    pub(super) fn find<'v>(
        explainer: &'v Explainer<'_>,
        pool: PoolId,
        client: IpAddr,
        header: impl FnOnce(&str) -> Option<&'v [u8]>,
    ) -> Self {
        let rules = &explainer.snapshot.pools[pool.index()];
        let now_ms = explainer.now_ms;
        let balancer = rules.policy.balancer();
        let source = HashSource::find(&balancer, &rules.hash_key, client, header);
        let rehearsal = balancer.rehearse(
            &backends(rules),
            now_ms,
            source.map_or(0, HashSource::hash),
            &mut Rng::new(explainer.seed),
            PICKS_MAX,
        );
        let is_in_panic = balancer.is_in_panic(&backends(rules));
        let candidate = |(index, endpoint): (usize, &Arc<Endpoint>)| Candidate {
            state: endpoint.snapshot_state(now_ms),
            is_eligible: balancer.is_eligible(index),
            is_in_panic,
        };
        Self {
            pool,
            hashed: source.map(Hashed::from),
            candidates: rules.members.iter().enumerate().map(candidate).collect(),
            rehearsal,
        }
    }

    /// How it ends when there is no pick at all.
    pub fn failure(&self) -> Option<Cause> {
        let end = self
            .rehearsal
            .end
            .filter(|_| self.rehearsal.order.is_empty());
        end.map(cause_of)
    }

    pub(super) fn picked<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s Backend> {
        let index = *self.rehearsal.order.first()?;
        Some(snapshot.pools[self.pool.index()].members[index].backend())
    }
}

fn backends(rules: &PoolRules) -> Vec<&Backend> {
    rules
        .members
        .iter()
        .map(|endpoint| endpoint.backend())
        .collect()
}

impl From<HashSource<'_>> for Hashed {
    fn from(source: HashSource<'_>) -> Self {
        match source {
            HashSource::Header { name, value } => Self::Header {
                name: name.to_owned(),
                value: text(value),
            },
            HashSource::Client { ip, instead_of } => Self::Client {
                ip,
                instead_of: instead_of.map(str::to_owned),
            },
        }
    }
}

/// As many backends as are named: the pick, and where it would go on. More would only be noise.
const PICKS_MAX: usize = 4;
