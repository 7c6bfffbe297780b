//! Places that are in use over the whole process, of something that only so many may use at once.

use std::sync::Arc;

use crate::cache_line::CacheLine;
use crate::sync::{AtomicU32, Ordering};

/// All places are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all places are in use")]
pub struct Full;

/// A count of places. Held as `Arc` and carried over reloads; the limit belongs to whoever takes one, so that
/// another configuration may have another.
#[derive(Debug, Default)]
pub struct Places(CacheLine<Count>);

/// One place, given back when dropped.
#[derive(Debug)]
#[must_use = "dropping a place gives it back"]
pub struct Place(Arc<Places>);

impl Places {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a place, if fewer than `max` are taken; 0 = unlimited.
    ///
    /// # Errors
    /// None is left.
    pub fn take(self: &Arc<Self>, max: u32) -> Result<Place, Full> {
        self.0.0.try_take(max)?;
        Ok(Place(Arc::clone(self)))
    }

    pub fn in_use(&self) -> u32 {
        self.0.0.load()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.0.give_back();
    }
}

/// How many are taken.
#[derive(Debug)]
pub(crate) struct Count(AtomicU32);

impl Count {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Another one, as many taken.
    pub(crate) fn copy(&self) -> Self {
        Self(AtomicU32::new(self.load()))
    }

    pub(crate) fn load(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Relaxed: the count guards no other memory. `max` 0 = unlimited.
    pub(crate) fn try_take(&self, max: u32) -> Result<(), Full> {
        if max == 0 {
            self.0.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        // Not `fetch_add` and undo: the overshoot of one that fails would refuse another that has a place.
        let mut count = self.load();
        while count < max {
            match self.0.compare_exchange_weak(
                count,
                count + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(seen) => count = seen,
            }
        }
        Err(Full)
    }

    pub(crate) fn give_back(&self) {
        let before = self.0.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before != 0, "a place was given back twice");
    }
}

impl Default for Count {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Full, Place, Places};

    #[test]
    fn a_place_comes_back_and_the_limit_is_that_of_the_taker() {
        let places = Arc::new(Places::new());
        let taken: Vec<Place> = (0..2).map(|_| places.take(2).unwrap()).collect();
        assert_eq!(places.take(2).unwrap_err(), Full);
        assert_eq!(places.take(1).unwrap_err(), Full);
        assert!(places.take(3).is_ok(), "and is given back at once");
        assert!(places.take(0).is_ok(), "no limit");
        assert_eq!(places.in_use(), 2);
        drop(taken);
        assert_eq!(places.in_use(), 0);
    }
}
