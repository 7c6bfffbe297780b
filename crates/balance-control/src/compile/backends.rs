//! What a configuration says about each backend that its shared object follows, whatever pool view uses it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use balance_config::{Backend, Config, Pool};
use balance_core::CircuitBreaker;
use balance_lb::BreakerRules;
use balance_proxy::{Endpoint, announce_ramp};

use crate::identity::Identities;

/// The rules of one backend, until they are applied.
pub(crate) struct BackendRules {
    endpoint: Arc<Endpoint>,
    max_connections: u32,
    breaker: Option<BreakerRules>,
    slow_start_ms: u64,
    /// In a configuration that follows another one.
    is_new: bool,
}

impl BackendRules {
    /// `previous` are the backends that served up to now.
    pub(super) fn of(
        config: &Config,
        identities: &Identities,
        previous: Option<&Identities>,
    ) -> Vec<Self> {
        let pools = config.pools.iter();
        let pools: HashMap<&str, &Pool> = pools.map(|pool| (pool.name.as_str(), pool)).collect();
        let rules = |backend: &Backend| {
            let pool = pools.get(backend.pool.as_str());
            let slow_start = pool.map_or(Duration::ZERO, |pool| pool.slow_start);
            let endpoint = identities.endpoint(backend);
            Self {
                endpoint: Arc::clone(endpoint),
                max_connections: backend.max_connections,
                breaker: pool.and_then(|pool| pool.breaker.as_ref().map(breaker_rules)),
                slow_start_ms: u64::try_from(slow_start.as_millis()).unwrap_or(u64::MAX),
                is_new: previous.is_some_and(|previous| !previous.knows(endpoint.identity())),
            }
        };
        config.backends.iter().map(rules).collect()
    }

    /// They hold from the next pick on.
    pub(crate) fn apply(&self, now_ms: u64) {
        self.endpoint.set_max_connections(self.max_connections);
        self.endpoint.set_breaker(self.breaker);
        self.endpoint.set_slow_start(self.slow_start_ms);
        if self.is_new {
            announce_ramp(&self.endpoint, now_ms, "it is new");
        }
    }
}

fn breaker_rules(breaker: &CircuitBreaker) -> BreakerRules {
    BreakerRules {
        max_failures: breaker.max_failures,
        timeout_ms: u64::try_from(breaker.timeout.as_millis()).unwrap_or(u64::MAX),
        success_threshold: breaker.success_threshold,
        max_concurrent_requests: breaker.max_concurrent_requests,
    }
}
