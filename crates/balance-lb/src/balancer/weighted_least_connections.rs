//! weighted-least-connections: whoever has the fewest leases for its weight.

use std::cmp::Ordering;
use std::ops::Deref;

use crate::backend::Backend;

use super::Member;
use super::candidates::Candidates;
use super::least_connections::tie_break;

/// Compares (leases + 1) / weight, the load *after* the pick: so an idle pool begins with its heaviest backend.
#[derive(Clone, Debug)]
pub(super) struct WeightedLeastConnections {
    /// By position in the pool view.
    weights: Box<[u32]>,
}

impl WeightedLeastConnections {
    pub(super) fn compile(members: &[Member]) -> Self {
        Self {
            weights: members.iter().map(|member| member.weight.0).collect(),
        }
    }

    pub(super) fn pick<B: Deref<Target = Backend>>(
        &self,
        candidates: &mut Candidates<'_, '_, B>,
    ) -> Option<usize> {
        let salt = candidates.random().next_u64();
        candidates.take_least(|candidates, index| Load {
            leases: candidates.load(index) + 1,
            weight: u64::from(self.weights[index]),
            tie_break: tie_break(index, salt),
        })
    }
}

/// `leases / weight` without a division.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Load {
    leases: u64,
    weight: u64,
    tie_break: u64,
}

impl Ord for Load {
    fn cmp(&self, other: &Self) -> Ordering {
        // A load comes from 32 bits and is scaled tenfold at most, a weight from 20: the products cannot overflow.
        (self.leases * other.weight)
            .cmp(&(other.leases * self.weight))
            .then(self.tie_break.cmp(&other.tie_break))
    }
}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
