//! Leases: the places of a backend that are in use, over the whole process.
//!
//! A lease is taken by one guard and given back by its drop. There is one count per backend and one atomic
//! operation per lease and return.

use std::cell::Cell;
use std::ops::Deref;

use crate::backend::Backend;
use crate::breaker::{BreakerChange, Trial};
use crate::cache_line::CacheLine;
use crate::places::{Count, Full};
use crate::planted::{self, Bug};
use crate::sync::{AtomicU32, Ordering};
use crate::tally::{Outcome, Tally};

/// One place at a backend, given back when dropped. `B` is `Rc<…>`, `Arc<Backend>` or `&Backend`: a worker that
/// holds its snapshot by `Rc` pays no atomic for the pointer.
#[derive(Debug)]
#[must_use = "dropping a lease gives the place back"]
pub struct Lease<B: Deref<Target = Backend>> {
    backend: B,
    /// Until it is reported.
    trial: Cell<Option<Trial>>,
}

impl<B: Deref<Target = Backend>> Lease<B> {
    /// Guards a place that is already taken: by [`Balancer::pick`](crate::Balancer::pick) or
    /// [`Backend::try_lease`].
    pub fn adopt(backend: B) -> Self {
        Self {
            backend,
            trial: Cell::new(None),
        }
    }

    /// As [`Lease::adopt`], for a pick that is a trial.
    pub fn adopt_trial(backend: B, trial: Trial) -> Self {
        Self {
            backend,
            trial: Cell::new(Some(trial)),
        }
    }

    /// The attempt that it was taken for ended so. See [`Backend::on_outcome`].
    pub fn on_outcome(
        &self,
        tally: &Tally,
        outcome: Outcome,
        now_ms: u64,
    ) -> Option<BreakerChange> {
        self.backend
            .on_outcome(tally, outcome, self.trial.take(), now_ms)
    }

    pub fn backend(&self) -> &B {
        &self.backend
    }
}

impl<B: Deref<Target = Backend>> Drop for Lease<B> {
    fn drop(&mut self) {
        if let Some(trial) = self.trial.take() {
            self.backend.forget_trial(trial);
            if planted::has(Bug::LeaksPlaces) {
                return;
            }
        }
        self.backend.release();
    }
}

/// Takes a place and guards it.
///
/// # Errors
/// `max_connections` places are taken.
pub fn lease<B: Deref<Target = Backend>>(backend: B) -> Result<Lease<B>, Full> {
    backend.try_lease()?;
    Ok(Lease::adopt(backend))
}

/// Count and limit on one line: whoever reads the limit is about to write the count anyway.
pub(crate) struct Leases(CacheLine<Limited>);

struct Limited {
    count: Count,
    /// 0 = unlimited.
    max: AtomicU32,
}

impl Leases {
    pub(crate) fn new() -> Self {
        Self(CacheLine(Limited {
            count: Count::new(),
            max: AtomicU32::new(0),
        }))
    }

    /// Other places, as many taken.
    pub(crate) fn copy(&self) -> Self {
        Self(CacheLine(Limited {
            count: self.0.0.count.copy(),
            max: AtomicU32::new(self.max()),
        }))
    }

    pub(crate) fn set_max(&self, max: u32) {
        self.0.0.max.store(max, Ordering::Relaxed);
    }

    pub(crate) fn max(&self) -> u32 {
        self.0.0.max.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self) -> u32 {
        self.0.0.count.load()
    }

    pub(crate) fn is_full(&self) -> bool {
        let max = self.max();
        max != 0 && self.count() >= max
    }

    pub(crate) fn try_take(&self) -> Result<(), Full> {
        self.0.0.count.try_take(self.max())
    }

    pub(crate) fn give_back(&self) {
        self.0.0.count.give_back();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use balance_core::BackendAddress;

    use super::{Lease, lease};
    use crate::{Backend, BackendIdentity, Full};

    fn backend() -> Backend {
        Backend::new(BackendIdentity {
            pool: "p".to_owned(),
            name: "a".to_owned(),
            address: BackendAddress::parse("127.0.0.1:9001").unwrap(),
        })
    }

    #[test]
    fn exactly_max_leases_exist_at_once() {
        let backend = backend();
        backend.set_max_connections(2);
        let first = lease(&backend).unwrap();
        let _second = lease(&backend).unwrap();
        assert_eq!(lease(&backend).unwrap_err(), Full);
        assert!(backend.is_full());
        drop(first);
        assert_eq!(backend.in_flight(), 1);
        assert!(lease(&backend).is_ok());
    }

    #[test]
    fn a_lower_limit_takes_nothing_away() {
        let backend = backend();
        let leases: Vec<Lease<&Backend>> = (0..3).map(|_| lease(&backend).unwrap()).collect();
        backend.set_max_connections(1);
        assert_eq!(backend.in_flight(), 3);
        assert!(lease(&backend).is_err());
        drop(leases);
        assert_eq!(backend.in_flight(), 0);
        assert!(lease(&backend).is_ok());
    }

    #[test]
    fn threads_never_exceed_the_limit() {
        let backend = Arc::new(backend());
        backend.set_max_connections(3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if let Ok(lease) = lease(Arc::clone(&backend)) {
                            assert!(lease.backend().in_flight() <= 3);
                        }
                    }
                });
            }
        });
        assert_eq!(backend.in_flight(), 0);
    }
}
