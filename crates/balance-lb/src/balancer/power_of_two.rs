//! power-of-two-choices: of two random backends, whoever has fewer leases.

use std::ops::Deref;

use crate::backend::Backend;

use super::candidates::Candidates;

/// Nearly as even as least-connections at a constant cost, and without its herd: workers that look at the same
/// counts do not all run to the same backend.
#[derive(Clone, Debug)]
pub(super) struct PowerOfTwo;

impl PowerOfTwo {
    pub(super) fn pick<B: Deref<Target = Backend>>(
        &self,
        candidates: &mut Candidates<'_, '_, B>,
    ) -> Option<usize> {
        let eligible = candidates.eligible();
        let (a, b) = two_below(candidates, eligible.len());
        let (a, b) = (eligible[a] as usize, eligible[b] as usize);
        if candidates.is_open(a) && candidates.is_open(b) {
            return take_lesser(candidates, a, b);
        }
        // Draw again among those that are left.
        match candidates.count_open() {
            0 => None,
            1 => candidates.take_any(),
            open => {
                let (a, b) = two_below(candidates, open);
                match (candidates.nth_open(a), candidates.nth_open(b)) {
                    (Some(a), Some(b)) => take_lesser(candidates, a, b),
                    _ => candidates.take_any(),
                }
            }
        }
    }
}

/// Two different numbers below `bound`, which is at least 2.
fn two_below<B: Deref<Target = Backend>>(
    candidates: &mut Candidates<'_, '_, B>,
    bound: usize,
) -> (usize, usize) {
    let a = candidates.random().below(bound);
    let b = candidates.random().below(bound - 1);
    (a, if b >= a { b + 1 } else { b })
}

fn take_lesser<B: Deref<Target = Backend>>(
    candidates: &mut Candidates<'_, '_, B>,
    a: usize,
    b: usize,
) -> Option<usize> {
    // The two were drawn in random order, so a tie needs no coin.
    let (lesser, other) = if candidates.load(b) < candidates.load(a) {
        (b, a)
    } else {
        (a, b)
    };
    [lesser, other]
        .into_iter()
        .find(|index| candidates.take(*index))
        .or_else(|| candidates.take_any())
}
