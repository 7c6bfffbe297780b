//! One backend as one worker holds it.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use balance_core::ProxyVersion;
use balance_lb::{Backend, Outcome, Tally};
use balance_telemetry::BackendSeries;

use super::idle::IdleConnections;
use crate::endpoint::Endpoint;

/// A backend of a pool view: the shared endpoint, and what this worker alone has of it. Cloning costs no
/// atomic; all views of a backend share one of these.
#[derive(Clone)]
pub(crate) struct Member(Rc<WorkerBackend>);

/// This worker's part of a backend.
pub(crate) struct WorkerBackend {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) idle: IdleConnections,
    pub(crate) series: Rc<BackendSeries>,
    /// The PROXY header that its connections begin with; a reload may change it.
    pub(crate) send_proxy: Cell<Option<ProxyVersion>>,
    tally: Arc<Tally>,
}

impl Member {
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        idle: IdleConnections,
        series: Rc<BackendSeries>,
    ) -> Self {
        let tally = endpoint.open_tally();
        Self(Rc::new(WorkerBackend {
            tally,
            endpoint,
            idle,
            series,
            send_proxy: Cell::new(None),
        }))
    }

    /// Which PROXY header its connections begin with from now on.
    pub(crate) fn set_send_proxy(&self, version: Option<ProxyVersion>) {
        self.0.send_proxy.set(version);
    }

    pub(crate) fn send_proxy(&self) -> Option<ProxyVersion> {
        self.0.send_proxy.get()
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0.endpoint
    }

    pub(crate) fn idle(&self) -> &IdleConnections {
        &self.0.idle
    }

    pub(crate) fn series(&self) -> &BackendSeries {
        &self.0.series
    }

    /// An attempt at it ended so, for passive checks.
    pub(crate) fn record(&self, outcome: Outcome) {
        self.0.endpoint.on_outcome(&self.0.tally, outcome);
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.endpoint.backend().identity().name
    }
}

impl Deref for Member {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        self.0.endpoint.backend()
    }
}
