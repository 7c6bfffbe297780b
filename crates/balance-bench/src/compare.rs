//! `balance bench compare`: two sets of results, metric by metric, with a test of significance.
//!
//! For a person it is what benchstat is to Go's benchmarks; for CI it is an exit code.

mod samples;
mod significance;

use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;

use crate::overhead::median;
use samples::Samples;
use significance::p_value;

/// Compare two sets of results, and fail when the new one is worse.
///
/// OLD and NEW are each a file of results (`--json`; several after one another are several rounds), a folder of such
/// files, a result of benchmark/compare.sh, or baselines of cargo bench as FOLDER:BASELINE (target/criterion:main).
#[derive(Clone, Debug, clap::Args)]
pub struct CompareArgs {
    #[arg(value_name = "OLD")]
    pub old: String,

    #[arg(value_name = "NEW")]
    pub new: String,

    /// How much worse a median may become
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = parse_percent)]
    pub threshold: f64,

    /// Only metrics whose names contain this; may be given several times
    #[arg(long, value_name = "NAME")]
    pub metric: Vec<String>,
}

/// Changes that chance alone would bring more often than this are none.
const SIGNIFICANCE: f64 = 0.05;
/// With fewer samples on a side no difference could be significant: 3 + 3 have a p of 0.1 at best.
const SAMPLES_MIN: usize = 4;

/// Compares and reports.
///
/// # Errors
/// A file cannot be read or is no result, or the two have no metric in common.
pub(crate) fn run(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    let (old, new) = (Samples::read(&args.old)?, Samples::read(&args.new)?);
    let rows = compare(&old, &new, args.threshold, &args.metric);
    anyhow::ensure!(
        !rows.is_empty(),
        "{} and {} have no such metric in common",
        args.old,
        args.new
    );
    std::io::stdout().write_all(to_text(&rows, args.threshold).as_bytes())?;
    let is_worse = rows.iter().any(|row| row.verdict == Verdict::Worse);
    Ok(ExitCode::from(u8::from(is_worse)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// No difference that could not be chance, or a small one.
    Same,
    Better,
    Worse,
}

#[derive(Clone, Debug)]
struct Row {
    metric: String,
    old: Spread,
    new: Spread,
    /// None: too few samples to tell.
    p: Option<f64>,
    verdict: Verdict,
}

/// Samples of one side.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
    count: usize,
}

impl Spread {
    /// None without samples.
    fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: median(&sorted)?,
            min: *sorted.first()?,
            max: *sorted.last()?,
            count: sorted.len(),
        })
    }
}

fn compare(old: &Samples, new: &Samples, threshold: f64, wanted: &[String]) -> Vec<Row> {
    let is_wanted =
        |metric: &str| wanted.is_empty() || wanted.iter().any(|part| metric.contains(part));
    let in_both = old.metrics().filter(|(metric, _)| is_wanted(metric));
    in_both
        .filter_map(|(metric, before)| compare_one(metric, before, new.metric(metric)?, threshold))
        .collect()
}

fn compare_one(metric: &str, before: &[f64], after: &[f64], threshold: f64) -> Option<Row> {
    let (old, new) = (Spread::of(before)?, Spread::of(after)?);
    let has_enough = before.len().min(after.len()) >= SAMPLES_MIN;
    let p = has_enough.then(|| p_value(before, after));
    let (better, worse) = if is_better_when_higher(metric) {
        (
            new.median > old.median,
            new.median < old.median * (1.0 - threshold),
        )
    } else {
        (
            new.median < old.median,
            new.median > old.median * (1.0 + threshold),
        )
    };
    // Without enough samples the threshold alone decides: a result that cannot be tested is not a good one.
    let verdict = match p {
        Some(p) if p >= SIGNIFICANCE => Verdict::Same,
        _ if worse => Verdict::Worse,
        Some(_) if better => Verdict::Better,
        _ => Verdict::Same,
    };
    Some(Row {
        metric: metric.to_owned(),
        old,
        new,
        p,
        verdict,
    })
}

/// Rates; everything else that is measured is a cost.
fn is_better_when_higher(metric: &str) -> bool {
    metric.ends_with("per_second")
}

