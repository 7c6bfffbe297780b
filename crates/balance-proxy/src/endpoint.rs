//! A backend and where it can be reached: the object that outlives reloads.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use balance_lb::Backend;
use parking_lot::RwLock;

/// One address of a backend, resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamAddress {
    Ip(SocketAddr),
    Unix(String),
}

/// A backend's shared state together with its resolved addresses.
///
/// Control resolves names and stores the result here; a name that does not resolve leaves the list
/// empty (or the last good one, robustness BE-11), and an attempt then fails with `dns_error`.
pub struct Endpoint {
    backend: Backend,
    addresses: RwLock<Arc<[UpstreamAddress]>>,
    last_good: AtomicUsize,
}

impl Endpoint {
    pub fn new(backend: Backend, addresses: Vec<UpstreamAddress>) -> Self {
        Self {
            backend,
            addresses: RwLock::new(addresses.into()),
            last_good: AtomicUsize::new(0),
        }
    }

    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Read when a connection is opened, never per request.
    pub fn addresses(&self) -> Arc<[UpstreamAddress]> {
        Arc::clone(&self.addresses.read())
    }

    /// Replaces the addresses. Established connections stay.
    pub fn set_addresses(&self, addresses: Vec<UpstreamAddress>) {
        *self.addresses.write() = addresses.into();
    }

    /// Where an attempt starts in [`Endpoint::addresses`]; the caller takes it modulo the length.
    pub(crate) fn last_good(&self) -> usize {
        self.last_good.load(Ordering::Relaxed)
    }

    pub(crate) fn set_last_good(&self, index: usize) {
        self.last_good.store(index, Ordering::Relaxed);
    }
}

impl Deref for Endpoint {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        &self.backend
    }
}
