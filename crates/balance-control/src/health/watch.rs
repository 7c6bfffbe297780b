//! One address under one check: when it is probed, and what a result changes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use balance_core::HealthCheck;
use balance_lb::{AdminState, Health, HealthMachine, HealthRecord, HealthRules, Rng};
use balance_proxy::{Clock, Endpoint, announce_ramp};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};

use super::probe::{ProbeError, Probing};

/// The backends that stand for one address, and what is known about it.
pub(super) struct Watched(Mutex<Known>);

struct Known {
    /// Never empty.
    endpoints: Vec<Arc<Endpoint>>,
    record: HealthRecord,
}

/// A task: probes, and tells the backends.
pub(super) struct Watch {
    pub(super) watched: Arc<Watched>,
    pub(super) probe: Probing,
    /// Of probes under way in the whole process.
    pub(super) places: Arc<Semaphore>,
    pub(super) clock: Clock,
    pub(super) rng: Rng,
}

impl Watched {
    /// Goes on from what is known about one of them: a check that a reload changed forgets nothing.
    pub(super) fn new(endpoints: Vec<Arc<Endpoint>>, now_ms: u64) -> Self {
        let known = endpoints.iter().find_map(|endpoint| endpoint.health());
        let record = known.unwrap_or_else(|| HealthRecord {
            health: Health::Unknown,
            since_ms: now_ms,
            reason: "not probed yet".into(),
            probes: 0,
            failed_probes: 0,
        });
        let known = Known { endpoints, record };
        known.tell();
        Self(Mutex::new(known))
    }

    /// A reload may add names to an address, or take some away.
    pub(super) fn set_endpoints(&self, endpoints: Vec<Arc<Endpoint>>) {
        let mut known = self.lock();
        known.endpoints = endpoints;
        known.tell();
    }

    fn health(&self) -> Health {
        self.lock().record.health
    }

    /// Whom to connect to; `None` while the operator has all of them disabled.
    fn endpoint(&self) -> Option<Arc<Endpoint>> {
        let known = self.lock();
        let mut endpoints = known.endpoints.iter();
        endpoints
            .find(|endpoint| endpoint.admin_state() != AdminState::Disabled)
            .cloned()
    }

    fn settle(&self, machine: &mut HealthMachine, result: &Result<(), ProbeError>, now_ms: u64) {
        let change = machine.on_result(result.is_ok());
        let mut known = self.lock();
        let record = &mut known.record;
        record.probes += 1;
        record.failed_probes += u64::from(result.is_err());
        let Some(health) = change else {
            return known.tell();
        };
        let was = std::mem::replace(&mut record.health, health);
        record.since_ms = now_ms;
        record.reason = match result {
            Ok(()) => "the probe succeeded".into(),
            Err(error) => error.to_string().into(),
        };
        known.tell();
        for endpoint in &known.endpoints {
            log(endpoint, was, &known.record);
            if (was, health) == (Health::Unhealthy, Health::Healthy) {
                announce_ramp(endpoint, now_ms, "it is healthy again");
            }
            if health == Health::Healthy {
                endpoint.on_success(); // a rest after a failed connect has lost its reason
            }
        }
    }

    /// A task that panicked has broken nothing in here: what it writes is whole at any moment.
    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn tell(&self) {
        for endpoint in &self.endpoints {
            endpoint.set_health(Some(self.record.clone()));
        }
    }
}

impl Watch {
    pub(super) async fn run(mut self) {
        let mut machine = HealthMachine::new(rules(&self.probe.check), self.watched.health());
        let first_ms = machine.first_delay_ms(self.rng.next_u64());
        sleep(Duration::from_millis(first_ms)).await;
        loop {
            let started = Instant::now();
            if let Some(endpoint) = self.watched.endpoint() {
                // Closed never: the supervisor holds it.
                let place = self.places.acquire().await;
                let result = self.probe.probe(&endpoint).await;
                drop(place);
                if let Err(error) = &result
                    && error.is_ours()
                {
                    tracing::warn!(backend = endpoint.identity().name, %error, "a probe could not be made");
                } else {
                    self.watched
                        .settle(&mut machine, &result, self.clock.now_ms());
                }
            }
            let delay_ms = machine.delay_ms(self.rng.next_u64());
            sleep_until(started + Duration::from_millis(delay_ms)).await;
        }
    }
}

fn rules(check: &HealthCheck) -> HealthRules {
    HealthRules {
        rise: check.healthy_threshold,
        fall: check.unhealthy_threshold,
        interval_ms: whole_ms(check.interval),
        fast_interval_ms: whole_ms(check.fast_interval),
    }
}

/// At least 1: a part of an interval may be less than a millisecond.
fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// One line for each change. A backend that is healthy from the start is what everybody expects.
fn log(endpoint: &Endpoint, was: Health, record: &HealthRecord) {
    let identity = endpoint.identity();
    let (pool, backend, reason) = (&identity.pool, &identity.name, &*record.reason);
    match (was, record.health) {
        (_, Health::Unhealthy) => {
            tracing::warn!(pool, backend, reason, "backend is unhealthy");
        }
        (Health::Unknown, _) => tracing::debug!(pool, backend, reason, "backend is healthy"),
        _ => tracing::info!(pool, backend, reason, "backend is healthy again"),
    }
}
