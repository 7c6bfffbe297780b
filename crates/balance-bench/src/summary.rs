//! The figures that every measurement has, in words and in JSON. The keys are fixed: scripts read them.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Map, Value};

use crate::histogram::Histogram;

/// Their names in the JSON, in the order in which they are shown.
pub(crate) const QUANTILES: &[(&str, f64)] = &[
    ("p50", 0.5),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p999", 0.999),
];

/// Lines of a name and a value below one another.
#[derive(Debug, Default)]
pub(crate) struct Lines(String);

impl Lines {
    pub(crate) fn push(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{name:<17} {value}");
    }

    /// A whole line.
    pub(crate) fn push_line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    pub(crate) fn push_latency(&mut self, latency: &Histogram) {
        self.push("latency mean", micros(latency.mean()));
        for (name, share) in QUANTILES {
            self.push(&format!("latency {name}"), micros(latency.quantile(*share)));
        }
        self.push("latency max", micros(latency.max()));
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

/// The object under `latency_us`.
pub(crate) fn latency_json(latency: &Histogram) -> Value {
    let mut object: Map<String, Value> = QUANTILES
        .iter()
        .map(|(name, share)| {
            (
                (*name).to_owned(),
                in_micros(latency.quantile(*share)).into(),
            )
        })
        .collect();
    object.insert("max".to_owned(), in_micros(latency.max()).into());
    object.insert("mean".to_owned(), in_micros(latency.mean()).into());
    object.into()
}

pub(crate) fn in_micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e3
}

pub(crate) fn micros(duration: Duration) -> String {
    format!("{:.1} us", in_micros(duration))
}

/// To three digits, in the unit that suits it.
pub(crate) fn readable(duration: Duration) -> String {
    let (value, unit) = match in_micros(duration) {
        micros if micros < 1e3 => (micros, "us"),
        micros if micros < 1e6 => (micros / 1e3, "ms"),
        micros => (micros / 1e6, "s"),
    };
    let decimals = match value {
        value if value < 10.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

/// Writes a result as JSON where that was asked for.
///
/// # Errors
/// The file could not be written.
pub(crate) fn write_json(path: Option<&Path>, value: &Value) -> anyhow::Result<()> {
    match path {
        Some(path) => write(path, &format!("{value:#}\n")),
        None => Ok(()),
    }
}

/// # Errors
/// The file could not be written; the error names it.
pub(crate) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::readable;

    #[test]
    fn three_digits_in_the_unit_that_suits() {
        for (nanos, text) in [
            (0, "0.00 us"),
            (1_234, "1.23 us"),
            (881_200, "881 us"),
            (12_345_678, "12.3 ms"),
            (1_003_487_200, "1.00 s"),
        ] {
            assert_eq!(readable(Duration::from_nanos(nanos)), text);
        }
    }
}
