//! All workers' metrics, merged when somebody asks.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use balance_core::{Cause, RetryReason, RetryRefusal, TlsVersion};

use crate::family::{Collect, Family, Kind, Samples, Value};
use crate::process;
use crate::series::MirrorOutcome;
use crate::totals::{ListenerTotals, Totals};
use crate::worker::{SeriesMaps, Shard, WorkerMetrics};

#[cfg(test)]
mod tests;

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildInfo {
    pub version: &'static str,
    /// Of the source; empty if unknown.
    pub revision: &'static str,
}

/// The process's metrics. One for its life: counters outlive every reload.
pub struct Registry {
    build: BuildInfo,
    workers: Mutex<Workers>,
    collectors: Mutex<Vec<Box<dyn Collect>>>,
    reloads_succeeded: AtomicU64,
    reloads_failed: AtomicU64,
    last_reload_failed: AtomicBool,
    log_lines_dropped: AtomicU64,
}

#[derive(Default)]
struct Workers {
    shards: Vec<Arc<Shard>>,
    retired: Totals,
    scrapes: u64,
}

impl Registry {
    /// A registry without workers.
    pub fn new(build: BuildInfo) -> Arc<Self> {
        Arc::new(Self {
            build,
            workers: Mutex::default(),
            collectors: Mutex::default(),
            reloads_succeeded: AtomicU64::new(0),
            reloads_failed: AtomicU64::new(0),
            last_reload_failed: AtomicBool::new(false),
            log_lines_dropped: AtomicU64::new(0),
        })
    }

    /// Cells for the worker that calls. When it drops them, their counts stay.
    pub fn worker(&self) -> WorkerMetrics {
        let shard = Arc::new(Shard::new(SeriesMaps::default()));
        lock(&self.workers).shards.push(Arc::clone(&shard));
        WorkerMetrics::new(shard)
    }

    /// Asks `collector` too, at each scrape from now on.
    pub fn add_collector(&self, collector: impl Collect + 'static) {
        lock(&self.collectors).push(Box::new(collector));
    }

