//! Whether a backend is healthy, by what its probes find.
//!
//! ```text
//!                   first success                       `fall` failures in a row
//!   ┌─────────┐ ─────────────────────► ┌─────────┐ ─────────────────────────────► ┌───────────┐
//!   │ Unknown │                        │ Healthy │                                │ Unhealthy │
//!   └─────────┘                        └─────────┘ ◄───────────────────────────── └───────────┘
//!        │                                             `rise` successes in a row        ▲
//!        └──────────────────────────────────────────────────────────────────────────────┘
//!                                          first failure
//!
//!   Over it lies what the operator wants: a draining backend is probed on, a disabled one is not.
//! ```
//!
//! - `Unknown` gets traffic: a start or a reload must not refuse requests until the first probe is back. The first
//!   result decides alone, so a backend that is down from the start is known to be so after one probe.
//! - While results contradict the state, probes follow one another faster: a change is certain soon, and one lost
//!   probe costs nothing.
//! - No clock and no randomness in here: the caller asks how long to wait, and brings the number that spreads it.

use std::sync::Arc;

/// What is known about a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Health {
    /// Not probed yet. It gets traffic.
    #[default]
    Unknown,
    Healthy,
    Unhealthy,
}

/// What a machine follows. Both counts at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthRules {
    pub rise: u32,
    pub fall: u32,
    pub interval_ms: u64,
    /// While results contradict the state.
    pub fast_interval_ms: u64,
}

/// The machine of one probed address.
#[derive(Clone, Debug)]
pub struct HealthMachine {
    rules: HealthRules,
    health: Health,
    /// Results in a row that contradict `health`. Invariant: below `rise` or `fall`, whichever ends the state.
    contrary: u32,
}

/// What was found last, for whoever asks about a backend. Written by the probes alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthRecord {
    pub health: Health,
    /// Since when, by the clock of the backends' gates.
    pub since_ms: u64,
    /// Why, in words: what the probe saw that decided.
    pub reason: Arc<str>,
    /// Probes since the backend is known.
    pub probes: u64,
    pub failed_probes: u64,
}

impl Health {
    /// The name in the admin API and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl HealthMachine {
    /// Begins with what is known from before: a reload that changes a check forgets nothing.
    pub fn new(rules: HealthRules, health: Health) -> Self {
        Self {
            rules,
            health,
            contrary: 0,
        }
    }

    pub fn health(&self) -> Health {
        self.health
    }

    /// Takes the result of a probe. Returns the new state, if this one changed it.
    pub fn on_result(&mut self, is_success: bool) -> Option<Health> {
        let (found, needed) = if is_success {
            (Health::Healthy, self.rules.rise)
        } else {
            (Health::Unhealthy, self.rules.fall)
        };
        if found == self.health {
            self.contrary = 0;
            return None;
        }
        self.contrary += 1;
        if self.health != Health::Unknown && self.contrary < needed {
            return None;
        }
        self.contrary = 0;
        self.health = found;
        Some(found)
    }

    /// From the start of the last probe to that of the next: 90 % to 110 % of the interval, so that many proxies
    /// do not probe in step. `jitter` is any random number.
    pub fn delay_ms(&self, jitter: u64) -> u64 {
        let full = if self.contrary > 0 {
            self.rules.fast_interval_ms.min(self.rules.interval_ms)
        } else {
            self.rules.interval_ms
        };
        let tenth = full / 10;
        full - tenth + jitter % (2 * tenth + 1)
    }

    /// Before the first probe: soon, and not all at once.
    pub fn first_delay_ms(&self, jitter: u64) -> u64 {
        jitter % self.rules.interval_ms.clamp(1, FIRST_WITHIN_MS)
    }
}

/// All backends of a configuration are probed once within this time after a start.
const FIRST_WITHIN_MS: u64 = 500;

#[cfg(test)]
mod tests;
