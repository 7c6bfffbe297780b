//! consistent-hash: a key keeps its backend, and a backend that goes takes only its own keys along.

use std::ops::Deref;

use crate::backend::Backend;

use super::Member;
use super::candidates::Candidates;
use super::ring::Ring;

#[derive(Clone, Debug)]
pub(super) struct ConsistentHash {
    ring: Ring,
}

impl ConsistentHash {
    pub(super) fn compile(members: &[Member]) -> Self {
        Self {
            ring: Ring::compile(members),
        }
    }

    /// The keys of a backend that cannot be had go where they would go without it, and come back with it.
    pub(super) fn pick<B: Deref<Target = Backend>>(
        &self,
        candidates: &mut Candidates<'_, '_, B>,
    ) -> Option<usize> {
        let hash = candidates.hash();
        self.ring.walk(hash, |index| candidates.take(index))
    }
}
