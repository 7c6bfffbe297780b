//! One backend as one worker holds it.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use balance_core::{ProxyVersion, UpstreamProtocol};
use balance_lb::{Backend, Tally};
use balance_telemetry::BackendSeries;
use balance_tls::{ClientPolicy, TlsIdentity};

use super::idle::IdleConnections;
use crate::endpoint::Endpoint;
use crate::http2::UpstreamConnections;

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
    /// How its connections are secured; a reload may change it.
    tls: RefCell<Option<Arc<ClientPolicy>>>,
    /// What is spoken on them; a reload may change it.
    protocol: Cell<UpstreamProtocol>,
    /// Its connections of HTTP/2.
    http2: UpstreamConnections,
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
            tls: RefCell::new(None),
            protocol: Cell::default(),
            http2: UpstreamConnections::default(),
        }))
    }

    /// Which PROXY header its connections begin with from now on.
    pub(crate) fn set_send_proxy(&self, version: Option<ProxyVersion>) {
        self.0.send_proxy.set(version);
    }

    pub(crate) fn send_proxy(&self) -> Option<ProxyVersion> {
        self.0.send_proxy.get()
    }

    /// How its connections are secured from now on. Idle ones that were made otherwise are closed.
    pub(crate) fn set_tls(&self, policy: Option<&Arc<ClientPolicy>>) {
        let before = self.tls_identity();
        *self.0.tls.borrow_mut() = policy.cloned();
        if self.tls_identity() != before {
            self.close_idle();
        }
    }

    pub(crate) fn tls(&self) -> Option<Arc<ClientPolicy>> {
        self.0.tls.borrow().clone()
    }

    /// What connections to it are secured under at this moment.
    #[inline]
    pub(crate) fn tls_identity(&self) -> Option<TlsIdentity> {
        let tls = self.0.tls.borrow();
        tls.as_ref().map(|policy| policy.identity())
    }

    /// What is spoken to it from now on.
    pub(crate) fn set_protocol(&self, protocol: UpstreamProtocol) {
        if self.0.protocol.replace(protocol) != protocol {
            self.close_idle();
        }
    }

    #[inline]
    pub(crate) fn protocol(&self) -> UpstreamProtocol {
        self.0.protocol.get()
    }

    /// Its connections of HTTP/2.
    pub(crate) fn http2(&self) -> &UpstreamConnections {
        &self.0.http2
    }

    /// Closes its idle connections, and those of HTTP/2 once nothing runs on them.
    pub(crate) fn close_idle(&self) {
        self.idle().clear();
        self.http2().retire();
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

    /// This worker's count of how attempts at it end.
    pub(super) fn tally(&self) -> &Tally {
        &self.0.tally
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
