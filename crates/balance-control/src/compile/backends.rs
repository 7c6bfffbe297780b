//! What a configuration says about each backend that its shared object follows, whatever pool view uses it.

use std::collections::HashMap;
use std::sync::Arc;

use balance_config::{Backend, Config};
use balance_core::CircuitBreaker;
use balance_lb::BreakerRules;
use balance_proxy::Endpoint;

use crate::identity::Identities;

/// The rules of one backend, until they are applied.
pub(crate) struct BackendRules {
    endpoint: Arc<Endpoint>,
    max_connections: u32,
    breaker: Option<BreakerRules>,
}

impl BackendRules {
    pub(super) fn of(config: &Config, identities: &Identities) -> Vec<Self> {
        let pools = config.pools.iter();
        let breakers: HashMap<&str, Option<BreakerRules>> = pools
            .map(|pool| (pool.name.as_str(), pool.breaker.as_ref().map(breaker_rules)))
            .collect();
        let rules = |backend: &Backend| Self {
            endpoint: Arc::clone(identities.endpoint(backend)),
            max_connections: backend.max_connections,
            breaker: breakers.get(backend.pool.as_str()).copied().flatten(),
        };
        config.backends.iter().map(rules).collect()
    }

    /// They hold from the next pick on.
    pub(crate) fn apply(&self) {
        self.endpoint.set_max_connections(self.max_connections);
        self.endpoint.set_breaker(self.breaker);
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
