//! The same load through a proxy and directly, in turns: what the proxy adds.
//!
//! In turns, because a machine is never the same twice: a neighbour that comes and goes hits both sides.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::failures::Failures;
use crate::histogram::Histogram;
use crate::http::{self, Plan};
use crate::summary::{in_micros, latency_json};
use crate::tcp;

/// One side of the comparison.
#[derive(Clone, Debug)]
pub(crate) enum Side {
    Http(Plan),
    Tcp(tcp::Load),
}

/// What one round on one side has shown.
#[derive(Clone, Default)]
pub(crate) struct Round {
    pub(crate) latency: Histogram,
    pub(crate) failures: Failures,
}

/// Rounds through the proxy, and as many directly unless there is no such side.
pub(crate) struct Overhead {
    pub(crate) through: Vec<Round>,
    pub(crate) direct: Vec<Round>,
}

impl Side {
    fn round(&self, stop: &AtomicBool) -> io::Result<Round> {
        Ok(match self {
            Self::Http(plan) => {
                let outcome = http::run_load(plan, stop, |_, _| {})?;
                Round {
                    latency: outcome.timeline.latency().clone(),
                    failures: outcome.failures,
                }
            }
            Self::Tcp(load) => {
                let (tally, _) = tcp::run_load(load, stop, |_, _| {})?;
                Round {
                    latency: tally.latency,
                    failures: tally.failures,
                }
            }
        })
    }
}

/// Measures `rounds` times, in turns. The first round of each side is thrown away: it opens the proxy's connections.
/// Ends early, with the rounds that are complete, when `stop` becomes true.
///
/// # Errors
/// The load could not be run.
pub(crate) fn measure(
    through: &Side,
    direct: Option<&Side>,
    rounds: u32,
    stop: &AtomicBool,
    mut watch: impl FnMut(u32),
) -> io::Result<Overhead> {
    let mut overhead = Overhead {
        through: Vec::new(),
        direct: Vec::new(),
    };
    // A single round has nothing to be compared with, and all of it is wanted.
    let warm_ups = u32::from(rounds > 1);
    for number in 0..rounds + warm_ups {
        watch(number);
        let direct = direct.map(|side| side.round(stop)).transpose()?;
        let through = through.round(stop)?;
        if number < warm_ups {
            continue;
        }
        overhead.through.push(through);
        overhead.direct.extend(direct);
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(overhead)
}

/// A difference over all rounds, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Difference {
    pub(crate) median_us: f64,
    pub(crate) min_us: f64,
    pub(crate) max_us: f64,
}

impl Overhead {
    /// What the proxy adds at this quantile, through minus direct round by round. None without a direct side.
    pub(crate) fn added(&self, share: f64) -> Option<Difference> {
        let at = |round: &Round| in_micros(round.latency.quantile(share));
        let pairs = self.through.iter().zip(&self.direct);
        let mut values: Vec<f64> = pairs
            .map(|(through, direct)| at(through) - at(direct))
            .collect();
        values.sort_by(f64::total_cmp);
        Some(Difference {
            median_us: median(&values)?,
            min_us: *values.first()?,
            max_us: *values.last()?,
        })
    }

    /// The median over the rounds of a quantile of the direct side.
    pub(crate) fn direct_quantile(&self, share: f64) -> Option<Duration> {
        let quantiles = self
            .direct
            .iter()
            .map(|round| round.latency.quantile(share));
        let mut values: Vec<f64> = quantiles.map(|value| value.as_secs_f64()).collect();
        values.sort_by(f64::total_cmp);
        median(&values).map(Duration::from_secs_f64)
    }
}

/// All rounds of a side as one.
pub(crate) fn merged(rounds: &[Round]) -> Round {
    let mut all = Round::default();
    for round in rounds {
        all.latency.merge(&round.latency);
        all.failures.merge(&round.failures);
    }
    all
}

impl Round {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "requests": self.latency.count(),
            "latency_us": latency_json(&self.latency),
            "errors": self.failures.to_json(),
        })
    }
}

/// Of sorted values. None when there are none.
pub(crate) fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((sorted.get(middle - 1)? + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Overhead, Round, median};

    fn round(micros: u64) -> Round {
        let mut round = Round::default();
        round.latency.record(Duration::from_micros(micros));
        round
    }

    #[test]
    fn what_is_added_is_the_median_of_the_rounds() {
        let overhead = Overhead {
            through: [150, 900, 160].map(round).to_vec(),
            direct: [100, 100, 100].map(round).to_vec(),
        };
        let added = overhead.added(0.5).unwrap();
        let seen = [added.median_us, added.min_us, added.max_us].map(f64::round);
        assert_eq!(seen, [60.0, 50.0, 800.0]);
        let direct = overhead.direct_quantile(0.99).unwrap();
        assert_eq!((direct.as_secs_f64() * 1e6).round(), 100.0);
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), Some(3.0));
    }
}
