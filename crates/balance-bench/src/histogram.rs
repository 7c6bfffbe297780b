//! Latencies in an HDR histogram: fixed memory, three significant digits, merged exactly.

use std::time::Duration;

/// A distribution of durations.
#[derive(Clone)]
pub(crate) struct Histogram(hdrhistogram::Histogram<u64>);

/// Longer ones count as this: an hour, in nanoseconds.
const LONGEST_NANOS: u64 = 3_600_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

impl Default for Histogram {
    fn default() -> Self {
        let histogram =
            hdrhistogram::Histogram::new_with_bounds(1, LONGEST_NANOS, SIGNIFICANT_DIGITS);
        Self(histogram.expect("the bounds are in order and the digits at most five"))
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, duration: Duration) {
        self.0.saturating_record(in_nanos(duration));
    }

    /// Adds what another one counted; all have the same buckets, so nothing is lost.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.0
            .add(&other.0)
            .expect("all histograms have the same bounds");
    }

    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Zero when nothing was recorded.
    pub(crate) fn mean(&self) -> Duration {
        Duration::from_nanos(self.0.mean() as u64)
    }

    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    /// The duration that `share` (0 to 1) of all recorded ones do not exceed. Zero when there are none.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(share).min(self.0.max()))
    }

    /// The buckets that are not empty: the longest duration of each, and how many it counts.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.0.iter_recorded().map(|bucket| {
            (
                Duration::from_nanos(bucket.value_iterated_to()),
                bucket.count_since_last_iteration(),
            )
        })
    }

    /// Takes back what [`Self::buckets`] gave.
    pub(crate) fn record_bucket(&mut self, duration: Duration, count: u64) {
        self.0.saturating_record_n(in_nanos(duration), count);
    }
}

fn in_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Histogram;

    fn of_micros(micros: impl Iterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        micros.for_each(|each| histogram.record(Duration::from_micros(each)));
        histogram
    }

    fn quantiles(histogram: &Histogram) -> Vec<Duration> {
        [0.0, 0.5, 0.9, 0.99, 0.999, 1.0]
            .map(|share| histogram.quantile(share))
            .to_vec()
    }

    #[test]
    fn quantiles_of_a_known_distribution() {
        let histogram = of_micros(1..=1000);
        for (share, micros) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let seen = histogram.quantile(share).as_secs_f64() * 1e6;
            assert!((seen / micros - 1.0).abs() < 0.001, "{share}: {seen}");
        }
        assert_eq!(histogram.count(), 1000);
    }

    #[test]
    fn merging_is_exact() {
        let whole = of_micros(1..=10_000);
        let mut merged = of_micros((1..=10_000).step_by(2));
        merged.merge(&of_micros((2..=10_000).step_by(2)));
        assert_eq!(quantiles(&merged), quantiles(&whole));
        assert_eq!(
            (merged.count(), merged.mean()),
            (whole.count(), whole.mean())
        );
    }

    #[test]
    fn buckets_give_back_the_distribution() {
        let whole = of_micros((1..=10_000).map(|n| n * n));
        let mut again = Histogram::default();
        whole
            .buckets()
            .for_each(|(duration, count)| again.record_bucket(duration, count));
        assert_eq!(quantiles(&again), quantiles(&whole));
    }

    #[test]
    fn nothing_recorded_is_zero_and_too_long_is_the_longest() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.99), Duration::ZERO);
        assert_eq!(histogram.mean(), Duration::ZERO);
        histogram.record(Duration::from_secs(1_000_000));
        assert!(histogram.max() >= Duration::from_secs(3600));
    }
}
