//! What a route does that divides its requests over pools.

use std::sync::Arc;

use balance_core::{PoolId, Timeouts, Weight};
use balance_lb::{Cursor, Split, SplitError};

/// Several pools by weight. Each exchange draws once and stays with its pool: when that has no backend left, it fails
/// there, for a canary that is down must not look healthy.
pub struct SplitRules {
    shares: Box<[ShareRules]>,
    turns: Split,
}

/// One pool of a split.
pub struct ShareRules {
    pub pool: PoolId,
    /// 0: no requests.
    pub weight: Weight,
    /// Of exchanges that are sent there: the route's over the pool's.
    pub timeouts: Timeouts,
}

impl SplitRules {
    /// The cursor is shared by all workers, and outlives reloads.
    ///
    /// # Errors
    /// The weights give nobody a turn, or are too large together.
    pub fn compile(shares: Vec<ShareRules>, cursor: Arc<Cursor>) -> Result<Self, SplitError> {
        let weights: Vec<Weight> = shares.iter().map(|share| share.weight).collect();
        Ok(Self {
            turns: Split::compile(&weights, cursor)?,
            shares: shares.into(),
        })
    }

    pub fn shares(&self) -> &[ShareRules] {
        &self.shares
    }

    /// The pool whose turn it is.
    pub(crate) fn draw(&self) -> PoolId {
        self.shares[self.turns.draw()].pool
    }

    /// The pool whose turn is next, without taking it.
    pub(crate) fn peek(&self) -> PoolId {
        self.shares[self.turns.peek()].pool
    }

    /// The position of a pool among the shares. Few enough to be looked through.
    pub(crate) fn position(&self, pool: PoolId) -> Option<usize> {
        self.shares.iter().position(|share| share.pool == pool)
    }
}
