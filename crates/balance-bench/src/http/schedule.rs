//! When requests are meant to begin in open loop: evenly, whatever the target does.
//!
//! Latency counts from here and not from the moment a connection was free. Otherwise a target that stalls would
//! only be asked less often, and the stall would be one slow request among thousands (coordinated omission).

use std::time::{Duration, Instant};

/// The starts of one thread: every `stride`-th of an even sequence.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    start: Instant,
    /// Between two starts of this thread.
    interval_nanos: f64,
    /// Of the first start, behind `start`.
    offset_nanos: f64,
    begun: u64,
    next: Instant,
}

impl Schedule {
    /// `rate` is requests per second of all threads together, `thread` the place of this one among `threads`.
    pub(super) fn new(start: Instant, rate: f64, thread: usize, threads: usize) -> Self {
        let spacing = 1e9 / rate;
        let mut schedule = Self {
            start,
            interval_nanos: spacing * threads as f64,
            offset_nanos: spacing * thread as f64,
            begun: 0,
            next: start,
        };
        schedule.next = schedule.time_of(0);
        schedule
    }

    /// When the next request is meant to begin.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Takes the next start, when it is due, and returns when it was meant to be.
    pub(super) fn take(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next;
        if due > now {
            return None;
        }
        self.begun += 1;
        self.next = self.time_of(self.begun);
        Some(due)
    }

    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// How many were meant to begin before `now`.
    pub(super) fn intended(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.start).as_nanos() as f64;
        ((elapsed - self.offset_nanos) / self.interval_nanos)
            .ceil()
            .max(0.0) as u64
    }

    fn time_of(&self, number: u64) -> Instant {
        let nanos = self.offset_nanos + number as f64 * self.interval_nanos;
        self.start + Duration::from_nanos(nanos as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Schedule;

    #[test]
    fn threads_take_turns_at_even_distances() {
        let start = Instant::now();
        let mut starts = Vec::new();
        for thread in 0..4 {
            let mut schedule = Schedule::new(start, 1000.0, thread, 4);
            let end = start + Duration::from_secs(1);
            assert_eq!(schedule.intended(end), 250, "{thread}");
            starts.extend(std::iter::from_fn(|| schedule.take(end)).take(250));
        }
        starts.sort();
        for (number, at) in starts.iter().enumerate() {
            assert_eq!(*at - start, Duration::from_millis(number as u64));
        }
    }

    #[test]
    fn what_is_late_keeps_its_intended_start() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 10.0, 0, 1);
        let late = start + Duration::from_millis(250);
        assert_eq!(schedule.intended(late), 3);
        let taken: Vec<Duration> = std::iter::from_fn(|| schedule.take(late))
            .map(|at| at - start)
            .collect();
        assert_eq!(taken, [0, 100, 200].map(Duration::from_millis));
        assert_eq!(
            (schedule.begun(), schedule.next()),
            (3, start + Duration::from_millis(300))
        );
    }
}
