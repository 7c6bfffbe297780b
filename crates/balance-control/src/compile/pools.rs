//! Pools and their views, over objects that outlive the reload.

use std::sync::Arc;

use balance_config::{Config, Diagnostic, Pool, PoolKind, Severity};
use balance_lb::{Balancer, Member};
use balance_proxy::{PoolRules, RetryRules};

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
    if pool.max_connections != 0 && pool.kind == PoolKind::Definition {
        let message = format!(
            "not supported yet: limits.max_connections of pool `{}`",
            pool.name
        );
        let diagnostic = Diagnostic::new(Severity::Error, &pool.place, message)
            .with_help("set max_connections on its backends");
        errors.push(diagnostic);
    }
    let backends = pool.members.iter().map(|id| &config.backends[id.index()]);
    let members: Vec<Member> = backends
        .clone()
        .map(|backend| Member::new(&backend.name, backend.weight))
        .collect();
    PoolRules {
        name: pool.name.clone(),
        balancer: Balancer::compile(pool.algorithm, &members, identities.cursor(&pool.name))
            .with_panic_threshold(pool.health.panic_threshold),
        hash_key: pool.hash_key.clone(),
        members: backends
            .map(|backend| Arc::clone(identities.endpoint(backend)))
            .collect(),
        send_proxy: pool.send_proxy,
        tls: None, // its files are not read here
        idle: config.idle.clone(),
        timeouts: pool.timeouts.clone(),
        filters: routes::filters(&config.transform, &pool.place, errors),
        retry: pool.retry.as_ref().map(|policy| RetryRules {
            policy: policy.clone(),
            under_way: identities.retries(&pool.name),
        }),
    }
}