    /// Counts an attempt to load a configuration after the first.
    pub fn config_reloaded(&self, succeeded: bool) {
        let count = if succeeded {
            &self.reloads_succeeded
        } else {
            &self.reloads_failed
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.last_reload_failed.store(!succeeded, Ordering::Relaxed);
    }

    /// Counts access-log lines that were thrown away. Not a one-writer cell: workers and the writer
    /// thread count here, and only when something is wrong.
    pub fn log_lines_dropped(&self, lines: u64) {
        self.log_lines_dropped.fetch_add(lines, Ordering::Relaxed);
    }

    /// Everything, merged: for exposition, dashboards and tests.
    pub fn families(&self) -> Vec<Family> {
        let totals = lock(&self.workers).merge();
        let mut samples = Samples::default();
        add_http(&mut samples, &totals);
        add_connections(&mut samples, &totals);
        add_tls(&mut samples, &totals);
        add_backends(&mut samples, &totals);
        add_mirrors(&mut samples, &totals);
        add_retries(&mut samples, &totals);
        add_causes(&mut samples, &totals);
        self.add_process_wide(&mut samples, &totals);
        for collector in lock(&self.collectors).iter() {
            collector.collect(&mut samples);
        }
        process::collect(&mut samples);
        samples.into_families()
    }

    fn add_process_wide(&self, samples: &mut Samples, totals: &Totals) {
        for (result, count) in [
            ("success", &self.reloads_succeeded),
            ("failure", &self.reloads_failed),
        ] {
            samples.counter(
                "balance_config_reloads",
                "Attempts to load a changed configuration.",
                &[("result", result)],
                count.load(Ordering::Relaxed),
            );
        }
        let succeeded = !self.last_reload_failed.load(Ordering::Relaxed);
        samples.gauge(
            "balance_config_last_reload_successful",
            "Whether the last attempt to load a configuration succeeded.",
            &[],
            f64::from(u8::from(succeeded)),
        );
        samples.counter(
            "balance_accept_errors",
            "Failed attempts to accept a connection.",
            &[],
            totals.accept_errors,
        );
        samples.counter(
            "balance_panics",
            "Connections closed because their code panicked.",
            &[],
            totals.panics,
        );
        samples.counter(
            "balance_access_log_lines_dropped",
            "Access log lines thrown away because the log could not be written as fast.",
            &[],
            self.log_lines_dropped.load(Ordering::Relaxed),
        );
        samples.add(
            Kind::Info,
            "balance_build",
            "What was built.",
            &[
                ("version", self.build.version),
                ("revision", self.build.revision),
            ],
            Value::Integer(1),
        );
    }
}

impl Workers {
    /// Retires what is gone, then adds what is alive.
    fn merge(&mut self) -> Totals {
        self.scrapes += 1;
        let (retired, order) = (&mut self.retired, self.scrapes);
        self.shards.retain_mut(|shard| {
            shard.with_series(|series| retired.retire_series(series, order));
            // Alone here: its worker is gone, and the last writes are visible to us. Series whose handles
            // outlived it keep the shard; its other counters must not count twice then.
            match Arc::get_mut(shard) {
                Some(gone) => {
                    retired.add_cells(gone);
                    let series = gone.with_series(mem::take);
                    let in_use = !series.is_empty();
                    *gone = Shard::new(series);
                    in_use
                }
                None => true,
            }
        });
        let mut totals = self.retired.clone();
        for shard in &self.shards {
            totals.add_shard(shard);
        }
        totals
    }
}

fn add_http(samples: &mut Samples, totals: &Totals) {
    for (labels, series) in &totals.requests {
        for (key, (method, count)) in &series.requests {
            let mut digits = itoa::Buffer::new();
            let status = key.map_or("other", |(_, status)| digits.format(status));
            samples.counter(
                "balance_http_requests",
                "Finished HTTP exchanges. Status 0: the client was sent no response.",
                &[
                    ("listener", &labels.listener),
                    ("route", &labels.route),
                    ("pool", &labels.pool),
                    ("method", method.name()),
                    ("status", status),
                ],
                *count,
            );
        }
    }
    for (labels, series) in &totals.requests {
        samples.add(
            Kind::Histogram,
            "balance_http_request_duration_seconds",
            "From the first byte of a request to the last byte of its response.",
            &[
                ("listener", &labels.listener),
                ("route", &labels.route),
                ("pool", &labels.pool),
            ],
            Value::Histogram(Box::new(series.duration.clone())),
        );
    }
}

fn add_connections(samples: &mut Samples, totals: &Totals) {
    let mut each = |visit: &dyn Fn(&mut Samples, &str, &ListenerTotals)| {
        for (listener, series) in &totals.listeners {
            visit(samples, listener, series);
        }
    };
    each(&|samples, listener, series| {
        samples.gauge(
            "balance_active_connections",
            "Open client connections.",
            &[("listener", listener)],
            // Read from several workers one after the other, so closed may be ahead for a moment.
            series.opened.saturating_sub(series.closed) as f64,
        );
    });
    each(&|samples, listener, series| {
        samples.gauge(
            "balance_busy_connections",
            "Open client connections with an exchange or a session under way.",
            &[("listener", listener)],
            series.became_busy.saturating_sub(series.became_idle) as f64,
        );
    });
    each(&|samples, listener, series| {
        samples.counter(
            "balance_connections",
            "Accepted client connections.",
            &[("listener", listener)],
            series.opened,
        );
    });
    samples.counter(
        "balance_bytes_received",
        "Bytes read from clients.",
        &[],
        totals.bytes_received,
    );
    samples.counter(
        "balance_bytes_sent",
        "Bytes written to clients.",
        &[],
        totals.bytes_sent,
    );
    samples.gauge(
        "balance_buffered_bytes",
        "Bytes held for heads and for what receivers do not take, of limits.buffered_bytes_max.",
        &[],
        totals.buffered_bytes as f64,
    );
}

fn add_tls(samples: &mut Samples, totals: &Totals) {
    for (version, counts) in TlsVersion::ALL.iter().zip(totals.tls_handshakes) {
        for (resumed, count) in ["false", "true"].into_iter().zip(counts) {
            samples.counter(
                "balance_tls_handshakes",
                "TLS handshakes with clients that succeeded.",
                &[("version", version.name()), ("resumed", resumed)],
                count,
            );
        }
    }
}

fn add_backends(samples: &mut Samples, totals: &Totals) {
    for (labels, series) in &totals.backends {
        let labels: &[(&'static str, &str)] =
            &[("pool", &labels.pool), ("backend", &labels.backend)];
        samples.counter(
            "balance_backend_requests",
            "Requests sent to a backend, retries included.",
            labels,
            series.requests,
        );
        samples.add(
            Kind::Histogram,
            "balance_backend_request_duration_seconds",
            "From the pick of a backend to the last byte of its response.",
            labels,
            Value::Histogram(Box::new(series.duration.clone())),
        );
        samples.counter(
            "balance_backend_retries",
            "Requests sent again after a failed attempt at this backend.",
            labels,
            series.retries,
        );
        samples.counter(
            "balance_backend_connect_failures",
            "Connections to a backend that could not be opened.",
            labels,
            series.connect_failures,
        );
        // Of backends without TLS there is nothing to tell.
        if series.tls_handshakes != [0; 2] {
            for (resumed, count) in ["false", "true"].into_iter().zip(series.tls_handshakes) {
                samples.counter(
                    "balance_backend_tls_handshakes",
                    "TLS handshakes with a backend that succeeded.",
                    &[labels, &[("resumed", resumed)]].concat(),
                    count,
                );
            }
        }
    }
}

/// All outcomes, those that never happened too.
fn add_mirrors(samples: &mut Samples, totals: &Totals) {
    for (labels, series) in &totals.mirrors {
        for (outcome, count) in MirrorOutcome::ALL.iter().zip(series.outcomes) {
            samples.counter(
                "balance_mirror_requests",
                "Requests of routes that mirror, by what became of their copies.",
                &[
                    ("route", &labels.route),
                    ("pool", &labels.pool),
                    ("outcome", outcome.name()),
                ],
                count,
            );
        }
    }
}

/// All reasons and refusals, those that never happened too.
fn add_retries(samples: &mut Samples, totals: &Totals) {
    for (pool, series) in &totals.retries {
        for (reason, count) in RetryReason::ALL.iter().zip(series.granted) {
            samples.counter(
                "balance_retries",
                "Configured retries of a pool, by what they followed.",
                &[("pool", pool), ("reason", reason.name())],
                count,
            );
        }
        for (refusal, count) in RetryRefusal::ALL.iter().zip(series.refused) {
            samples.counter(
                "balance_retries_refused",
                "Failures that the retries of a pool are for and that were not repeated, by why not.",
                &[("pool", pool), ("reason", refusal.name())],
                count,
            );
        }
    }
}

/// All causes, those that never happened too: an alert on a rate needs the series from the start.
fn add_causes(samples: &mut Samples, totals: &Totals) {
    for cause in Cause::ALL {
        samples.counter(
            "balance_exchange_cause",
            "How exchanges and sessions ended.",
            &[("cause", cause.name())],
            totals.causes[cause.index()],
        );
    }
}

/// A panic under one of these locks leaves nothing half done that a later scrape could not read.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
