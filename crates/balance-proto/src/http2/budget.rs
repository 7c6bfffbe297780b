//! The budget of what makes no progress (robustness §2): frames that are cheap to send, cost us work, and move no
//! message forward.
//!
//! Progress pays: DATA that we send earns the WINDOW_UPDATE and PING frames that an honest peer answers with (gRPC
//! measures its round trips so), and a new request earns the priorities that browsers send for it.

use super::error::Flood;
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

impl Default for BudgetLimits {
    /// Robustness §2; 32 continuations hold 512 KiB in frames of the default size.
    fn default() -> Self {
        Self {
            resets_max: 200,
            idle_frames_max: 1_000,
            window: Duration::from_secs(10),
            continuations_max: 32,
        }
    }
}

/// What a connection has spent.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    limits: BudgetLimits,
    window_start: Option<Instant>,
    resets: u32,
    idle_frames: u32,
    earned: u32,
}

impl Budget {
    pub(super) const fn new(limits: BudgetLimits) -> Self {
        Self {
            limits,
            window_start: None,
            resets: 0,
            idle_frames: 0,
            earned: 0,
        }
    }

    /// The peer reset a stream, or made us reset it.
    pub(super) fn on_reset(&mut self, now: Instant) -> Result<(), Flood> {
        self.roll(now);
        self.resets = self.resets.saturating_add(1);
        match self.resets > self.limits.resets_max {
            true => Err(Flood::Resets),
            false => Ok(()),
        }
    }

    /// A frame that made no progress.
    pub(super) fn on_idle_frame(&mut self, now: Instant) -> Result<(), Flood> {
        self.roll(now);
        self.idle_frames = self.idle_frames.saturating_add(1);
        match self.idle_frames > self.limits.idle_frames_max {
            true => Err(Flood::IdleFrames),
            false => Ok(()),
        }
    }

    /// A frame that progress may have paid for.
    pub(super) fn on_earned_frame(&mut self, now: Instant) -> Result<(), Flood> {
        match self.earned.checked_sub(1) {
            Some(left) => {
                self.earned = left;
                Ok(())
            }
            None => self.on_idle_frame(now),
        }
    }

    /// Something made progress.
    pub(super) fn earn(&mut self) {
        self.earned = self
            .earned
            .saturating_add(EARNED_BY_PROGRESS)
            .min(self.limits.idle_frames_max);
    }

    /// A CONTINUATION frame, the `count`th of its block.
    pub(super) const fn on_continuation(&self, count: u32) -> Result<(), Flood> {
        match count > self.limits.continuations_max {
            true => Err(Flood::Continuations),
            false => Ok(()),
        }
    }

    fn roll(&mut self, now: Instant) {
        let is_over = self
            .window_start
            .is_none_or(|start| now.saturating_duration_since(start) >= self.limits.window);
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
        let mut budget = Budget::new(limits);
        let mut now = Instant::now();
        for _ in 0..3 {
            for _ in 0..limits.resets_max {
                assert_eq!(budget.on_reset(now), Ok(()));
            }
            for _ in 0..limits.idle_frames_max {
                assert_eq!(budget.on_idle_frame(now), Ok(()));
            }
            let last = now + limits.window - Duration::from_nanos(1);
            assert_eq!(budget.on_reset(last), Err(Flood::Resets));
            assert_eq!(budget.on_idle_frame(last), Err(Flood::IdleFrames));
            now += limits.window;
        }
        assert_eq!(budget.on_continuation(32), Ok(()));
        assert_eq!(budget.on_continuation(33), Err(Flood::Continuations));
    }

    #[test]
    fn progress_pays_up_to_a_bound() {
        let limits = BudgetLimits::default();
        let now = Instant::now();
        let mut budget = Budget::new(limits);
        for _ in 0..100_000 {
            budget.earn();
            for _ in 0..EARNED_BY_PROGRESS {
                assert_eq!(budget.on_earned_frame(now), Ok(()));
            }
        }
        for _ in 0..100_000 {
            budget.earn();
        }
        let spent = (0..).take_while(|_| budget.on_earned_frame(now).is_ok());
        assert_eq!(spent.count(), 2 * limits.idle_frames_max as usize);
    }
}
