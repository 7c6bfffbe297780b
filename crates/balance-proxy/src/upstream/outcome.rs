//! How the attempt at a backend ended, told to whoever judges it: passive checks and its circuit breaker.

use balance_lb::{Backend, BreakerState, Lease, Outcome};

use super::member::Member;

/// The attempt that the lease was taken for ended so. One log line for each change of the breaker.
pub(crate) fn report(lease: &Lease<Member>, outcome: Outcome, now_ms: u64) {
    let member = lease.backend();
    let Some(change) = lease.on_outcome(member.tally(), outcome, now_ms) else {
        return;
    };
    let identity = member.identity();
    let (pool, backend, reason) = (&identity.pool, &identity.name, &*change.reason);
    if change.to == BreakerState::Open {
        tracing::warn!(pool, backend, reason, "circuit breaker opens");
    } else {
        tracing::info!(pool, backend, reason, "circuit breaker closes");
        announce_ramp(member, now_ms, "its circuit breaker is closed");
    }
}

/// A backend came back: if it takes its time to its full share, that is logged.
pub fn announce_ramp(backend: &Backend, now_ms: u64, reason: &str) {
    if let Some(for_ms) = backend.begin_ramp(now_ms) {
        let identity = backend.identity();
        tracing::info!(
            pool = identity.pool,
            backend = identity.name,
            reason,
            for_ms,
            "backend begins its slow start"
        );
    }
}

/// An answer took so long: told to passive checks, if they look at that.
#[inline]
pub(crate) fn report_time(lease: &Lease<Member>, took_us: Option<u64>) {
    let member = lease.backend();
    if let Some(took_us) = took_us
        && member.is_timed()
    {
        member.tally().on_answer(took_us);
    }
}

/// A trial begins: the first after the breaker's timeout is logged.
pub(super) fn announce_trial(member: &Member) {
    let identity = member.identity();
    tracing::info!(
        pool = identity.pool,
        backend = identity.name,
        reason = "its timeout has passed",
        "circuit breaker is half open"
    );
}
