//! The Mann-Whitney U test: whether samples of two sides could as well be of one.
//!
//! It assumes no distribution. Latencies and CPU times have tails, and a t-test would take one slow round for news.

/// The two-sided p-value. 1 when a side has no samples.
pub(super) fn p_value(old: &[f64], new: &[f64]) -> f64 {
    if old.is_empty() || new.is_empty() {
        return 1.0;
    }
    let ranks = Ranks::of(old, new);
    if old.len() + new.len() <= EXACT_SAMPLES_MAX {
        exact(&ranks)
    } else {
        approximate(&ranks)
    }
}

/// Above this, counting all arrangements takes long and the normal distribution is as good.
const EXACT_SAMPLES_MAX: usize = 60;

/// The ranks of all samples together; equal ones share the mean of theirs. Twice as large, so that they are whole.
struct Ranks {
    doubled: Vec<usize>,
    first_count: usize,
    /// The sum over the first side, doubled too.
    first_sum: usize,
    /// The sum of t³ - t over groups of t equal samples.
    ties: f64,
}

impl Ranks {
    fn of(old: &[f64], new: &[f64]) -> Self {
        let mut all: Vec<(f64, bool)> = old.iter().map(|value| (*value, true)).collect();
        all.extend(new.iter().map(|value| (*value, false)));
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut doubled, mut first_sum, mut ties) = (Vec::new(), 0, 0.0);
        for group in all.chunk_by(|a, b| a.0 == b.0) {
            // Places are counted from 1: first + last of the group is twice their mean.
            let rank = 2 * doubled.len() + group.len() + 1;
            let size = group.len() as f64;
            ties += size.powi(3) - size;
            for (_, is_first) in group {
                first_sum += if *is_first { rank } else { 0 };
            }
            doubled.extend(std::iter::repeat_n(rank, group.len()));
        }
        Self {
            doubled,
            first_count: old.len(),
            first_sum,
            ties,
        }
    }

    /// What the sum would be on average if there were no difference.
    fn expected_sum(&self) -> usize {
        self.first_count * (self.doubled.len() + 1)
    }

    fn distance(&self) -> usize {
        self.first_sum.abs_diff(self.expected_sum())
    }
}

/// Counts, over all ways of choosing the first side's samples, those whose sum is as far from the expected one.
fn exact(ranks: &Ranks) -> f64 {
    let sums = 1 + ranks.doubled.iter().sum::<usize>();
    // ways[k][s]: choices of k samples with the sum s. Exact up to 2^53, and beyond that to 16 digits.
    let mut ways = vec![vec![0.0f64; sums]; ranks.first_count + 1];
    ways[0][0] = 1.0;
    for rank in &ranks.doubled {
        for chosen in (1..=ranks.first_count).rev() {
            let (fewer, more) = ways.split_at_mut(chosen);
            for sum in *rank..sums {
                more[0][sum] += fewer[chosen - 1][sum - rank];
            }
        }
    }
    let (expected, distance) = (ranks.expected_sum(), ranks.distance());
    let all: f64 = ways[ranks.first_count].iter().sum();
    let far = ways[ranks.first_count].iter().enumerate();
    let far = far.filter(|(sum, _)| sum.abs_diff(expected) >= distance);
    let far: f64 = far.map(|(_, count)| count).sum();
    (far / all).min(1.0)
}

/// By the normal distribution, with corrections for ties and for continuity.
fn approximate(ranks: &Ranks) -> f64 {
    let all = ranks.doubled.len() as f64;
    let (first, second) = (ranks.first_count as f64, all - ranks.first_count as f64);
    let variance = first * second / 12.0 * ((all + 1.0) - ranks.ties / (all * (all - 1.0)));
    if variance <= 0.0 {
        return 1.0; // all samples are equal
    }
    let distance = ranks.distance() as f64 / 2.0 - 0.5;
    two_sided(distance.max(0.0) / variance.sqrt())
}

/// How often a normal variable is at least `z` standard deviations from its mean: erfc(z/√2), to seven digits
/// (Abramowitz and Stegun, 7.1.26).
fn two_sided(z: f64) -> f64 {
    let x = z / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let polynomial = [
        1.061_405_429,
        -1.453_152_027,
        1.421_413_741,
        -0.284_496_736,
        0.254_829_592,
    ];
    let sum = polynomial.iter().fold(0.0, |sum, factor| sum * t + factor);
    (sum * t * (-x * x).exp()).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::{Ranks, approximate, exact, p_value, two_sided};

    fn close(seen: f64, expected: f64, tolerance: f64) {
        assert!(
            (seen - expected).abs() <= tolerance,
            "{seen}, not {expected}"
        );
    }

    /// Of all arrangements, how many are as far from the middle.
    #[test]
    fn small_samples_are_counted_exactly() {
        let low = [1.0, 2.0, 3.0, 4.0, 5.0];
        close(p_value(&low, &low.map(|n| n + 10.0)), 2.0 / 252.0, 1e-12);
        close(p_value(&low, &low.map(|n| n + 0.5)), 174.0 / 252.0, 1e-12);
        close(p_value(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 0.1, 1e-12);
        close(p_value(&[1.0, 1.0], &[1.0, 1.0]), 1.0, 1e-12);
        close(p_value(&[1.0, 1.0], &[2.0, 2.0]), 2.0 / 6.0, 1e-12);
    }

    #[test]
    fn both_ways_agree_where_both_can_be_used() {
        let old: Vec<f64> = (0..25).map(|n| f64::from(n * n % 17)).collect();
        for shift in [0.0, 1.0, 3.0, 6.0] {
            let new: Vec<f64> = (0..30).map(|n| f64::from(n * 7 % 19) + shift).collect();
            let ranks = Ranks::of(&old, &new);
            close(approximate(&ranks), exact(&ranks), 0.01);
        }
    }

    #[test]
    fn the_order_of_the_sides_does_not_matter() {
        let (a, b) = ([1.0, 5.0, 7.0, 9.0], [2.0, 3.0, 11.0, 12.0, 13.0]);
        close(p_value(&a, &b), p_value(&b, &a), 1e-12);
    }

    #[test]
    fn the_normal_distribution() {
        close(two_sided(0.0), 1.0, 1e-6);
        close(two_sided(1.959_964), 0.05, 1e-6);
        close(two_sided(3.290_527), 0.001, 1e-6);
    }
}
