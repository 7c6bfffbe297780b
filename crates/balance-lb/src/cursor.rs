//! The one number that all workers share for taking turns.

use crate::cache_line::CacheLine;
use crate::sync::{AtomicU64, Ordering};

/// A pool's place in its sequence, or a split's. Held as `Arc` and carried over reloads, so that a reload does not send
/// every worker back to the first backend.
#[derive(Debug)]
pub struct Cursor(CacheLine<AtomicU64>);

impl Cursor {
    pub fn new() -> Self {
        Self(CacheLine(AtomicU64::new(0)))
    }

    /// The next number; each is drawn once.
    pub(crate) fn next(&self) -> u64 {
        self.0.0.fetch_add(1, Ordering::Relaxed)
    }

    /// What the next one to draw would get.
    pub(crate) fn peek(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    /// Another one at the same place.
    pub(crate) fn copy(&self) -> Self {
        Self(CacheLine(AtomicU64::new(self.peek())))
    }

    /// Draws numbers from a circle of `len` slots until `take` accepts one. Gives up after a few, with the last
    /// slot drawn.
    ///
    /// A slot that is refused is answered by drawing again, not by its neighbour: otherwise the backend after a
    /// dead one would get the turns of both. N draws are exact over all workers, whoever draws them.
    pub(crate) fn rotate(
        &self,
        len: usize,
        mut take: impl FnMut(usize) -> bool,
    ) -> Result<usize, usize> {
        let mut slot = 0;
        for _ in 0..len.min(DRAWS_MAX) {
            slot = (self.next() % len as u64) as usize;
            if take(slot) {
                return Ok(slot);
            }
        }
        Err(slot)
    }
}

impl Default for Cursor {
    fn default() -> Self {
        Self::new()
    }
}

/// When so many in a row are refused, most of the pool is down; then a scan is cheaper than writing to a line
/// that all workers share, and evenness matters less than an answer.
const DRAWS_MAX: usize = 16;
