//! Gauges that control owns: what is known about backends, read when somebody scrapes.

use balance_lb::BreakerState;
use balance_telemetry::{Collect, Samples};

use crate::handle::{ControlHandle, WeakControlHandle};
use crate::view::{BreakerView, HealthView};

/// Health and load of every backend, under the pool that defines it.
pub(crate) struct BackendGauges {
    /// Weak, because the handle holds the registry that holds this.
    control: WeakControlHandle,
}

impl BackendGauges {
    pub(crate) fn new(control: &ControlHandle) -> Self {
        Self {
            control: control.downgrade(),
        }
    }
}

impl Collect for BackendGauges {
    fn collect(&self, samples: &mut Samples) {
        let Some(control) = self.control.upgrade() else {
            return;
        };
        let view = control.view();
        let definitions = view.pools.iter().filter(|pool| pool.view_of.is_none());
        for pool in definitions {
            for backend in control.backends(pool) {
                let labels = [
                    ("pool", pool.name.as_str()),
                    ("backend", backend.name.as_str()),
                ];
                samples.gauge(
                    "balance_backend_healthy",
                    "Whether a request could go to the backend at this moment.",
                    &labels,
                    f64::from(u8::from(backend.is_pickable)),
                );
                samples.gauge(
                    "balance_backend_in_flight",
                    "Connections and streams in use to the backend.",
                    &labels,
                    f64::from(backend.in_flight),
                );
                if let Some(ejection) = &backend.ejection {
                    samples.counter(
                        "balance_backend_ejections",
                        "Ejections of the backend by passive checks.",
                        &labels,
                        ejection.ejections,
                    );
                }
                if let Some(breaker) = &backend.breaker {
                    show_breaker(samples, labels, breaker);
                }
                if let Some(health) = &backend.health {
                    count_probes(samples, labels, health);
                }
            }
        }
    }
}

/// One series for each state, of which one is 1.
fn show_breaker(
    samples: &mut Samples,
    [pool, backend]: [(&'static str, &str); 2],
    breaker: &BreakerView,
) {
    for state in BreakerState::ALL {
        samples.gauge(
            "balance_circuit_breaker_state",
            "Whether the circuit breaker of the backend is in this state.",
            &[pool, backend, ("state", state.name())],
            f64::from(u8::from(breaker.state == state)),
        );
    }
    samples.counter(
        "balance_circuit_breaker_openings",
        "How often the circuit breaker of the backend has opened.",
        &[pool, backend],
        breaker.openings,
    );
}

fn count_probes(
    samples: &mut Samples,
    [pool, backend]: [(&'static str, &str); 2],
    health: &HealthView,
) {
    let successes = health.probes.saturating_sub(health.failed_probes);
    for (result, probes) in [("success", successes), ("failure", health.failed_probes)] {
        samples.counter(
            "balance_health_checks",
            "Probes of the backend, by their result.",
            &[pool, backend, ("result", result)],
            probes,
        );
    }
}
