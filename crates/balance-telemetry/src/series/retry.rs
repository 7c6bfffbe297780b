//! What became of the failed attempts of a pool whose attempts are repeated.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use balance_core::{RetryReason, RetryRefusal};

use crate::cell::Counter;

/// Retries of one pool.
#[derive(Debug)]
pub struct RetrySeries {
    cells: Arc<RetryCells>,
    one_thread: PhantomData<Rc<()>>,
}

#[derive(Debug, Default)]
pub(crate) struct RetryCells {
    /// By reason.
    pub(crate) granted: [Counter; RetryReason::ALL.len()],
    /// By refusal.
    pub(crate) refused: [Counter; RetryRefusal::ALL.len()],
}

impl RetrySeries {
    /// Counts a retry.
    #[inline]
    pub fn granted(&self, reason: RetryReason) {
        self.cells.granted[reason as usize].increment();
    }

    /// Counts a failure that could have been repeated and was not.
    #[inline]
    pub fn refused(&self, refusal: RetryRefusal) {
        self.cells.refused[refusal as usize].increment();
    }

    pub(crate) fn new(cells: Arc<RetryCells>) -> Self {
        Self {
            cells,
            one_thread: PhantomData,
        }
    }
}
