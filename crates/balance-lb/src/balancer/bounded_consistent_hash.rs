//! bounded-consistent-hash: a key keeps its backend as long as that is not far busier than the others.
//!
//! Mirrokni, Thorup, Zadimoghaddam: Consistent Hashing with Bounded Loads (2016). No backend gets more than 1.25
//! times its fair share of what is in flight; a key whose backend is at the bound goes on along the ring.

use std::ops::Deref;

use crate::backend::Backend;

use super::Member;
use super::candidates::Candidates;
use super::ring::Ring;

#[derive(Clone, Debug)]
pub(super) struct BoundedConsistentHash {
    ring: Ring,
    /// By position in the pool view.
    weights: Box<[u32]>,
}

impl BoundedConsistentHash {
    pub(super) fn compile(members: &[Member]) -> Self {
        Self {
            ring: Ring::compile(members),
            weights: members.iter().map(|member| member.weight.0).collect(),
        }
    }

    pub(super) fn pick<B: Deref<Target = Backend>>(
        &self,
        candidates: &mut Candidates<'_, '_, B>,
    ) -> Option<usize> {
        let hash = candidates.hash();
        let shares = self.shares(candidates);
        self.ring
            .walk(hash, |index| {
                let leases = u64::from(candidates.in_flight(index));
                leases < shares.bound(self.weights[index]) && candidates.take(index)
            })
            // Somebody is below the bound, but it may be full, or the counts have moved since they were added up.
            .or_else(|| self.ring.walk(hash, |index| candidates.take(index)))
    }

    /// Only what may be picked counts: the share of a dead backend is for the others to carry.
    fn shares<B: Deref<Target = Backend>>(&self, candidates: &mut Candidates<'_, '_, B>) -> Shares {
        let mut shares = Shares::default();
        for index in candidates.eligible().iter().map(|index| *index as usize) {
            if candidates.is_pickable(index) {
                shares.leases += u64::from(candidates.in_flight(index));
                shares.weight += u64::from(self.weights[index]);
            }
        }
        shares
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Shares {
    leases: u64,
    weight: u64,
}

impl Shares {
    /// 1.25 × this weight's share of what is in flight, this pick included, rounded up: never 0.
    fn bound(self, weight: u32) -> u64 {
        let leases = u128::from(self.leases + 1);
        let scaled = leases * u128::from(weight) * BOUND_PERCENT;
        let divisor = u128::from(self.weight.max(1)) * 100;
        u64::try_from(scaled.div_ceil(divisor)).unwrap_or(u64::MAX)
    }
}

/// As the original documents: 25 % above the average.
const BOUND_PERCENT: u128 = 125;

#[cfg(test)]
mod tests {
    use super::Shares;

    #[test]
    fn bounds_follow_the_average_and_the_weight() {
        let shares = |leases, weight| Shares { leases, weight };
        assert_eq!(shares(0, 4).bound(1), 1);
        assert_eq!(shares(399, 4).bound(1), 125);
        assert_eq!(shares(399, 4).bound(2), 250);
        assert_eq!(shares(u64::from(u32::MAX), 1).bound(1), 5_368_709_120);
    }
}