fn to_text(rows: &[Row], threshold: f64) -> String {
    let width = rows.iter().map(|row| row.metric.len()).max().unwrap_or(0);
    let mut text = format!(
        "{:width$}  {:>30}  {:>30}  change\n",
        "metric", "old", "new"
    );
    for row in rows {
        let (old, new) = (spread(&row.old), spread(&row.new));
        let change = (row.new.median / row.old.median - 1.0) * 100.0;
        let change = match row.p {
            Some(p) if p >= SIGNIFICANCE => "~".to_owned(),
            _ if change.is_finite() => format!("{change:+.1} %"),
            _ => "from 0".to_owned(),
        };
        let tested = row
            .p
            .map_or("not tested,".to_owned(), |p| format!("p={p:.3}"));
        let counts = format!("n={}+{}", row.old.count, row.new.count);
        let word = match row.verdict {
            Verdict::Same => "",
            Verdict::Better => "  better",
            Verdict::Worse => "  WORSE",
        };
        let metric = &row.metric;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{metric:width$}  {old:>30}  {new:>30}  {change:>9}  {tested} {counts}{word}"
        );
    }
    let worse = rows.iter().filter(|row| row.verdict == Verdict::Worse);
    let (worse, percent) = (worse.count(), threshold * 100.0);
    let _ = writeln!(
        text,
        "{worse} of {} metrics worse by more than {percent} %",
        rows.len()
    );
    if rows.iter().any(|row| row.p.is_none()) {
        let _ = writeln!(
            text,
            "not tested: fewer than {SAMPLES_MIN} samples on a side, judged by the threshold alone"
        );
    }
    text
}

fn spread(spread: &Spread) -> String {
    let number = |value: f64| {
        let decimals = match value.abs() {
            size if size >= 1000.0 => 0,
            size if size >= 10.0 => 2,
            _ => 4,
        };
        format!("{value:.decimals$}")
    };
    let [median, min, max] = [spread.median, spread.min, spread.max].map(number);
    format!("{median} ({min}-{max})")
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>();
    match number {
        Ok(percent) if (0.0..=1000.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("a percentage such as 5%".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict, compare_one, parse_percent, to_text};

    fn check(metric: &str, old: &[f64], new: &[f64], expected: Verdict) {
        let row = compare_one(metric, old, new, 0.05).unwrap();
        let text = to_text(std::slice::from_ref(&row), 0.05);
        assert_eq!(row.verdict, expected, "{text}");
        let says_worse = text.contains("WORSE") && text.contains("1 of 1 metrics worse");
        assert_eq!(says_worse, expected == Verdict::Worse, "{text}");
    }

    #[test]
    fn worse_is_beyond_the_threshold_and_beyond_chance() {
        let base = [10.0, 10.1, 10.2, 10.3, 10.4];
        let plus = |percent: f64| base.map(|value| value * (1.0 + percent / 100.0));
        check("cpu_us_per_request", &base, &plus(10.0), Verdict::Worse);
        check("cpu_us_per_request", &base, &plus(4.5), Verdict::Same);
        check("cpu_us_per_request", &base, &plus(-10.0), Verdict::Better);
        check("requests_per_second", &base, &plus(10.0), Verdict::Better);
        check("requests_per_second", &base, &plus(-10.0), Verdict::Worse);
        // The median is 20 % higher, but the samples are all over the place.
        let wild = [5.0, 12.1, 12.2, 7.0, 30.0];
        check("latency_us.p99", &base, &wild, Verdict::Same);
    }

    #[test]
    fn too_few_samples_are_judged_by_the_threshold_and_marked() {
        check("latency_us.p99", &[10.0], &[10.4], Verdict::Same);
        check("latency_us.p99", &[10.0], &[11.0], Verdict::Worse);
        let row = compare_one("latency_us.p99", &[10.0], &[11.0], 0.05).unwrap();
        assert!(to_text(&[row], 0.05).contains("not tested"));
        check("latency_us.p99", &[0.0], &[1.0], Verdict::Worse);
    }

    #[test]
    fn percentages() {
        assert_eq!(parse_percent("5%"), Ok(0.05));
        assert_eq!(parse_percent("2.5"), Ok(0.025));
        for text in ["", "%", "-1%", "NaN", "five"] {
            assert!(parse_percent(text).is_err(), "{text}");
        }
    }
}
