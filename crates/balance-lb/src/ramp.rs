//! Slow start: a backend that comes back gets its share little by little, so that cold caches and pools of its own can
//! fill.
//!
//! ```text
//!   share                                               recovered, enabled, new
//!   100 % ┤              ╭──────         ┌──────┐ ───────────────────────────────► ┌─────────┐ ──┐ again:
//!         │          ╱                   │ Full │                                  │ Ramping │   │ it begins
//!    10 % ┤──────╱                       └──────┘ ◄─────────────────────────────── └─────────┘ ◄─┘ anew
//!         └──────┴───────┴─────► time                   `slow_start` has passed
//!       comes back   slow_start
//! ```
//!
//! - A pick passes over a backend that ramps as often as its share says, whatever the algorithm, and does not when nothing
//!   else is left: who ramps is better than nobody. What is balanced by load counts its load by its share besides, or
//!   the one with the least in flight would get all that lets it.
//! - Under a hash the key decides which picks pass over it: a key moves once, not to and fro.
//! - That it ramps is a flag in the gate's word: who does not costs a pick nothing.

use crate::sync::{AtomicU64, Ordering};

/// How far a backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RampState {
    /// What it gets of its full share.
    pub percent: u32,
    pub left_ms: u64,
}

/// When a backend came back, and how long it takes. Written under the gate's lock.
pub(crate) struct Ramp {
    /// 0 = it gets its full share at once.
    slow_start_ms: AtomicU64,
    since_ms: AtomicU64,
}

impl Ramp {
    pub(crate) fn new() -> Self {
        Self {
            slow_start_ms: AtomicU64::new(0),
            since_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn copy(&self) -> Self {
        Self {
            slow_start_ms: AtomicU64::new(self.slow_start_ms()),
            since_ms: AtomicU64::new(self.since_ms.load(Ordering::Relaxed)),
        }
    }

    /// One under way goes on by the new length.
    pub(crate) fn set_slow_start(&self, slow_start_ms: u64) {
        self.slow_start_ms.store(slow_start_ms, Ordering::Relaxed);
    }

    pub(crate) fn slow_start_ms(&self) -> u64 {
        self.slow_start_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self, now_ms: u64) {
        self.since_ms.store(now_ms, Ordering::Relaxed);
    }

    fn elapsed_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.since_ms.load(Ordering::Relaxed))
    }

    /// Of [`FULL`].
    pub(crate) fn share(&self, now_ms: u64) -> u32 {
        share(self.elapsed_ms(now_ms), self.slow_start_ms())
    }

    pub(crate) fn state(&self, now_ms: u64) -> RampState {
        RampState {
            percent: self.share(now_ms) * 100 / FULL,
            left_ms: self.slow_start_ms().saturating_sub(self.elapsed_ms(now_ms)),
        }
    }
}

fn share(elapsed_ms: u64, slow_start_ms: u64) -> u32 {
    if elapsed_ms >= slow_start_ms {
        return FULL;
    }
    let part = u128::from(elapsed_ms) * u128::from(FULL) / u128::from(slow_start_ms);
    // Below FULL, because it is less than the whole.
    u32::try_from(part).map_or(FULL, |part| part.max(FIRST))
}

/// A full share.
pub(crate) const FULL: u32 = 1 << FULL_BITS;
pub(crate) const FULL_BITS: u32 = 10;
/// A tenth: with less, a pool with little traffic would not warm it at all.
const FIRST: u32 = FULL.div_ceil(10);

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::{FIRST, FULL, Ramp, RampState, share};

    proptest! {
        #[test]
        fn a_share_only_grows_and_becomes_full(
            slow_start_ms in 0_u64..u64::MAX,
            parts in proptest::collection::vec(0.0_f64..1.5, 2..40),
        ) {
            let mut times: Vec<u64> = parts.iter().map(|part| (slow_start_ms as f64 * part) as u64).collect();
            times.sort_unstable();
            let shares: Vec<u32> = times.iter().map(|time| share(*time, slow_start_ms)).collect();
            prop_assert!(shares.is_sorted());
            prop_assert!(shares.iter().all(|share| (FIRST..=FULL).contains(share)));
            prop_assert_eq!(share(slow_start_ms, slow_start_ms), FULL);
            for (time, share) in times.into_iter().zip(shares) {
                prop_assert_eq!(share == FULL, time >= slow_start_ms, "{}", time);
            }
        }
    }

    #[test]
    fn it_is_linear_from_a_tenth_on() {
        let ramp = Ramp::new();
        ramp.set_slow_start(1_000);
        ramp.begin(5_000);
        for (now_ms, percent, left_ms) in [
            (4_000, 10, 1_000), // a clock that goes backwards
            (5_000, 10, 1_000),
            (5_500, 50, 500),
            (5_999, 99, 1),
            (6_000, 100, 0),
            (9_000, 100, 0),
        ] {
            assert_eq!(
                ramp.state(now_ms),
                RampState { percent, left_ms },
                "{now_ms}"
            );
        }
    }
}
