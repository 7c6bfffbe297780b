//! What an operator changes while the process runs: draining, enabling and weights of backends.
//!
//! ```text
//!   drain, enable ──► the backend's gate ──► every worker's next pick
//!                └──► control ──┐
//!   weight ──────────► control ──┴─► balancers with the new weights ──► the snapshot once more, to every worker
//! ```
//!
//! - A gate is one word that every pick reads. Weights are compiled into sequences and rings that picks read without a
//!   lock; so a new weight takes the way of a reload: workers take balancer and snapshot together, and the operator is
//!   answered when all have.
//! - With a snapshot a worker also looks at what it keeps idle: connections to a backend without new traffic are closed.
//! - All of it holds for every pool view, and over reloads; a weight until the file says another one than it did.

use std::sync::Arc;

use balance_core::{Algorithm, PoolId, Weight};
use balance_lb::AdminState;
use balance_proxy::announce_ramp;
use tokio::sync::oneshot;

use crate::compile;
use crate::handle::{ControlHandle, ControlRequest};
use crate::reload::Control;
use crate::view::{BackendView, MemberView, View};

/// To control: what a backend is to weigh.
pub(crate) struct WeightRequest {
    pool: String,
    backend: String,
    /// `None`: what the configuration says.
    weight: Option<Weight>,
    reply: oneshot::Sender<Result<(), WeightError>>,
}

/// Why a backend does not weigh what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightError {
    #[error("there is no such backend")]
    UnknownBackend,
    #[error("`{}` ignores weights", .0.name())]
    Ignored(Algorithm),
    #[error("Balance is ending")]
    Ending,
}

impl ControlHandle {
    /// Lets a backend be picked again, or lets it be picked no more; it holds for all views of its pool, from the next
    /// pick on, and over reloads for as long as the backend is in the configuration. What is in flight goes on; idle
    /// connections to one that is not enabled are closed when this returns. Returns what it is then. `None`: there is
    /// no such backend.
    pub async fn set_backend_state(
        &self,
        pool: &str,
        backend: &str,
        state: AdminState,
    ) -> Option<BackendView> {
        let view = self.view();
        let member = find(&view, pool, backend)?;
        let before = member.endpoint.admin_state();
        member.endpoint.set_admin_state(state);
        if before != state {
            let identity = member.endpoint.identity();
            tracing::info!(
                pool = identity.pool,
                backend = identity.name,
                from = before.name(),
                to = state.name(),
                reason = BY_ADMIN_API,
                "backend changes its state"
            );
            if state == AdminState::Enabled {
                announce_ramp(&member.endpoint, self.now_ms(), "it is enabled");
            }
            // When the process is ending nobody follows, and its connections end with it.
            let _ = self.ask(ControlRequest::Refresh).await;
        }
        Some(self.backend(member))
    }

    /// Sets the weight of a backend in all views of its pool, or takes it back to the configured one. When this returns
    /// every worker picks by it. It holds over reloads, until the configuration says another weight than it does now.
    ///
    /// # Errors
    /// Nothing has changed.
    pub async fn set_weight(
        &self,
        pool: &str,
        backend: &str,
        weight: Option<Weight>,
    ) -> Result<BackendView, WeightError> {
        let request = |reply| {
            ControlRequest::SetWeight(WeightRequest {
                pool: pool.to_owned(),
                backend: backend.to_owned(),
                weight,
                reply,
            })
        };
        self.ask(request)
            .await
            .unwrap_or(Err(WeightError::Ending))?;
        let view = self.view();
        let member = find(&view, pool, backend).ok_or(WeightError::UnknownBackend)?;
        Ok(self.backend(member))
    }
}

impl Control {
    pub(crate) async fn set_weight(&mut self, request: WeightRequest) {
        let result = self.weigh(&request);
        if let Ok(Changed::Yes) = result {
            self.publish_anew().await;
        }
        // Whoever asked may have gone away meanwhile.
        let _ = request.reply.send(result.map(|_| ()));
    }

    fn weigh(&self, request: &WeightRequest) -> Result<Changed, WeightError> {
        let config = &self.current.config;
        let mut pools = config.pools.iter();
        let pool = pools.find(|pool| pool.name == request.pool);
        let pool = pool.ok_or(WeightError::UnknownBackend)?;
        let mut members = pool.members.iter();
        let id = members.find(|id| config.backends[id.index()].name == request.backend);
        let id = *id.ok_or(WeightError::UnknownBackend)?;
        if !pool.algorithm.uses_weights() {
            return Err(WeightError::Ignored(pool.algorithm));
        }
        let backend = &config.backends[id.index()];
        let endpoint = self.current.identities.endpoint(backend);
        let before = endpoint.weight(backend.weight);
        endpoint.set_weight(request.weight, backend.weight);
        let after = endpoint.weight(backend.weight);
        if before == after {
            return Ok(Changed::No);
        }
        for (index, pool) in config.pools.iter().enumerate() {
            if pool.members.contains(&id) {
                let balancer = compile::balancer(config, pool, &self.current.identities);
                let rules = &self.current.snapshot.pools[PoolId::from_index(index).index()];
                rules.policy.replace(balancer);
            }
        }
        tracing::info!(
            pool = backend.pool,
            backend = backend.name,
            from = before.0,
            to = after.0,
            configured = backend.weight.0,
            reason = BY_ADMIN_API,
            "backend changes its weight"
        );
        Ok(Changed::Yes)
    }

    /// Has every worker follow what was changed beneath the present snapshot.
    pub(crate) async fn publish_anew(&self) {
        self.publish_snapshot(&Arc::clone(&self.current.snapshot))
            .await;
    }
}

enum Changed {
    Yes,
    No,
}

fn find<'v>(view: &'v View, pool: &str, backend: &str) -> Option<&'v MemberView> {
    let pool = view.pools.iter().find(|one| one.name == pool)?;
    let mut members = pool.members.iter();
    members.find(|one| one.endpoint.identity().name == backend)
}

/// Why, in the log.
const BY_ADMIN_API: &str = "asked for over the admin API";
