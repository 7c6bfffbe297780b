//! Gauges that control owns: what is known about backends, read when somebody scrapes.

use balance_lb::BreakerState;
use balance_telemetry::{Collect, Samples};

use crate::handle::{ControlHandle, WeakControlHandle};
use crate::view::{BreakerView, HealthView, PoolLimitsView};

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
            if let Some(limits) = pool.limits() {
                show_limits(samples, &pool.name, &limits);
            }
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
                samples.gauge(
                    "balance_backend_weight",
                    "What the backend weighs: as configured, or as set at run time.",
                    &labels,
                    f64::from(backend.weight.0),
                );
                if !pool.slow_start.is_zero() {
                    let percent = backend.ramp.map_or(100, |ramp| ramp.percent);
                    samples.gauge(
                        "balance_backend_slow_start_ratio",
                        "What the backend gets of its full share: less than 1 after it has come back.",
                        &labels,
                        f64::from(percent) / 100.0,
                    );
                }
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

fn show_limits(samples: &mut Samples, pool: &str, limits: &PoolLimitsView) {
    let pool = ("pool", pool);
    if limits.max_connections != 0 {
        samples.gauge(
            "balance_pool_in_use",
            "Requests and sessions under way to the pool, against its max_connections.",
            &[pool],
            f64::from(limits.in_use),
        );
    }
    let queued = &limits.queued;
    samples.gauge(
        "balance_pool_waiting",
        "Requests and sessions in the queue of the pool.",
        &[pool],
        f64::from(queued.waiting),
    );
    for (outcome, count) in [
        ("served", queued.served),
        ("refused", queued.refused),
        ("timed_out", queued.timed_out),
        ("left", queued.left),
    ] {
        samples.counter(
            "balance_pool_queued",
            "What became of those who found the pool full.",
            &[pool, ("outcome", outcome)],
            count,
        );
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
