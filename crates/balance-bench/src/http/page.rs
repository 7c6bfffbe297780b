//! The page of an HTTP measurement: the distribution of latencies, and what happened when.

use super::report::Report;
use super::timeline::Point;
use crate::histogram::Histogram;
use crate::page::Page;
use crate::page::chart::{Axis, Series, bars, lines, nine_place};
use crate::summary::{QUANTILES, in_micros, micros, readable};

pub(super) fn render(report: &Report) -> String {
    let outcome = &report.outcome;
    let latency = outcome.timeline.latency();
    let mut page = Page::new(
        &format!("Measurement of {}", report.url),
        &report.load_text(),
    );
    for limit in report.limits() {
        page.limit(&format!("Limited: {}.", limit.explanation()));
    }
    page.facts(&[
        (
            "requests per second",
            format!("{:.0}", outcome.requests_per_second()),
        ),
        ("requests", outcome.requests().to_string()),
        ("latency p50", readable(latency.quantile(0.5))),
        ("latency p99", readable(latency.quantile(0.99))),
        ("latency max", readable(latency.max())),
        ("errors", outcome.failures.total().to_string()),
    ]);
    let points = outcome.timeline.points(outcome.elapsed);
    page.charts(&[
        ("Latency by share of requests", by_share(latency)),
        ("Distribution of latencies", distribution(latency)),
        ("Requests per second over time", rate_over_time(&points)),
        ("Latency over time", latency_over_time(&points)),
    ]);
    page.table(["what", "measured"], &rows(report));
    page.into_html()
}

fn rows(report: &Report) -> Vec<(String, String)> {
    let outcome = &report.outcome;
    let latency = outcome.timeline.latency();
    let mut rows = vec![
        (
            "duration".to_owned(),
            format!("{:.2} s", outcome.elapsed.as_secs_f64()),
        ),
        (
            "received".to_owned(),
            format!("{:.2} MB/s", outcome.bytes_per_second() / 1e6),
        ),
        ("latency mean".to_owned(), micros(latency.mean())),
    ];
    for (name, share) in QUANTILES {
        rows.push((format!("latency {name}"), micros(latency.quantile(*share))));
    }
    for (status, count) in &outcome.statuses {
        rows.push((format!("status {status}"), count.to_string()));
    }
    for (kind, count) in outcome.failures.counts() {
        rows.push((format!("error {}", kind.name()), count.to_string()));
    }
    if let Some(kept) = report.schedule_kept() {
        rows.push(("schedule kept".to_owned(), format!("{:.2} %", kept * 100.0)));
    }
    if let Some(cpu) = report.target_cpu_us_per_request() {
        rows.push(("target CPU".to_owned(), format!("{cpu:.2} us per request")));
    }
    let own = outcome.own_cpu_us_per_request();
    rows.push(("load CPU".to_owned(), format!("{own:.2} us per request")));
    rows
}

fn by_share(latency: &Histogram) -> String {
    let count = latency.count();
    let x = Axis::nines(count);
    let y = Axis::log(
        in_micros(latency.quantile(0.0)),
        in_micros(latency.max()),
        "latency, us",
    );
    let mut seen = 0;
    let points = latency.buckets().map(|(longest, in_bucket)| {
        seen += in_bucket;
        (nine_place(seen as f64 / count as f64), in_micros(longest))
    });
    let points = points.collect();
    lines(
        &x,
        &y,
        &[Series {
            name: "latency",
            points,
        }],
    )
}

/// Bars per power of ten of the latency.
const BARS_PER_DECADE: f64 = 20.0;

fn distribution(latency: &Histogram) -> String {
    let mut counts = std::collections::BTreeMap::<i32, u64>::new();
    for (longest, count) in latency.buckets() {
        let place = in_micros(longest).max(1e-3).log10() * BARS_PER_DECADE;
        *counts.entry(place.floor() as i32).or_default() += count;
    }
    let edge = |place: i32| 10f64.powf(f64::from(place) / BARS_PER_DECADE);
    let (low, high) = match (counts.first_key_value(), counts.last_key_value()) {
        (Some((first, _)), Some((last, _))) => (edge(*first), edge(*last + 1)),
        _ => (1.0, 10.0),
    };
    let most = counts.values().max().copied().unwrap_or(0);
    let heights: Vec<(f64, f64, f64)> = counts
        .iter()
        .map(|(place, count)| (edge(*place), edge(place + 1), *count as f64))
        .collect();
    bars(
        &Axis::log(low, high, "latency, us"),
        &Axis::linear(most as f64, "requests"),
        &heights,
    )
}

fn rate_over_time(points: &[Point]) -> String {
    let values = points
        .iter()
        .map(|point| (point.seconds, point.requests_per_second));
    let points: Vec<(f64, f64)> = values.collect();
    let high = points
        .iter()
        .fold(0.0, |high, (_, rate)| f64::max(high, *rate));
    let x = Axis::linear(end_of(&points), "seconds");
    lines(
        &x,
        &Axis::linear(high, "requests/s"),
        &[Series {
            name: "requests/s",
            points,
        }],
    )
}

fn latency_over_time(points: &[Point]) -> String {
    // A slice without a response has no latency.
    let seen = points.iter().filter(|point| !point.max.is_zero());
    let series = |name, of: fn(&Point) -> std::time::Duration| Series {
        name,
        points: seen
            .clone()
            .map(|point| (point.seconds, in_micros(of(point))))
            .collect(),
    };
    let all = [
        series("p50", |point| point.p50),
        series("p99", |point| point.p99),
        series("max", |point| point.max),
    ];
    let values = || {
        all.iter()
            .flat_map(|series| series.points.iter().map(|(_, y)| *y))
    };
    let (low, high) = (
        values().fold(f64::MAX, f64::min),
        values().fold(0.0, f64::max),
    );
    let x = Axis::linear(end_of(&all[0].points), "seconds");
    lines(&x, &Axis::log(low.min(high), high, "latency, us"), &all)
}

fn end_of(points: &[(f64, f64)]) -> f64 {
    points.last().map_or(1.0, |(at, _)| *at)
}
