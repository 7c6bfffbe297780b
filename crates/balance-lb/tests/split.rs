//! How a split's draws spread, over threads and windows.

use std::sync::Arc;

use balance_core::Weight;
use balance_lb::{Cursor, Split};
use proptest::collection::vec;
use proptest::prelude::{prop_assert, prop_assert_eq, prop_assume, proptest};

fn compile(weights: &[u32]) -> Split {
    let weights: Vec<Weight> = weights.iter().copied().map(Weight).collect();
    Split::compile(&weights, Arc::new(Cursor::new())).expect("a weight that is not 0")
}

fn count(split: &Split, shares: usize, draws: u32) -> Vec<u32> {
    let mut counts = vec![0; shares];
    for _ in 0..draws {
        counts[split.draw()] += 1;
    }
    counts
}

#[test]
fn draws_are_exact_over_four_threads() {
    let split = compile(&[95, 5]);
    let of_each: Vec<Vec<u32>> = std::thread::scope(|scope| {
        let draw = || count(&split, 2, 25_000);
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(draw)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no draw panics"))
            .collect()
    });
    let sum = |share: usize| of_each.iter().map(|counts| counts[share]).sum::<u32>();
    assert_eq!([sum(0), sum(1)], [95_000, 5_000]);
}

/// No table has a slot for each unit of these.
#[test]
fn draws_are_exact_for_the_largest_weights() {
    let split = compile(&[999_999, 1]);
    for start in [0, 12_345] {
        count(&split, 2, start);
        assert_eq!(count(&split, 2, 1_000_000), [999_999, 1], "from {start}");
    }
}

/// The same cursor: another snapshot goes on where the one before stopped.
#[test]
fn a_successor_goes_on_with_the_cursor() {
    let cursor = Arc::new(Cursor::new());
    let successor =
        || Split::compile(&[Weight(2), Weight(1)], Arc::clone(&cursor)).expect("weights");
    let drawn: Vec<usize> = (0..9).map(|_| successor().draw()).collect();
    assert_eq!(drawn, [0, 0, 1, 0, 0, 1, 0, 0, 1]);
}

proptest! {
    /// Whatever the weights, any window as long as their sum gives everyone its exact share, and every shorter one
    /// nearly.
    #[test]
    fn windows_are_exact_and_turns_are_spread(
        weights in vec(0_u32..200, 1..6),
        start in 0_u32..2_000,
    ) {
        let sum: u32 = weights.iter().sum();
        prop_assume!(sum > 0);
        let split = compile(&weights);
        count(&split, weights.len(), start);
        let mut counts = vec![0; weights.len()];
        for n in 1..=sum {
            counts[split.draw()] += 1;
            for (count, weight) in counts.iter().zip(&weights) {
                let fair = f64::from(n) * f64::from(*weight) / f64::from(sum);
                let clump = (f64::from(*count) - fair).abs();
                prop_assert!(clump <= CLUMP_MAX, "{weights:?} from {start} after {n}: {counts:?}");
            }
        }
        prop_assert_eq!(counts, weights);
    }
}

/// How far a share may be ahead or behind at any moment, in draws.
const CLUMP_MAX: f64 = 4.0;
