//! A weighted split: which of several shares is next, exact over all workers.
//!
//! A table of turns, as [`Balancer`](crate::Balancer) has for weighted-round-robin, would be exact only as long as it has
//! a slot for every unit of weight: 999,999 to 1 would need a million. Here the turn is computed. Each share owns as
//! many of the numbers 0 … sum − 1 as its weight says, and the n-th draw takes the number `n · stride mod sum`. As the
//! stride has no divisor in common with the sum, any `sum` draws in a row take every number once, wherever they begin:
//! that is the whole proof of exactness. That the stride is near sum / φ spreads the turns of a share evenly (the
//! three-distance theorem): 95 to 5 gives one in twenty, not five after ninety-five.

use std::sync::Arc;

use balance_core::Weight;

use crate::cursor::Cursor;

/// A compiled split. The cursor is shared between workers and outlives it; everything else is its own.
#[derive(Debug)]
pub struct Split {
    /// Where the numbers of each share end. Ascending; the last is the sum.
    ends: Box<[u32]>,
    stride: u32,
    cursor: Arc<Cursor>,
}

/// Why weights cannot be split by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    #[error("all weights are 0")]
    Weightless,
    /// Reached with thousands of shares at [`Weight::MAX`] only.
    #[error("the weights have a sum above 4294967295")]
    TooHeavy,
}

impl Split {
    /// Compiles one share for each weight. A share of weight 0 is never drawn.
    ///
    /// # Errors
    /// No share could be drawn, or the sum of the reduced weights does not fit 32 bits.
    pub fn compile(weights: &[Weight], cursor: Arc<Cursor>) -> Result<Self, SplitError> {
        let divisor = weights
            .iter()
            .fold(0, |so_far, weight| gcd(so_far, weight.0));
        if divisor == 0 {
            return Err(SplitError::Weightless);
        }
        let mut sum: u32 = 0;
        let mut ends = Vec::with_capacity(weights.len());
        for weight in weights {
            sum = sum
                .checked_add(weight.0 / divisor)
                .ok_or(SplitError::TooHeavy)?;
            ends.push(sum);
        }
        Ok(Self {
            ends: ends.into(),
            stride: stride(sum),
            cursor,
        })
    }

    /// Takes a turn: the position of the share that is next. One atomic add, whoever draws.
    pub fn draw(&self) -> usize {
        self.share_of(self.cursor.next())
    }

    /// Whose turn is next, without taking it.
    pub fn peek(&self) -> usize {
        self.share_of(self.cursor.peek())
    }

    fn share_of(&self, turn: u64) -> usize {
        let sum = self.ends.last().copied().map_or(1, u64::from);
        let number = turn % sum * u64::from(self.stride) % sum;
        self.ends.partition_point(|end| u64::from(*end) <= number)
    }
}

/// A number near sum / φ without a divisor in common with `sum`. Of those the one with the least sum of partial
/// quotients (Euclid's, of stride / sum): that sum bounds how far a share may ever be ahead of its turn or behind.
/// Merely the nearest one had shares of 200 draws up to 14 ahead; this one up to 4.
fn stride(sum: u32) -> u32 {
    let golden = (f64::from(sum) / GOLDEN_RATIO).round() as u32;
    let near =
        golden.saturating_sub(STRIDE_REACH).max(1)..=golden.saturating_add(STRIDE_REACH).min(sum);
    near.filter(|candidate| gcd(*candidate, sum) == 1)
        .min_by_key(|candidate| quotients(*candidate, sum))
        .unwrap_or(1)
}

/// The sum of the partial quotients of `a` / `b`.
fn quotients(a: u32, b: u32) -> u64 {
    let (mut a, mut b, mut total) = (b, a, 0);
    while b != 0 {
        total += u64::from(a / b);
        (a, b) = (b, a % b);
    }
    total
}

/// Euclid's; `gcd(0, n)` is n.
pub(crate) fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

const GOLDEN_RATIO: f64 = 1.618_033_988_749_895;

/// How far from sum / φ a stride is looked for. Among so many numbers in a row some always have no divisor in common
/// with a sum of 32 bits: such a sum has at most 9 different primes, and Jacobsthal's function of 9 is 40.
const STRIDE_REACH: u32 = 32;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use balance_core::Weight;

    use super::{Split, SplitError, gcd, quotients, stride};
    use crate::Cursor;

    fn compile(weights: &[u32]) -> Result<Split, SplitError> {
        let weights: Vec<Weight> = weights.iter().copied().map(Weight).collect();
        Split::compile(&weights, Arc::new(Cursor::new()))
    }

    fn check(weights: &[u32], expected: &str) {
        let split = compile(weights).expect("a weight that is not 0");
        let letters: String = (0..expected.len())
            .map(|_| {
                let next = split.peek();
                let drawn = split.draw();
                assert_eq!(next, drawn, "{weights:?}");
                char::from(b'a' + u8::try_from(drawn).unwrap())
            })
            .collect();
        assert_eq!(letters, expected, "{weights:?}");
    }

    #[test]
    fn turns_are_spread() {
        check(&[1, 1], "abab");
        check(&[5, 1, 1], "aaacaab");
        check(&[50, 50], "abab");
        check(&[3, 2], "aabab");
        check(&[95, 5], "aaaaaaaaaaabaaaaaaaa");
        check(&[0, 7, 0], "bbb");
    }

    #[test]
    fn weights_that_give_nobody_a_turn_are_refused() {
        assert_eq!(compile(&[]).unwrap_err(), SplitError::Weightless);
        assert_eq!(compile(&[0, 0]).unwrap_err(), SplitError::Weightless);
        assert_eq!(
            compile(&[u32::MAX, u32::MAX - 1]).unwrap_err(),
            SplitError::TooHeavy
        );
        assert!(compile(&[u32::MAX, u32::MAX]).is_ok(), "they are 1 to 1");
    }

    #[test]
    fn strides_reach_every_number() {
        for sum in (1..5_000).chain([30_030, 223_092_870, u32::MAX - 1, u32::MAX]) {
            let stride = stride(sum);
            assert_eq!(gcd(stride, sum), 1, "{sum}");
            assert!(quotients(stride, sum) <= 64, "{sum}: {stride}");
        }
    }
}
