//! What one worker writes.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use balance_core::{Cause, TlsVersion};

use crate::cell::{Counter, Gauge};
use crate::series::{
    BackendCells, BackendLabels, BackendSeries, ListenerCells, ListenerSeries, MirrorCells,
    MirrorLabels, MirrorSeries, RequestCells, RequestLabels, RequestSeries, RetryCells,
    RetrySeries,
};

/// The metrics of one worker. Made on its thread, and stays there.
#[derive(Debug)]
pub struct WorkerMetrics {
    shard: Arc<Shard>,
    one_thread: PhantomData<Rc<()>>,
}

impl WorkerMetrics {
    /// The requests of a listener, route and pool. Takes a lock and allocates: once per snapshot, then the
    /// handle is kept. The same names give the same cells, also after a reload.
    ///
    /// What did not get as far has the empty string as route or pool.
    pub fn request_series(&self, listener: &str, route: &str, pool: &str) -> RequestSeries {
        let labels = RequestLabels {
            listener: listener.into(),
            route: route.into(),
            pool: pool.into(),
        };
        let cells = self
            .shard
            .with_series(|series| Arc::clone(series.requests.entry(labels).or_default()));
        RequestSeries::new(cells)
    }

    /// The attempts at a backend. As [`WorkerMetrics::request_series`], to be kept.
    pub fn backend_series(&self, pool: &str, backend: &str) -> Rc<BackendSeries> {
        let labels = BackendLabels {
            pool: pool.into(),
            backend: backend.into(),
        };
        let cells = self
            .shard
            .with_series(|series| Arc::clone(series.backends.entry(labels).or_default()));
        Rc::new(BackendSeries::new(cells))
    }

    /// The copies of a route's requests. As [`WorkerMetrics::request_series`], to be kept.
    pub fn mirror_series(&self, route: &str, pool: &str) -> Rc<MirrorSeries> {
        let labels = MirrorLabels {
            route: route.into(),
            pool: pool.into(),
        };
        let cells = self
            .shard
            .with_series(|series| Arc::clone(series.mirrors.entry(labels).or_default()));
        Rc::new(MirrorSeries::new(cells))
    }

    /// The retries of a pool. As [`WorkerMetrics::request_series`], to be kept.
    pub fn retry_series(&self, pool: &str) -> Rc<RetrySeries> {
        let cells = self
            .shard
            .with_series(|series| Arc::clone(series.retries.entry(pool.into()).or_default()));
        Rc::new(RetrySeries::new(cells))
    }

    /// The connections of a listener. As [`WorkerMetrics::request_series`], to be kept.
    pub fn listener_series(&self, listener: &str) -> Rc<ListenerSeries> {
        let cells = self
            .shard
            .with_series(|series| Arc::clone(series.listeners.entry(listener.into()).or_default()));
        Rc::new(ListenerSeries::new(cells))
    }

    /// What this worker holds of its share of `limits.buffered_bytes_max`. One handle for each worker.
    pub fn buffered_bytes(&self) -> BufferedBytes {
        BufferedBytes {
            shard: Arc::clone(&self.shard),
            one_thread: PhantomData,
        }
    }

    /// Counts how an exchange or session ended.
    #[inline]
    pub fn cause(&self, cause: Cause) {
        self.shard.causes[cause.index()].increment();
    }

    /// Bytes read from clients.
    #[inline]
    pub fn bytes_received(&self, n: u64) {
        self.shard.bytes_received.add(n);
    }

    /// Bytes written to clients.
    #[inline]
    pub fn bytes_sent(&self, n: u64) {
        self.shard.bytes_sent.add(n);
    }

    /// Counts a failed accept.
    #[inline]
    pub fn accept_error(&self) {
        self.shard.accept_errors.increment();
    }

    /// Counts a TLS handshake with a client that succeeded.
    #[inline]
    pub fn tls_handshake(&self, version: TlsVersion, is_resumed: bool) {
        self.shard.tls_handshakes[version as usize][usize::from(is_resumed)].increment();
    }

    /// Counts a panic that was caught at the edge of a connection.
    #[inline]
    pub fn panicked(&self) {
        self.shard.panics.increment();
    }

    pub(crate) fn new(shard: Arc<Shard>) -> Self {
        Self {
            shard,
            one_thread: PhantomData,
        }
    }
}

/// The bytes that a worker's connections hold for others who are not ready.
#[derive(Debug)]
pub struct BufferedBytes {
    shard: Arc<Shard>,
    one_thread: PhantomData<Rc<()>>,
}

impl BufferedBytes {
    #[inline]
    pub fn set(&self, bytes: usize) {
        self.shard.buffered_bytes.set(bytes as u64);
    }

    #[inline]
    pub fn value(&self) -> usize {
        self.shard.buffered_bytes.value() as usize
    }
}

/// The cells of one worker. On cache lines of its own: two workers that count into one line would slow
/// each other as much as a shared atomic does.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shard {
    pub(crate) bytes_received: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) buffered_bytes: Gauge,
    pub(crate) accept_errors: Counter,
    pub(crate) panics: Counter,
    /// By version, and whether the session was resumed.
    pub(crate) tls_handshakes: [[Counter; 2]; TlsVersion::ALL.len()],
    pub(crate) causes: [Counter; Cause::COUNT],
    series: Mutex<SeriesMaps>,
}

/// Series by their labels. Locked when a handle is made and on a scrape, never to record.
#[derive(Debug, Default)]
pub(crate) struct SeriesMaps {
    pub(crate) requests: HashMap<RequestLabels, Arc<RequestCells>>,
    pub(crate) backends: HashMap<BackendLabels, Arc<BackendCells>>,
    pub(crate) listeners: HashMap<Box<str>, Arc<ListenerCells>>,
    pub(crate) mirrors: HashMap<MirrorLabels, Arc<MirrorCells>>,
    /// By pool.
    pub(crate) retries: HashMap<Box<str>, Arc<RetryCells>>,
}

impl SeriesMaps {
    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
            && self.backends.is_empty()
            && self.listeners.is_empty()
            && self.mirrors.is_empty()
            && self.retries.is_empty()
    }
}

impl Shard {
    pub(crate) fn new(series: SeriesMaps) -> Self {
        Self {
            bytes_received: Counter::new(),
            bytes_sent: Counter::new(),
            buffered_bytes: Gauge::new(),
            accept_errors: Counter::new(),
            panics: Counter::new(),
            tls_handshakes: [const { [const { Counter::new() }; 2] }; TlsVersion::ALL.len()],
            causes: [const { Counter::new() }; Cause::COUNT],
            series: Mutex::new(series),
        }
    }

    pub(crate) fn with_series<R>(&self, visit: impl FnOnce(&mut SeriesMaps) -> R) -> R {
        // A panic cannot leave the maps half changed, so a poisoned lock is as good as any.
        visit(&mut self.series.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
