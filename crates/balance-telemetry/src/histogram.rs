//! Durations in fixed buckets: integer microseconds in, seconds out.

use crate::cell::Counter;

/// The upper bounds, inclusive: in microseconds, and in seconds as the label `le` says it. The ones from
/// 5 ms up are those of the dashboards in use; below, a proxy in front of a near backend needs finer ones.
pub const BUCKETS: [(u32, &str); 19] = [
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (75_000, "0.075"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (750_000, "0.75"),
    (1_000_000, "1.0"),
    (2_500_000, "2.5"),
    (5_000_000, "5.0"),
    (7_500_000, "7.5"),
    (10_000_000, "10.0"),
];

/// A histogram that one thread writes. The last bucket is +Inf. The sum lies beside the buckets of what is fast, and
/// most requests are: one cache line less to fetch.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Histogram {
    sum_us: Counter,
    buckets: [Counter; BUCKETS.len() + 1],
}

/// What a histogram held when it was read, or several of them together. Buckets are not cumulative here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramTotals {
    /// One more than [`BUCKETS`]: the last is +Inf.
    pub buckets: [u64; BUCKETS.len() + 1],
    pub sum_us: u64,
}

impl Histogram {
    pub(crate) const fn new() -> Self {
        Self {
            buckets: [const { Counter::new() }; BUCKETS.len() + 1],
            sum_us: Counter::new(),
        }
    }

    /// Counts one duration: two stores.
    #[inline]
    pub(crate) fn observe(&self, duration_us: u64) {
        self.buckets[bucket_of(duration_us)].increment();
        self.sum_us.add(duration_us);
    }

    /// Adds what is in it to `totals`.
    pub(crate) fn add_to(&self, totals: &mut HistogramTotals) {
        for (total, bucket) in totals.buckets.iter_mut().zip(&self.buckets) {
            *total += bucket.value();
        }
        totals.sum_us += self.sum_us.value();
    }
}

impl HistogramTotals {
    /// How many durations there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The upper bound in microseconds of the bucket that holds the `quantile` (0 to 1) of all durations,
    /// `None` without any. Those beyond the last bound count as it.
    pub fn quantile_us(&self, quantile: f64) -> Option<u32> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let mut seen = 0;
        let (last, _) = BUCKETS[BUCKETS.len() - 1];
        for ((bound, _), bucket) in BUCKETS.iter().zip(&self.buckets) {
            seen += bucket;
            if seen as f64 >= quantile * count as f64 {
                return Some(*bound);
            }
        }
        Some(last)
    }
}

/// The length of the number in bits says how many bounds are certainly below it, and at most
/// [`BOUNDS_PER_LENGTH`] others have that length: a look-up and two compares without a branch. Comparing with
/// all bounds, even in vectors, takes five times as many instructions.
#[inline]
fn bucket_of(duration_us: u64) -> usize {
    let duration_us = u32::try_from(duration_us).unwrap_or(u32::MAX);
    let length = &LENGTHS[duration_us
        .checked_ilog2()
        .map_or(0, |log| log as usize + 1)];
    let above = length.bounds.map(|bound| usize::from(duration_us > bound));
    length.bounds_below + above.iter().sum::<usize>()
}

/// What is known about all numbers of one length in bits.
#[derive(Clone, Copy)]
struct BitLength {
    /// Bounds of a smaller length.
    bounds_below: usize,
    /// The bounds of this length, and then ones that no number exceeds.
    bounds: [u32; BOUNDS_PER_LENGTH],
}

const BOUNDS_PER_LENGTH: usize = 2;

static LENGTHS: [BitLength; u32::BITS as usize + 1] = lengths();

const fn lengths() -> [BitLength; u32::BITS as usize + 1] {
    let nothing = BitLength {
        bounds_below: 0,
        bounds: [u32::MAX; BOUNDS_PER_LENGTH],
    };
    let mut lengths = [nothing; u32::BITS as usize + 1];
    let mut length = 0;
    let mut next = 0;
    while length < lengths.len() {
        lengths[length].bounds_below = next;
        let mut found = 0;
        while next < BUCKETS.len()
            && (u32::BITS - BUCKETS[next].0.leading_zeros()) as usize == length
        {
            // Out of bounds, and so an error of compilation, where BOUNDS_PER_LENGTH is too small.
            lengths[length].bounds[found] = BUCKETS[next].0;
            found += 1;
            next += 1;
        }
        length += 1;
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Histogram, HistogramTotals, bucket_of};

    #[test]
    fn bounds_are_inclusive_and_named_right() {
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS.len());
        for duration in (0..20_000_000).step_by(7).chain(0..2_000) {
            let below = BUCKETS.iter().filter(|(bound, _)| duration > *bound);
            assert_eq!(bucket_of(u64::from(duration)), below.count());
        }
        for (index, (bound, name)) in BUCKETS.iter().enumerate() {
            assert_eq!(bucket_of(u64::from(*bound)), index);
            assert_eq!(bucket_of(u64::from(*bound) + 1), index + 1);
            let seconds: f64 = name.parse().unwrap();
            assert!((seconds - f64::from(*bound) / 1e6).abs() < 1e-9, "{name}");
        }
    }

    #[test]
    fn totals_add_up() {
        let histogram = Histogram::new();
        for duration in [50, 100, 101, 20_000_000] {
            histogram.observe(duration);
        }
        let mut totals = HistogramTotals::default();
        histogram.add_to(&mut totals);
        histogram.add_to(&mut totals);
        assert_eq!(totals.count(), 8);
        assert_eq!(totals.buckets[0], 4);
        assert_eq!(totals.sum_us, 2 * 20_000_251);
        assert_eq!(totals.quantile_us(0.5), Some(100));
        assert_eq!(totals.quantile_us(0.99), Some(10_000_000));
        assert_eq!(HistogramTotals::default().quantile_us(0.5), None);
    }
}
