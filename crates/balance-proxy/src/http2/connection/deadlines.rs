//! How long a connection waits, for what, and what happens when it has waited long enough.

use std::task::Context;

use balance_core::Cause;
use balance_proto::http2::ErrorCode;

use super::{ClientConnection, End};
use crate::http2::link::Link;
use crate::worker::{ANSWER_MS, DRAIN_IDLE_MS};

/// What a connection waits for, and so which deadline runs. Each begins when it is first waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The client takes the output, of which so much was written.
    Write(usize),
    /// The rest of a frame or of a field block (robustness §2: slow streams).
    Rest,
    /// The answer to the first GOAWAY.
    Drain,
    /// Exchanges, each of which has its own deadlines.
    Exchanges,
    /// A stream, with the memory of the last ones.
    Pause,
    /// A stream, without.
    Idle,
}

impl ClientConnection {
    /// Nothing moves: sets the deadline of what is waited for, and looks at it. Whether something has changed.
    pub(super) fn poll_deadline(&mut self, cx: &mut Context<'_>) -> bool {
        if self.end.is_none() {
            self.look_after_drain();
            if self.end.is_some()
                || (!self.output.is_blocked() && !self.link.borrow().out.is_empty())
            {
                return true;
            }
        }
        let waits_for = self.wait();
        if self.waits_for != Some(waits_for) {
            let is_resumed = self.waits_for == Some(Wait::Idle) && waits_for == Wait::Pause;
            if !is_resumed {
                self.waits_for = Some(waits_for);
                let after_ms = self.timeout_ms(waits_for);
                match after_ms {
                    0 => self.timer.clear(), // without a look at the clock: each turn with a request comes here
                    _ => self.timer.set(self.worker.clock.now_ms(), after_ms),
                }
            }
        }
        if self.timer.poll_expired(cx).is_pending() {
            return false;
        }
        if self.worker.is_cut() {
            return self.on_cut();
        }
        self.on_deadline();
        true
    }

    /// All deadlines have passed, those of the exchanges too.
    fn on_cut(&mut self) -> bool {
        if self.end.is_none() && self.running_count == 0 {
            self.close(ErrorCode::NO_ERROR);
            return true;
        }
        let is_blocked = self.end.is_some() && self.output.is_blocked();
        if is_blocked {
            self.lose();
        }
        is_blocked
    }

    fn wait(&self) -> Wait {
        if let Some(written) = self.output.blocked_at() {
            return Wait::Write(written);
        }
        let link = self.link.borrow();
        if link.engine.awaits_rest() && self.end.is_none() {
            Wait::Rest
        } else if self.is_ending() && self.end.is_none() {
            Wait::Drain
        } else if self.running_count > 0 {
            Wait::Exchanges
        } else {
            Wait::Pause
        }
    }

    fn timeout_ms(&self, waits_for: Wait) -> u64 {
        let (head_ms, idle_ms) = self.listener.connection_timeouts();
        match waits_for {
            Wait::Write(_) if self.end.is_some() => ANSWER_MS,
            Wait::Write(_) => self.listener.write_progress_ms(),
            Wait::Rest => head_ms,
            Wait::Drain => DRAIN_IDLE_MS,
            Wait::Exchanges => 0,
            Wait::Pause => match idle_ms {
                0 => PAUSE_MS,
                idle_ms => PAUSE_MS.min(idle_ms),
            },
            Wait::Idle => match idle_ms {
                0 => 0,
                idle_ms => idle_ms.saturating_sub(PAUSE_MS).max(1),
            },
        }
    }

    fn on_deadline(&mut self) {
        match self.waits_for {
            Some(Wait::Write(_)) => self.lose(),
            Some(Wait::Rest) => {
                self.settle_unread(0, 0, Cause::ClientTimeout);
                self.close(ErrorCode::ENHANCE_YOUR_CALM);
            }
            Some(Wait::Drain) => {
                let Link { engine, out, .. } = &mut *self.link.borrow_mut();
                engine.finish_drain(out);
                self.timer.clear();
            }
            Some(Wait::Pause) => {
                self.release_memory();
                self.waits_for = Some(Wait::Idle);
                let idle_ms = self.timeout_ms(Wait::Idle);
                self.timer
                    .set_unless_zero(self.worker.clock.now_ms(), idle_ms);
            }
            Some(Wait::Idle | Wait::Exchanges) | None => self.close(ErrorCode::NO_ERROR),
        }
    }

    /// Whether the connection is to take no more streams.
    fn is_ending(&self) -> bool {
        self.worker.is_draining() || self.listener.is_retired() || self.requests_left == 0
    }

    /// Begins a drain, and ends the connection when it is over.
    fn look_after_drain(&mut self) {
        let is_drained = {
            let Link { engine, out, .. } = &mut *self.link.borrow_mut();
            if self.is_ending() {
                engine.drain(out);
            }
            engine.is_drained()
        };
        if self.running_count > 0 {
            return;
        }
        if is_drained {
            self.finish(End::Said);
        } else if self.is_last {
            self.close(ErrorCode::NO_ERROR);
        }
    }

    /// Gives back what only streams need.
    fn release_memory(&mut self) {
        self.link.borrow_mut().release_memory();
        self.running = Vec::new();
        self.round = Vec::new();
        self.ready.release_memory();
        self.client = None;
    }
}

/// How long a connection without streams keeps what the next ones would need.
const PAUSE_MS: u64 = 1_000;
