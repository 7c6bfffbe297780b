//! The memory that a worker's connections may hold for others who are not ready: heads that are incomplete or in use,
//! and what a receiver does not take.
//!
//! ```text
//!   0 ──────────────── half ──────── three quarters ──────── share
//!      pieces of any size │ small pieces │ nothing new: 503
//! ```
//!
//! The limit of the process (`limits.buffered_bytes_max`) is divided over the workers: nothing is written that they
//! share. What is under way goes on above three quarters, and with small pieces it grows little.

use std::rc::Rc;

use balance_telemetry::BufferedBytes;

/// A worker's share, and what of it is in use.
#[derive(Debug)]
pub(crate) struct Budget {
    share_bytes: usize,
    /// Counted where the metric is read: a cell of this worker's alone, which costs what a number of its own would.
    used_bytes: BufferedBytes,
}

impl Budget {
    /// The share of one of `workers` in `bytes_max`; 0 = unlimited.
    pub(crate) fn new(bytes_max: usize, workers: usize, used_bytes: BufferedBytes) -> Self {
        Self {
            share_bytes: match bytes_max {
                0 => usize::MAX,
                bytes => (bytes / workers).max(SHARE_BYTES_MIN),
            },
            used_bytes,
        }
    }

    /// Whether nothing new may begin.
    pub(crate) fn is_short(&self) -> bool {
        self.used_bytes.value() >= self.share_bytes / 4 * 3
    }

    /// How much may be read at once of what a receiver may not take.
    pub(crate) fn piece_bytes_max(&self) -> usize {
        if self.used_bytes.value() >= self.share_bytes / 2 {
            SMALL_PIECE_BYTES
        } else {
            usize::MAX
        }
    }

    /// Somebody who holds nothing yet.
    pub(crate) fn holder(self: &Rc<Self>) -> Held {
        Held {
            budget: Rc::clone(self),
            bytes: 0,
        }
    }
}

/// What one connection, exchange or session holds. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Rc<Budget>,
    bytes: usize,
}

impl Held {
    /// It holds so much now.
    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes != self.bytes {
            let others = self.budget.used_bytes.value() - self.bytes;
            self.budget.used_bytes.set(others + bytes);
            self.bytes = bytes;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Below it a worker could serve nobody.
const SHARE_BYTES_MIN: usize = 1 << 20;

/// Enough that a write is worth its system call.
const SMALL_PIECE_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use balance_telemetry::{BufferedBytes, BuildInfo, Registry};

    use super::{Budget, SMALL_PIECE_BYTES};

    fn nothing() -> BufferedBytes {
        let build = BuildInfo {
            version: "0",
            revision: "",
        };
        Registry::new(build).worker().buffered_bytes()
    }

    #[test]
    fn steps_at_half_and_at_three_quarters_of_a_share() {
        let budget = Rc::new(Budget {
            share_bytes: 1000,
            used_bytes: nothing(),
        });
        let (mut one, mut other) = (budget.holder(), budget.holder());
        one.set(400);
        for (bytes, piece, is_short) in [
            (0, usize::MAX, false),
            (99, usize::MAX, false),
            (100, SMALL_PIECE_BYTES, false),
            (349, SMALL_PIECE_BYTES, false),
            (350, SMALL_PIECE_BYTES, true),
            (5000, SMALL_PIECE_BYTES, true),
            (0, usize::MAX, false),
        ] {
            other.set(bytes);
            let seen = (budget.piece_bytes_max(), budget.is_short());
            assert_eq!(seen, (piece, is_short), "{bytes}");
        }
        other.set(5000);
        drop(other);
        assert!(!budget.is_short());
        drop(one);
        assert_eq!(budget.used_bytes.value(), 0);
    }

    #[test]
    fn a_share_is_a_part_of_the_limit_and_large_enough_to_serve() {
        for (bytes_max, workers, share) in [(64 << 20, 4, 16 << 20), (3 << 20, 8, 1 << 20)] {
            assert_eq!(
                Budget::new(bytes_max, workers, nothing()).share_bytes,
                share
            );
        }
    }

    #[test]
    fn without_a_limit_there_is_always_enough() {
        let budget = Rc::new(Budget::new(0, 4, nothing()));
        let mut held = budget.holder();
        held.set(1 << 40);
        assert_eq!(
            (budget.piece_bytes_max(), budget.is_short()),
            (usize::MAX, false)
        );
    }
}
