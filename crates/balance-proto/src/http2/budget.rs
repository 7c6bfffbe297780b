//! The budget of what makes no progress (robustness §2): frames that are cheap to send, cost us work, and move no
//! message forward.
//!
//! Progress pays: DATA that we send earns the WINDOW_UPDATE and PING frames that an honest peer answers with (gRPC
//! measures its round trips so), and a new request earns the priorities that browsers send for it.

use super::error::Flood;
use balance_core::Http2Limits;
use std::time::{Duration, Instant};

/// How much of it there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Streams that the peer resets, or makes us reset, within a window.
    pub resets_max: u32,
    /// Frames that make no progress, within a window.
    pub idle_frames_max: u32,
    /// How long a window is. It begins with the first thing that is counted.
    pub window: Duration,
    /// CONTINUATION frames of one field block.
    pub continuations_max: u32,
}

impl BudgetLimits {
    /// From the settings of a snapshot.
    pub const fn new(limits: &Http2Limits) -> Self {
        Self {
            resets_max: limits.resets_max,
            idle_frames_max: limits.idle_frames_max,
            window: limits.budget_window,
            continuations_max: limits.continuations_max,
        }
    }
}

impl Default for BudgetLimits {
    fn default() -> Self {
        Self::new(&Http2Limits::default())
    }
}

impl BudgetLimits {
    /// A CONTINUATION frame, the `count`th of its block.
    pub(super) const fn check_continuation(&self, count: u32) -> Result<(), Flood> {
        match count > self.continuations_max {
            true => Err(Flood::Continuations),
            false => Ok(()),
        }
    }
}

/// What a connection has spent. The limits are not in it: many connections share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget {
    window_start: Option<Instant>,
    resets: u32,
    idle_frames: u32,
    earned: u32,
}

impl Budget {
    /// The peer reset a stream, or made us reset it.
    pub(super) fn on_reset(&mut self, now: Instant, limits: &BudgetLimits) -> Result<(), Flood> {
        self.roll(now, limits);
        self.resets = self.resets.saturating_add(1);
        match self.resets > limits.resets_max {
            true => Err(Flood::Resets),
            false => Ok(()),
        }
    }

    /// A frame that made no progress.
    pub(super) fn on_idle_frame(
        &mut self,
        now: Instant,
        limits: &BudgetLimits,
    ) -> Result<(), Flood> {
        self.roll(now, limits);
        self.idle_frames = self.idle_frames.saturating_add(1);
        match self.idle_frames > limits.idle_frames_max {
            true => Err(Flood::IdleFrames),
            false => Ok(()),
        }
    }

    /// A frame that progress may have paid for.
    pub(super) fn on_earned_frame(
        &mut self,
        now: Instant,
        limits: &BudgetLimits,
    ) -> Result<(), Flood> {
        match self.earned.checked_sub(1) {
            Some(left) => {
                self.earned = left;
                Ok(())
            }
            None => self.on_idle_frame(now, limits),
        }
    }

    /// Something made progress.
    pub(super) fn earn(&mut self, limits: &BudgetLimits) {
        self.earned = self
            .earned
            .saturating_add(EARNED_BY_PROGRESS)
            .min(limits.idle_frames_max);
    }

    fn roll(&mut self, now: Instant, limits: &BudgetLimits) {
        let is_over = self
            .window_start
            .is_none_or(|start| now.saturating_duration_since(start) >= limits.window);
        if is_over {
            self.window_start = Some(now);
            self.resets = 0;
            self.idle_frames = 0;
        }
    }
}

/// A window of the connection, one of the stream, a PING, and one to spare.
const EARNED_BY_PROGRESS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::{Budget, BudgetLimits, EARNED_BY_PROGRESS};
    use crate::http2::error::Flood;
    use std::time::{Duration, Instant};

    #[test]
    fn a_window_has_its_limit_and_the_next_one_too() {
        let limits = BudgetLimits::default();
        let mut budget = Budget::default();
        let mut now = Instant::now();
        for _ in 0..3 {
            for _ in 0..limits.resets_max {
                assert_eq!(budget.on_reset(now, &limits), Ok(()));
            }
            for _ in 0..limits.idle_frames_max {
                assert_eq!(budget.on_idle_frame(now, &limits), Ok(()));
            }
            let last = now + limits.window - Duration::from_nanos(1);
            assert_eq!(budget.on_reset(last, &limits), Err(Flood::Resets));
            assert_eq!(budget.on_idle_frame(last, &limits), Err(Flood::IdleFrames));
            now += limits.window;
        }
        assert_eq!(limits.check_continuation(32), Ok(()));
        assert_eq!(limits.check_continuation(33), Err(Flood::Continuations));
    }

    #[test]
    fn progress_pays_up_to_a_bound() {
        let limits = BudgetLimits::default();
        let now = Instant::now();
        let mut budget = Budget::default();
        for _ in 0..100_000 {
            budget.earn(&limits);
            for _ in 0..EARNED_BY_PROGRESS {
                assert_eq!(budget.on_earned_frame(now, &limits), Ok(()));
            }
        }
        for _ in 0..100_000 {
            budget.earn(&limits);
        }
        let spent = (0..).take_while(|_| budget.on_earned_frame(now, &limits).is_ok());
        assert_eq!(spent.count(), 2 * limits.idle_frames_max as usize);
    }
}
