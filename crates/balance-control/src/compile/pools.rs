//! Pools and their views, over objects that outlive the reload.

use std::sync::Arc;

use balance_config::{Config, Diagnostic, Pool};
use balance_lb::{Balancer, Member, hash_key};
use balance_proxy::{Policy, PoolLimits, PoolRules, RetryRules};

use super::routes;
use crate::identity::Identities;

/// One for each pool of the configuration, in its order.
pub(super) fn compile(
    config: &Config,
    identities: &Identities,
    errors: &mut Vec<Diagnostic>,
) -> Vec<PoolRules> {
    let pools = config.pools.iter();
    pools
        .map(|pool| compile_pool(config, pool, identities, errors))
        .collect()
}

fn compile_pool(
    config: &Config,
    pool: &Pool,
    identities: &Identities,
    errors: &mut Vec<Diagnostic>,
) -> PoolRules {
    let backends = pool.members.iter().map(|id| &config.backends[id.index()]);
    PoolRules {
        name: pool.name.clone(),
        policy: Policy::new(balancer(config, pool, identities)),
        hash_key: pool.hash_key.clone(),
        members: backends
            .map(|backend| Arc::clone(identities.endpoint(backend)))
            .collect(),
        send_proxy: pool.send_proxy,
        protocol: pool.protocol,
        tls: None, // its files are not read here
        idle: config.idle.clone(),
        limits: limits(pool, identities),
        timeouts: pool.timeouts.clone(),
        filters: routes::filters(&config.transform, &pool.place, errors),
        retry: pool.retry.as_ref().map(|policy| RetryRules {
            policy: policy.clone(),
            under_way: identities.retries(&pool.name),
        }),
    }
}

/// With the weights that hold at this moment.
pub(crate) fn balancer(config: &Config, pool: &Pool, identities: &Identities) -> Balancer {
    let backends = pool.members.iter().map(|id| &config.backends[id.index()]);
    let members: Vec<Member> = backends
        .map(|backend| {
            let weight = identities.endpoint(backend).weight(backend.weight);
            Member::new(&backend.name, weight)
        })
        .collect();
    Balancer::compile(pool.algorithm, &members, identities.cursor(&pool.name))
        .with_panic_threshold(pool.health.panic_threshold)
}

pub(super) fn limits(pool: &Pool, identities: &Identities) -> PoolLimits {
    let shared = identities.limits(&pool.name);
    PoolLimits {
        max_connections: pool.limits.max_connections,
        queue_max: pool.limits.queue,
        queue_timeout: pool.limits.queue_timeout,
        places: Arc::clone(&shared.places),
        queue: Arc::clone(&shared.queue),
        lane: hash_key(pool.name.as_bytes()),
    }
}
