//! weighted-round-robin: everyone in turn, the heavier more often, and never in clumps.

use std::ops::Deref;
use std::sync::Arc;

use crate::backend::Backend;
use crate::cursor::Cursor;
use crate::split::gcd;

use super::Member;
use super::candidates::Candidates;

/// The smooth sequence (that of nginx: 5, 1, 1 gives a a b a c a a) is written out once, so that taking a turn is
/// one `fetch_add` and every round of the sequence is exact over all workers.
#[derive(Clone, Debug)]
pub(super) struct WeightedRoundRobin {
    /// Positions in the pool view, in the order of their turns.
    sequence: Box<[u32]>,
    cursor: Arc<Cursor>,
}

impl WeightedRoundRobin {
    pub(super) fn compile(members: &[Member], cursor: Arc<Cursor>) -> Self {
        let weights: Vec<u32> = members.iter().map(|member| member.weight.0).collect();
        Self {
            sequence: smooth_sequence(&reduce(&weights)),
            cursor,
        }
    }

    pub(super) fn cursor_mut(&mut self) -> &mut Arc<Cursor> {
        &mut self.cursor
    }

    pub(super) fn pick<B: Deref<Target = Backend>>(
        &self,
        candidates: &mut Candidates<'_, '_, B>,
    ) -> Option<usize> {
        let drawn = self.cursor.rotate(self.sequence.len(), |slot| {
            candidates.take(self.sequence[slot] as usize)
        });
        match drawn {
            Ok(slot) => Some(self.sequence[slot] as usize),
            Err(_) => candidates.take_any(),
        }
    }
}

/// The smallest weights with the same proportions; if their sum is still above `SLOTS_MAX`, the nearest
/// proportions that fit, with at least one slot for every weight that is not 0.
fn reduce(weights: &[u32]) -> Vec<u32> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let weights: Vec<u32> = weights.iter().map(|weight| weight / divisor).collect();
    let sum: u64 = weights.iter().copied().map(u64::from).sum();
    if sum <= SLOTS_MAX {
        return weights;
    }
    // Every nonzero weight has one slot; the rest of the slots are divided in proportion, rounding down. A pool of
    // more backends than slots gets one slot each.
    let nonzero = weights.iter().filter(|weight| **weight > 0).count() as u64;
    let spare = SLOTS_MAX.saturating_sub(nonzero);
    let share = |weight: u32| 1 + u64::from(weight) * spare / sum;
    weights
        .iter()
        .map(|weight| {
            if *weight == 0 {
                0
            } else {
                share(*weight) as u32
            }
        })
        .collect()
}

/// In every step each gains its weight, the greatest has its turn and pays the sum.
fn smooth_sequence(weights: &[u32]) -> Box<[u32]> {
    let sum: i64 = weights.iter().copied().map(i64::from).sum();
    let mut standing: Vec<(u32, i64, i64)> = (0_u32..)
        .zip(weights)
        .filter(|(_, weight)| **weight > 0)
        .map(|(index, weight)| (index, i64::from(*weight), 0))
        .collect();
    let mut sequence = Vec::with_capacity(usize::try_from(sum).unwrap_or(0));
    for _ in 0..sum {
        let mut greatest = 0;
        for position in 0..standing.len() {
            standing[position].2 += standing[position].1;
            if standing[position].2 > standing[greatest].2 {
                greatest = position;
            }
        }
        standing[greatest].2 -= sum;
        sequence.push(standing[greatest].0);
    }
    sequence.into_boxed_slice()
}

/// Bounds the memory of a sequence (16 KiB) and the time to write it out. Proportions stay within 0.03 % of a pool.
const SLOTS_MAX: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::{SLOTS_MAX, reduce, smooth_sequence};

    fn check(weights: &[u32], expected: &str) {
        let letters: String = smooth_sequence(&reduce(weights))
            .iter()
            .map(|index| char::from(b'a' + u8::try_from(*index).unwrap()))
            .collect();
        assert_eq!(letters, expected, "{weights:?}");
    }

    #[test]
    fn sequences_are_smooth() {
        check(&[5, 1, 1], "aabacaa");
        check(&[1, 1, 1], "abc");
        check(&[100, 200], "bab");
        check(&[4, 0, 2], "aca");
        check(&[0, 7], "b");
        check(&[0, 0], "");
        check(&[], "");
    }

    #[test]
    fn large_weights_keep_their_proportions_and_nobody_is_lost() {
        let reduced = reduce(&[1_000_000, 999_999, 1, 0]);
        let sum: u32 = reduced.iter().sum();
        assert!(u64::from(sum) <= SLOTS_MAX && sum > 4_000, "{reduced:?}");
        assert!(reduced[0].abs_diff(reduced[1]) <= 1);
        assert_eq!(reduced[2..], [1, 0]);
        assert_eq!(smooth_sequence(&reduced).len() as u32, sum);
    }

    #[test]
    fn a_pool_with_more_backends_than_slots_gets_one_each() {
        let weights: Vec<u32> = (1..=5_000).collect();
        assert!(reduce(&weights).iter().all(|weight| *weight == 1));
    }
}
