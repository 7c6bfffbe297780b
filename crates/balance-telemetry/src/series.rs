//! The cells behind one set of labels, and the handles through which a worker writes them.
//!
//! A handle is got once per snapshot by name and kept: recording through it hashes nothing, locks nothing
//! and allocates nothing. Handles cannot leave their thread, so that each cell has one writer.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use balance_core::Method;

use crate::cell::Counter;
use crate::histogram::Histogram;

mod mirror;
mod retry;
mod status_table;

pub use mirror::{MirrorOutcome, MirrorSeries};
pub use retry::RetrySeries;

pub(crate) use mirror::{MirrorCells, MirrorLabels};
pub(crate) use retry::RetryCells;
pub(crate) use status_table::{FirstStatus, StatusTable};

/// Requests of one listener, route and pool.
#[derive(Debug)]
pub struct RequestSeries {
    cells: Arc<RequestCells>,
    one_thread: PhantomData<Rc<()>>,
}

/// Attempts at one backend.
#[derive(Debug)]
pub struct BackendSeries {
    cells: Arc<BackendCells>,
    one_thread: PhantomData<Rc<()>>,
}

/// Connections of one listener.
#[derive(Debug)]
pub struct ListenerSeries {
    cells: Arc<ListenerCells>,
    one_thread: PhantomData<Rc<()>>,
}

impl RequestSeries {
    /// Counts a finished exchange. `status` is what the client was sent, 0 if nothing.
    #[inline]
    pub fn record(&self, method: Method, status: u16, duration_us: u64) {
        let cells = &*self.cells;
        if !cells.first.count(method, status) {
            cells.others.count(method, status);
        }
        cells.duration.observe(duration_us);
    }

    pub(crate) fn new(cells: Arc<RequestCells>) -> Self {
        Self {
            cells,
            one_thread: PhantomData,
        }
    }
}

impl BackendSeries {
    /// Counts an attempt that got as far as sending a request, with the time until its response ended.
    #[inline]
    pub fn record(&self, duration_us: u64) {
        self.cells.requests.increment();
        self.cells.duration.observe(duration_us);
    }

    /// Counts a request that comes here after it failed elsewhere, or here.
    #[inline]
    pub fn retried(&self) {
        self.cells.retries.increment();
    }

    /// Counts a connection that could not be opened.
    #[inline]
    pub fn connect_failed(&self) {
        self.cells.connect_failures.increment();
    }

    /// Counts a TLS handshake with it that succeeded.
    #[inline]
    pub fn tls_handshake(&self, is_resumed: bool) {
        self.cells.tls_handshakes[usize::from(is_resumed)].increment();
    }

    pub(crate) fn new(cells: Arc<BackendCells>) -> Self {
        Self {
            cells,
            one_thread: PhantomData,
        }
    }
}

impl ListenerSeries {
    /// Counts an accepted connection. It is active until [`ListenerSeries::closed`].
    #[inline]
    pub fn opened(&self) {
        self.cells.opened.increment();
    }

    /// Counts the end of a connection.
    #[inline]
    pub fn closed(&self) {
        self.cells.closed.increment();
    }

    /// Counts that a connection has something to do now: an exchange or a session. It is busy until
    /// [`ListenerSeries::became_idle`].
    #[inline]
    pub fn became_busy(&self) {
        self.cells.became_busy.increment();
    }

    /// Counts that a busy connection waits for its client now, or is closed.
    #[inline]
    pub fn became_idle(&self) {
        self.cells.became_idle.increment();
    }

    pub(crate) fn new(cells: Arc<ListenerCells>) -> Self {
        Self {
            cells,
            one_thread: PhantomData,
        }
    }
}

/// The label values of a request series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RequestLabels {
    pub(crate) listener: Box<str>,
    pub(crate) route: Box<str>,
    pub(crate) pool: Box<str>,
}

/// The label values of a backend series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BackendLabels {
    pub(crate) pool: Box<str>,
    pub(crate) backend: Box<str>,
}

/// In this order: what most requests write is the first cache line, and with many routes the time of counting is that
/// of fetching it.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct RequestCells {
    first: FirstStatus,
    pub(crate) duration: Histogram,
    others: StatusTable,
}

impl RequestCells {
    /// As [`StatusTable::for_each`].
    pub(crate) fn for_each_status(&self, mut visit: impl FnMut(Option<(Method, u16)>, u64)) {
        self.first.for_each(&mut visit);
        self.others.for_each(visit);
    }
}

#[derive(Debug)]
pub(crate) struct BackendCells {
    pub(crate) requests: Counter,
    pub(crate) duration: Histogram,
    pub(crate) retries: Counter,
    pub(crate) connect_failures: Counter,
    /// Full ones, and resumed ones.
    pub(crate) tls_handshakes: [Counter; 2],
}

/// Active connections, and busy ones, are differences: two counters that only grow merge over workers and over
/// generations without care, a gauge would not.
#[derive(Debug, Default)]
pub(crate) struct ListenerCells {
    pub(crate) opened: Counter,
    pub(crate) closed: Counter,
    pub(crate) became_busy: Counter,
    pub(crate) became_idle: Counter,
}

impl Default for RequestCells {
    fn default() -> Self {
        Self {
            first: FirstStatus::new(),
            duration: Histogram::new(),
            others: StatusTable::new(),
        }
    }
}

impl Default for BackendCells {
    fn default() -> Self {
        Self {
            requests: Counter::new(),
            duration: Histogram::new(),
            retries: Counter::new(),
            connect_failures: Counter::new(),
            tls_handshakes: [const { Counter::new() }; 2],
        }
    }
}
