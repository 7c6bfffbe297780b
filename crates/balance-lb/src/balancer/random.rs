//! random: anyone, each as likely as the other.

use std::ops::Deref;

use crate::backend::Backend;

use super::candidates::Candidates;

#[derive(Clone, Debug)]
pub(super) struct Random;

impl Random {
    pub(super) fn pick<B: Deref<Target = Backend>>(
        &self,
        candidates: &mut Candidates<'_, '_, B>,
    ) -> Option<usize> {
        let eligible = candidates.eligible();
        let index = eligible[candidates.random().below(eligible.len())] as usize;
        if candidates.take(index) {
            return Some(index);
        }
        // Among those that are left, again each as likely as the other: the neighbour of a dead backend must not
        // get the share of both.
        let open = candidates.count_open();
        let n = candidates.random().below(open);
        match candidates.nth_open(n) {
            Some(index) if candidates.take(index) => Some(index),
            _ => candidates.take_any(),
        }
    }
}
