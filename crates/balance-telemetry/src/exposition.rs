//! Metrics as text: Prometheus 0.0.4 and OpenMetrics 1.0.0.
//!
//! OpenMetrics' optional `_created` samples are left out: they double the size of a scrape, and a
//! process's start is in `process_start_time_seconds`.

use std::fmt::Write;

use crate::family::{Family, Kind, Sample, Value};
use crate::histogram::{BUCKETS, HistogramTotals};

#[cfg(test)]
mod tests;

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format to answer with, from the request's Accept field (RFC 9110 §12.5.1). OpenMetrics only
    /// for who names it and likes it better; a browser or curl gets what it can show.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let (mut open_metrics, mut prometheus) = (0, 0);
        for item in accept.unwrap_or_default().split(',') {
            let item = Preference::parse(item);
            match item.media_type.as_str() {
                "application/openmetrics-text" if item.speaks(&["1.0.0", "0.0.1"]) => {
                    open_metrics = open_metrics.max(item.quality);
                }
                "text/plain" if item.speaks(&["0.0.4"]) => {
                    prometheus = prometheus.max(item.quality);
                }
                _ => {}
            }
        }
        if open_metrics > prometheus {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The Content-Type of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes `families` in `format`.
pub fn encode(families: &[Family], format: Format) -> String {
    let mut text = String::with_capacity(64 * 1024);
    for family in families {
        encode_family(&mut text, family, format);
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn encode_family(text: &mut String, family: &Family, format: Format) {
    let suffix = match family.kind {
        Kind::Counter => "_total",
        Kind::Info => "_info",
        Kind::Gauge | Kind::Histogram => "",
    };
    let kind = match (family.kind, format) {
        (Kind::Counter, _) => "counter",
        (Kind::Histogram, _) => "histogram",
        (Kind::Info, Format::OpenMetrics) => "info",
        (Kind::Gauge, _) | (Kind::Info, Format::Prometheus) => "gauge",
    };
    // OpenMetrics names the family without the suffix of its samples, Prometheus with it.
    let named = match format {
        Format::Prometheus => suffix,
        Format::OpenMetrics => "",
    };
    let name = family.name;
    push(text, &["# HELP ", name, named, " "]);
    push_escaped(text, family.help, format == Format::OpenMetrics);
    push(text, &["\n# TYPE ", name, named, " ", kind, "\n"]);
    for sample in &family.samples {
        match &sample.value {
            Value::Integer(value) => {
                push_series(text, name, suffix, sample, None);
                push_integer(text, *value);
            }
            Value::Float(value) => {
                push_series(text, name, suffix, sample, None);
                push_float(text, *value);
            }
            Value::Histogram(totals) => encode_histogram(text, name, sample, totals),
        }
    }
}

/// Buckets are cumulative and end with +Inf, which equals the count.
fn encode_histogram(text: &mut String, name: &str, sample: &Sample, totals: &HistogramTotals) {
    let bounds = BUCKETS.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
    let mut below = 0;
    for (bound, bucket) in bounds.zip(&totals.buckets) {
        below += bucket;
        push_series(text, name, "_bucket", sample, Some(bound));
        push_integer(text, below);
    }
    push_series(text, name, "_sum", sample, None);
    let (seconds, micros) = (totals.sum_us / 1_000_000, totals.sum_us % 1_000_000);
    writeln!(text, "{seconds}.{micros:06}").expect("writing to a String cannot fail");
    push_series(text, name, "_count", sample, None);
    push_integer(text, below);
}

/// `name{labels} `, up to the number.
fn push_series(text: &mut String, name: &str, suffix: &str, sample: &Sample, bound: Option<&str>) {
    push(text, &[name, suffix]);
    let labels = sample
        .labels
        .iter()
        .map(|(key, value)| (*key, value.as_str()));
    let mut opened = false;
    for (key, value) in labels.chain(bound.map(|bound| ("le", bound))) {
        push(text, &[if opened { "," } else { "{" }, key, "=\""]);
        push_escaped(text, value, true);
        text.push('"');
        opened = true;
    }
    text.push_str(if opened { "} " } else { " " });
}

fn push_integer(text: &mut String, value: u64) {
    push(text, &[itoa::Buffer::new().format(value), "\n"]);
}

fn push_float(text: &mut String, value: f64) {
    if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf\n" } else { "-Inf\n" });
    } else {
        writeln!(text, "{value}").expect("writing to a String cannot fail");
    }
}

/// Backslash and newline are escaped everywhere; the quote in label values, and in OpenMetrics' help.
fn push_escaped(text: &mut String, value: &str, quotes: bool) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quotes => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}

fn push(text: &mut String, parts: &[&str]) {
    for part in parts {
        text.push_str(part);
    }
}

/// One item of an Accept field.
struct Preference {
    media_type: String,
    version: Option<String>,
    /// In thousandths.
    quality: u32,
}

impl Preference {
    fn parse(item: &str) -> Self {
        let mut parts = item.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut preference = Self {
            media_type,
            version: None,
            quality: 1_000,
        };
        for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => preference.quality = parse_quality(value.trim()),
                "version" => preference.version = Some(value.trim().trim_matches('"').to_owned()),
                _ => {}
            }
        }
        preference
    }

    fn speaks(&self, versions: &[&str]) -> bool {
        self.version
            .as_deref()
            .is_none_or(|version| versions.contains(&version))
    }
}

/// `0.5` is 500. What is no quality counts as "not wanted".
fn parse_quality(value: &str) -> u32 {
    match value.parse::<f64>() {
        Ok(quality) if (0.0..=1.0).contains(&quality) => (quality * 1_000.0).round() as u32,
        _ => 0,
    }
}
