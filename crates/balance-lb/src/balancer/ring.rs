//! The ring that hash algorithms walk.
//!
//! Every member has 150 points for each unit of its weight; a key belongs to the first point at or after its hash.
//! A point's place depends on nothing but the member's key and its number, so a member that comes or goes moves
//! only the keys that it gains or loses.

use crate::hash::hash_point;
use crate::tried::TriedSet;

use super::Member;

/// Points in two arrays, so that the binary search touches only hashes.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    /// Ascending.
    hashes: Box<[u64]>,
    /// `owners[i]` is the position in the pool view of the member with the point `hashes[i]`.
    owners: Box<[u32]>,
    /// How many members have points.
    members: usize,
}

impl Ring {
    pub(super) fn compile(members: &[Member]) -> Self {
        let sum: u64 = members
            .iter()
            .map(|member| u64::from(member.weight.0))
            .sum();
        let mut points: Vec<(u64, u32)> = Vec::new();
        for (index, member) in (0_u32..).zip(members) {
            let count = points_of(u64::from(member.weight.0), sum);
            points.extend((0..count).map(|n| (hash_point(member.key, n), index)));
        }
        // By hash, then position: members with equal keys would else be in any order.
        points.sort_unstable();
        Self {
            hashes: points.iter().map(|(hash, _)| *hash).collect(),
            owners: points.iter().map(|(_, owner)| *owner).collect(),
            members: members.iter().filter(|member| member.weight.0 > 0).count(),
        }
    }

    /// The members from `hash` on, each once, until `take` accepts one.
    pub(super) fn walk(&self, hash: u64, mut take: impl FnMut(usize) -> bool) -> Option<usize> {
        let start = self.hashes.partition_point(|point| *point < hash);
        let (before, from) = self.owners.split_at(start);
        let mut seen = TriedSet::new();
        let mut left = self.members;
        for owner in from.iter().chain(before).map(|owner| *owner as usize) {
            if seen.contains(owner) {
                continue;
            }
            if take(owner) {
                return Some(owner);
            }
            // Only now: a set of many members allocates, and most keys are taken where they come first.
            seen.insert(owner);
            left -= 1;
            if left == 0 {
                break;
            }
        }
        None
    }
}

/// 150 for each unit of weight. Weights whose sum asks for more than `POINTS_MAX` are scaled down together, with
/// at least one point each.
fn points_of(weight: u64, sum: u64) -> u64 {
    let wanted = weight * POINTS_PER_WEIGHT;
    if sum * POINTS_PER_WEIGHT <= POINTS_MAX || weight == 0 {
        return wanted;
    }
    (weight * POINTS_MAX / sum).max(1)
}

/// As the original documents.
const POINTS_PER_WEIGHT: u64 = 150;
/// 3 MiB per ring; reached where weights sum up to 1,747, which is finer than any load can be measured.
const POINTS_MAX: u64 = 262_144;

#[cfg(test)]
mod tests {
    use balance_core::Weight;

    use super::{Member, POINTS_MAX, Ring, points_of};

    fn member(name: &str, weight: u32) -> Member {
        Member::new(name, Weight(weight))
    }

    #[test]
    fn a_walk_meets_every_member_once() {
        let ring = Ring::compile(&[member("a", 1), member("b", 0), member("c", 3)]);
        assert_eq!(ring.hashes.len(), 600);
        for hash in [0, 1, u64::MAX / 2, u64::MAX] {
            let mut met = Vec::new();
            assert_eq!(
                ring.walk(hash, |owner| {
                    met.push(owner);
                    false
                }),
                None
            );
            met.sort_unstable();
            assert_eq!(met, [0, 2]);
        }
        assert_eq!(Ring::compile(&[]).walk(0, |_| true), None);
    }

    #[test]
    fn a_key_belongs_to_the_first_point_at_or_after_its_hash() {
        let ring = Ring::compile(&[member("a", 1), member("b", 1)]);
        let owner = |i: usize| Some(ring.owners[i] as usize);
        assert_eq!(ring.walk(ring.hashes[7], |_| true), owner(7));
        assert_eq!(ring.walk(ring.hashes[7] + 1, |_| true), owner(8));
        assert_eq!(ring.walk(ring.hashes[299] + 1, |_| true), owner(0));
    }

    #[test]
    fn huge_weights_are_scaled_down_together() {
        let sum = 3_000_000;
        assert_eq!(points_of(1_000_000, sum), POINTS_MAX / 3);
        assert_eq!(points_of(1, sum), 1);
        assert_eq!(points_of(0, sum), 0);
        assert_eq!(points_of(2, 1_000), 300);
    }
}
