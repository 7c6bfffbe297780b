//! The balancing policy of a pool view, which changes when the weights of its backends do.

use std::sync::Arc;

use balance_lb::Balancer;
use parking_lot::Mutex;

/// The present balancer. A worker takes it along with its snapshot and picks by it without a lock; control replaces it
/// and publishes the snapshot anew.
pub struct Policy(Mutex<Arc<Balancer>>);

impl Policy {
    pub fn new(balancer: Balancer) -> Self {
        Self(Mutex::new(Arc::new(balancer)))
    }

    /// Never asked per request.
    pub fn balancer(&self) -> Arc<Balancer> {
        Arc::clone(&self.0.lock())
    }

    /// For the same backends in the same order; in use once the snapshot is published.
    pub fn replace(&self, balancer: Balancer) {
        let mut present = self.0.lock();
        debug_assert_eq!(present.len(), balancer.len(), "for other backends");
        *present = Arc::new(balancer);
    }
}
