//! What happened when: a measurement in slices of equal length, merged exactly over threads.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::load::per;
use crate::histogram::Histogram;
use crate::summary::in_micros;

/// Slices of the time line of a run of known length. More would not be seen in a chart.
const SLICES: u32 = 100;
const SLICE_MIN: Duration = Duration::from_millis(100);

/// The latencies of one slice, as the buckets of its histogram that are not empty.
#[derive(Clone, Debug, Default)]
struct Slice {
    buckets: Vec<(Duration, u64)>,
    failures: u64,
}

/// Latencies in total and by slices. Recording costs one histogram: the slice's, which is added to the total when it ends.
pub(crate) struct Timeline {
    length: Duration,
    total: Histogram,
    current: Histogram,
    current_failures: u64,
    current_end: Instant,
    slices: Vec<Slice>,
}

/// What is shown of a slice.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Point {
    /// Of its beginning, behind the start.
    pub(crate) seconds: f64,
    pub(crate) requests_per_second: f64,
    pub(crate) failures: u64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

impl Timeline {
    /// How long the slices of a run are. None: its length is not known before.
    pub(crate) fn slice_length(duration: Option<Duration>) -> Duration {
        duration.map_or(Duration::from_secs(1), |all| (all / SLICES).max(SLICE_MIN))
    }

    pub(crate) fn new(start: Instant, length: Duration) -> Self {
        Self {
            length,
            total: Histogram::default(),
            current: Histogram::default(),
            current_failures: 0,
            current_end: start + length,
            slices: Vec::new(),
        }
    }

    /// Times must not go back.
    pub(crate) fn record(&mut self, now: Instant, latency: Duration) {
        self.advance(now);
        self.current.record(latency);
    }

    pub(crate) fn record_failure(&mut self, now: Instant) {
        self.advance(now);
        self.current_failures += 1;
    }

    /// Ends the last slice.
    pub(crate) fn finish(mut self) -> FinishedTimeline {
        if self.current.count() > 0 || self.current_failures > 0 {
            self.end_slice();
        }
        FinishedTimeline {
            length: self.length,
            total: self.total,
            slices: self.slices,
        }
    }

    fn advance(&mut self, now: Instant) {
        while now >= self.current_end {
            self.end_slice();
        }
    }

    fn end_slice(&mut self) {
        self.slices.push(Slice {
            buckets: self.current.buckets().collect(),
            failures: std::mem::take(&mut self.current_failures),
        });
        if self.current.count() > 0 {
            self.total.merge(&self.current);
            self.current.clear();
        }
        self.current_end += self.length;
    }
}

/// A time line that nothing is added to any more.
#[derive(Clone)]
pub(crate) struct FinishedTimeline {
    length: Duration,
    total: Histogram,
    slices: Vec<Slice>,
}

impl FinishedTimeline {
    pub(crate) fn latency(&self) -> &Histogram {
        &self.total
    }

    /// Of a run with slices of the same length that began at the same time.
    pub(crate) fn merge(&mut self, other: Self) {
        debug_assert_eq!(self.length, other.length);
        self.total.merge(&other.total);
        let count = self.slices.len().max(other.slices.len());
        self.slices.resize_with(count, Slice::default);
        for (own, others) in self.slices.iter_mut().zip(other.slices) {
            own.buckets.extend(others.buckets);
            own.failures += others.failures;
        }
    }

    /// `elapsed` is the length of the run: its last slice may have been cut short.
    pub(crate) fn points(&self, elapsed: Duration) -> Vec<Point> {
        let mut latency = Histogram::default();
        let point = |(index, slice): (usize, &Slice)| {
            latency.clear();
            for (duration, count) in &slice.buckets {
                latency.record_bucket(*duration, *count);
            }
            let begin = self.length * index as u32;
            let length = self.length.min(elapsed.saturating_sub(begin));
            // A slice that was hardly begun would show a rate by chance; but a short run has no other.
            let is_whole_enough = index == 0 || length * 2 >= self.length;
            is_whole_enough.then(|| Point {
                seconds: begin.as_secs_f64(),
                requests_per_second: per(latency.count() as f64, length.as_secs_f64()),
                failures: slice.failures,
                p50: latency.quantile(0.5),
                p99: latency.quantile(0.99),
                max: latency.max(),
            })
        };
        self.slices.iter().enumerate().filter_map(point).collect()
    }

    pub(crate) fn to_json(&self, elapsed: Duration) -> Value {
        let point = |point: &Point| {
            json!({
                "seconds": point.seconds,
                "requests_per_second": point.requests_per_second,
                "errors": point.failures,
                "p50_us": in_micros(point.p50),
                "p99_us": in_micros(point.p99),
                "max_us": in_micros(point.max),
            })
        };
        self.points(elapsed).iter().map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{FinishedTimeline, Timeline};

    fn timeline(start: Instant, millis: &[u64]) -> FinishedTimeline {
        let mut timeline = Timeline::new(start, Duration::from_secs(1));
        for at in millis {
            timeline.record(
                start + Duration::from_millis(*at),
                Duration::from_millis(*at),
            );
        }
        timeline.finish()
    }

    #[test]
    fn slices_without_anything_are_there_and_threads_are_merged() {
        let start = Instant::now();
        let mut merged = timeline(start, &[100, 2500]);
        merged.merge(timeline(start, &[999, 1000, 2999]));
        let points = merged.points(Duration::from_secs(3));
        let rates: Vec<f64> = points
            .iter()
            .map(|point| point.requests_per_second)
            .collect();
        assert_eq!(rates, [2.0, 1.0, 2.0]);
        assert_eq!(merged.latency().count(), 5);
        let max = points[2].max.as_secs_f64();
        assert!((max / 2.999 - 1.0).abs() < 0.001, "{max}");
    }

    #[test]
    fn a_last_slice_that_was_cut_short_has_its_own_length_or_is_left_out() {
        let start = Instant::now();
        let line = timeline(start, &[100, 1100]);
        let rates = |millis| -> Vec<f64> {
            let points = line.points(Duration::from_millis(millis));
            points
                .iter()
                .map(|point| point.requests_per_second)
                .collect()
        };
        assert_eq!(rates(1500), [1.0, 2.0]);
        assert_eq!(rates(1200), [1.0]);
        assert_eq!(rates(200), [5.0]);
    }
}
