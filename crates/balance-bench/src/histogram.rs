//! Latencies in logarithmic buckets: fixed memory, less than 1 % error, merged exactly.

use std::time::Duration;

/// Each power of two is cut into so many buckets: 1/128 is the largest relative error.
const SUB_BUCKET_BITS: u32 = 7;
const SUB_BUCKETS: usize = 1 << SUB_BUCKET_BITS;
/// Enough for 2^40 ns, which is 18 minutes; what is longer counts as that.
const BUCKETS: usize = (40 - SUB_BUCKET_BITS as usize + 1) * SUB_BUCKETS;

/// A distribution of durations.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    count: u64,
    sum_nanos: u64,
    max_nanos: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            count: 0,
            sum_nanos: 0,
            max_nanos: 0,
        }
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket_of(nanos)] += 1;
        self.count += 1;
        self.sum_nanos = self.sum_nanos.saturating_add(nanos);
        self.max_nanos = self.max_nanos.max(nanos);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Zero when nothing was recorded.
    pub(crate) fn mean(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos.checked_div(self.count).unwrap_or(0))
    }

    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.max_nanos)
    }

    /// The duration that `share` (0 to 1) of all recorded ones do not exceed. Zero when there are none.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let rank = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(top_of(bucket).min(self.max_nanos));
            }
        }
        self.max()
    }
}

fn bucket_of(nanos: u64) -> usize {
    let magnitude = (u64::BITS - nanos.leading_zeros()).saturating_sub(SUB_BUCKET_BITS + 1);
    // Up to twice SUB_BUCKETS the value is its own bucket; above, each octave has SUB_BUCKETS.
    let bucket = (magnitude as usize) * SUB_BUCKETS + (nanos >> magnitude) as usize;
    bucket.min(BUCKETS - 1)
}

/// The largest value that falls into the bucket.
fn top_of(bucket: usize) -> u64 {
    if bucket < 2 * SUB_BUCKETS {
        return bucket as u64;
    }
    let magnitude = bucket / SUB_BUCKETS - 1;
    let within = (bucket - magnitude * SUB_BUCKETS) as u64;
    ((within + 1) << magnitude) - 1
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Histogram, bucket_of, top_of};

    #[test]
    fn buckets_meet_without_gaps() {
        for nanos in (0..100_000).chain([1 << 20, (1 << 20) - 1, 123_456_789]) {
            let bucket = bucket_of(nanos);
            assert!(nanos <= top_of(bucket), "{nanos}");
            assert!(bucket == 0 || nanos > top_of(bucket - 1), "{nanos}");
            assert!(
                (top_of(bucket) - nanos) as f64 <= nanos as f64 / 128.0,
                "{nanos}"
            );
        }
    }

    #[test]
    fn quantiles_of_a_known_distribution() {
        let mut histogram = Histogram::default();
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (share, micros) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let seen = histogram.quantile(share).as_secs_f64() * 1e6;
            assert!((seen / micros - 1.0).abs() < 0.01, "{share}: {seen}");
        }
        assert_eq!(histogram.mean(), Duration::from_nanos(500_500));
        assert_eq!(histogram.count(), 1000);
    }

    #[test]
    fn nothing_recorded_is_zero() {
        assert_eq!(Histogram::default().quantile(0.99), Duration::ZERO);
        assert_eq!(Histogram::default().mean(), Duration::ZERO);
    }
}
