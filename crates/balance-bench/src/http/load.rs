//! A measurement over all threads: started together, stopped together, merged.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::driver::{Driver, Tally};
use super::request::Request;
use super::timeline::{FinishedTimeline, Timeline};
use crate::amount::Amount;
use crate::failures::{Failures, Kind};
use crate::threads::Crew;
use crate::tls::{Client, Handshakes};

/// What is measured, how, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) target: SocketAddr,
    pub(crate) request: Request,
    pub(crate) connections: usize,
    /// Requests at the same time on each connection: 1 but for HTTP/2.
    pub(crate) streams: usize,
    /// At most as many as connections.
    pub(crate) threads: usize,
    pub(crate) amount: Amount,
    /// Requests per second of all threads together, at even distances (open loop). None: each connection sends its
    /// next request when it has the last response (closed loop).
    pub(crate) rate: Option<f64>,
    pub(crate) new_connections: bool,
    /// Of one request, opening a connection for it included.
    pub(crate) timeout: Duration,
    /// None: cleartext.
    pub(crate) tls: Option<Client>,
}

impl Plan {
    pub(super) fn slice_length(&self) -> Duration {
        Timeline::slice_length(match self.amount {
            Amount::Time(duration) => Some(duration),
            Amount::Requests(_) => None,
        })
    }
}

/// What all threads of a measurement share.
pub(super) struct Shared<'a> {
    stop: &'a AtomicBool,
    /// All have their connections.
    pub(super) opened: Barrier,
}

impl Shared<'_> {
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// What a measurement has shown.
#[derive(Clone)]
pub(crate) struct Outcome {
    pub(crate) timeline: FinishedTimeline,
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) failures: Failures,
    /// All of them, also those before the clock started.
    pub(crate) handshakes: Handshakes,
    /// Received, heads included.
    pub(crate) bytes: u64,
    pub(crate) elapsed: Duration,
    pub(crate) intended: u64,
    pub(crate) begun: u64,
    /// CPU time of the threads of the load.
    pub(crate) own_cpu: Duration,
    /// The share of the run in which the busiest thread ran or waited for its core.
    pub(crate) busy: f64,
}

impl Outcome {
    pub(crate) fn requests(&self) -> u64 {
        self.timeline.latency().count()
    }

    pub(crate) fn requests_per_second(&self) -> f64 {
        per(self.requests() as f64, self.elapsed.as_secs_f64())
    }

    pub(crate) fn bytes_per_second(&self) -> f64 {
        per(self.bytes as f64, self.elapsed.as_secs_f64())
    }

    /// Responses with a status below 400.
    pub(crate) fn succeeded(&self) -> u64 {
        self.requests() - self.failures.of_kind(Kind::Status)
    }

    pub(crate) fn own_cpu_us_per_request(&self) -> f64 {
        per(self.own_cpu.as_secs_f64() * 1e6, self.requests() as f64)
    }

    fn from_tally(tally: Tally) -> Self {
        let used = tally.own_time.cpu + tally.own_time.waiting;
        Self {
            timeline: tally.timeline,
            statuses: tally.statuses,
            failures: tally.failures,
            handshakes: tally.handshakes,
            bytes: tally.bytes,
            elapsed: tally.elapsed,
            intended: tally.intended,
            begun: tally.begun,
            own_cpu: tally.own_time.cpu,
            busy: per(used.as_secs_f64(), tally.elapsed.as_secs_f64()).min(1.0),
        }
    }

    fn merge(mut self, other: Self) -> Self {
        self.timeline.merge(other.timeline);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.failures.merge(&other.failures);
        self.handshakes.merge(&other.handshakes);
        self.bytes += other.bytes;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.intended += other.intended;
        self.begun += other.begun;
        self.own_cpu += other.own_cpu;
        self.busy = self.busy.max(other.busy);
        self
    }
}

/// Zero where there is nothing to divide by.
pub(crate) fn per(amount: f64, of: f64) -> f64 {
    if of > 0.0 { amount / of } else { 0.0 }
}

/// Runs the measurement until its end, or until `stop` becomes true. `watch` is told the requests completed and the
/// errors so far, a few times a second.
///
/// # Errors
/// The system has no epoll instance or no thread left.
pub(crate) fn run(
    plan: &Plan,
    stop: &AtomicBool,
    watch: impl FnMut(u64, u64),
) -> io::Result<Outcome> {
    let crew = Crew::new(plan.threads);
    let shared = Shared {
        stop,
        opened: Barrier::new(plan.threads),
    };
    // All of them before the first is started: one that is missing would be waited for.
    let drivers: Vec<Driver<'_>> = (0..plan.threads)
        .map(|thread| Driver::new(plan, &shared, crew.counts(thread), thread))
        .collect::<io::Result<_>>()?;
    let jobs = drivers.into_iter().map(|driver| move || driver.run());
    let tallies = crew.run(jobs, watch)?;
    tallies
        .into_iter()
        .map(Outcome::from_tally)
        .reduce(Outcome::merge)
        .ok_or_else(|| ErrorKind::InvalidInput.into())
}
