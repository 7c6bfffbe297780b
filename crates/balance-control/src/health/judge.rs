//! Passive checks: every 100 ms, whose traffic fails so much that its pool is better off without it.

use std::sync::Arc;

use balance_core::PassiveChecks;
use balance_lb::{
    EjectionMachine, EjectionRecord, EjectionRules, Judgement, PoolSituation, ejectable,
    usual_latency_us,
};
use balance_proxy::{Endpoint, announce_ramp};

/// The judge of one pool. It alone ejects its backends.
pub(super) struct Judge {
    checks: PassiveChecks,
    judged: Vec<Judged>,
}

struct Judged {
    endpoint: Arc<Endpoint>,
    machine: EjectionMachine,
    record: EjectionRecord,
}

/// The backends of a pool, and how they are judged. `None`: not at all.
#[derive(Clone)]
pub(crate) struct JudgedPool {
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) checks: Option<PassiveChecks>,
}

impl Judge {
    /// Goes on with what `previous` knows of backends that stay under the same checks.
    pub(super) fn new(
        endpoints: Vec<Arc<Endpoint>>,
        checks: PassiveChecks,
        previous: &mut [Self],
    ) -> Self {
        let judged = endpoints
            .into_iter()
            .map(|endpoint| {
                take(&endpoint, &checks, previous)
                    .unwrap_or_else(|| Judged::new(endpoint, rules(&checks)))
            })
            .collect();
        Self { checks, judged }
    }

    pub(super) fn judge(&mut self, now_ms: u64) {
        let ejected = |one: &&Judged| one.machine.is_ejected();
        let mut out = self.judged.iter().filter(ejected).count();
        let usual_us = usual_latency_us(
            self.judged
                .iter()
                .filter_map(|one| one.machine.latency_us()),
        );
        let out_max = ejectable(self.judged.len(), self.checks.max_ejected);
        for one in &mut self.judged {
            let seen = one.endpoint.take_tallied();
            match one.machine.judge(
                now_ms,
                seen,
                PoolSituation {
                    may_eject: out < out_max,
                    usual_us,
                },
            ) {
                None => {}
                Some(Judgement::Ejected { for_ms, reason }) => {
                    out += 1;
                    one.record.ejections += 1;
                    one.record.until_ms = now_ms.saturating_add(for_ms).max(1);
                    one.record.reason = reason.to_string().into();
                    one.tell();
                    let identity = one.endpoint.identity();
                    tracing::warn!(
                        pool = identity.pool, backend = identity.name, %reason, for_ms,
                        "backend is ejected"
                    );
                }
                Some(Judgement::Returned) => {
                    out -= 1;
                    one.record.until_ms = 0;
                    one.tell();
                    let identity = one.endpoint.identity();
                    tracing::info!(
                        pool = identity.pool,
                        backend = identity.name,
                        "backend is back from its ejection"
                    );
                    announce_ramp(&one.endpoint, now_ms, "its ejection is over");
                }
            }
        }
    }

    pub(super) fn endpoints(&self) -> impl Iterator<Item = *const Endpoint> {
        self.judged.iter().map(|one| Arc::as_ptr(&one.endpoint))
    }

    /// Nobody is judged here any more; `kept` are those that another judge has taken on.
    pub(super) fn dismiss(self, kept: &[*const Endpoint]) {
        for one in self.judged {
            if !kept.contains(&Arc::as_ptr(&one.endpoint)) {
                one.endpoint.set_ejection(None);
                one.endpoint.set_timed(false);
            }
        }
    }
}

impl Judged {
    fn new(endpoint: Arc<Endpoint>, rules: EjectionRules) -> Self {
        endpoint.set_timed(rules.latency_factor > 0.0);
        let mut machine = EjectionMachine::new(rules);
        machine.ignore(endpoint.take_tallied());
        let record = EjectionRecord {
            until_ms: 0,
            ..endpoint.ejection().unwrap_or_default()
        };
        let judged = Self {
            endpoint,
            machine,
            record,
        };
        judged.tell();
        judged
    }

    fn tell(&self) {
        self.endpoint.set_ejection(Some(self.record.clone()));
    }
}

fn take(
    endpoint: &Arc<Endpoint>,
    checks: &PassiveChecks,
    previous: &mut [Judge],
) -> Option<Judged> {
    let is_it = |one: &Judged| Arc::ptr_eq(&one.endpoint, endpoint);
    let mut same = previous.iter_mut().filter(|judge| judge.checks == *checks);
    same.find_map(|judge| {
        let index = judge.judged.iter().position(is_it)?;
        Some(judge.judged.swap_remove(index))
    })
}

fn rules(checks: &PassiveChecks) -> EjectionRules {
    let ms =
        |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    EjectionRules {
        consecutive_failures: checks.consecutive_failures,
        error_rate: checks.error_rate_threshold,
        latency_factor: checks.latency_factor,
        window_ms: ms(checks.window),
        ejection_ms: ms(checks.ejection_time),
    }
}
