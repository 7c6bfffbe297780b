//! round-robin: everyone in turn.

use std::ops::Deref;
use std::sync::Arc;

use crate::backend::Backend;
use crate::cursor::Cursor;

use super::candidates::Candidates;

/// Exact over all workers: of N picks, every backend gets N/n, rounded up or down.
#[derive(Clone, Debug)]
pub(super) struct RoundRobin {
    cursor: Arc<Cursor>,
}

impl RoundRobin {
    pub(super) fn compile(cursor: Arc<Cursor>) -> Self {
        Self { cursor }
    }

    pub(super) fn cursor_mut(&mut self) -> &mut Arc<Cursor> {
        &mut self.cursor
    }

    pub(super) fn pick<B: Deref<Target = Backend>>(
        &self,
        candidates: &mut Candidates<'_, '_, B>,
    ) -> Option<usize> {
        let eligible = candidates.eligible();
        let drawn = self.cursor.rotate(eligible.len(), |slot| {
            candidates.take(eligible[slot] as usize)
        });
        match drawn {
            Ok(slot) => Some(eligible[slot] as usize),
            Err(last) => candidates.take_any_from(last),
        }
    }
}
