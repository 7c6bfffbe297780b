//! least-connections: whoever has the fewest leases.

use std::ops::Deref;

use crate::backend::Backend;

use super::candidates::Candidates;

/// Ties are broken at random: with a fixed order, an idle pool would send everything to its first backend.
#[derive(Clone, Debug)]
pub(super) struct LeastConnections;

impl LeastConnections {
    pub(super) fn pick<B: Deref<Target = Backend>>(
        &self,
        candidates: &mut Candidates<'_, '_, B>,
    ) -> Option<usize> {
        let salt = candidates.random().next_u64();
        candidates.take_least(|candidates, index| (candidates.load(index), tie_break(index, salt)))
    }
}

/// An order of the positions that differs from pick to pick: two multiplications instead of a random number for
/// every candidate.
pub(super) fn tie_break(index: usize, salt: u64) -> u64 {
    let mixed = (index as u64 ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93)
}
