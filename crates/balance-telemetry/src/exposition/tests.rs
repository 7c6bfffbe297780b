//! The text formats, byte for byte, and a checker of their grammar over everything that we expose.

use std::collections::{HashMap, HashSet};

use balance_core::Method;

use super::{Format, encode};
use crate::family::{Kind, Samples, Value};
use crate::histogram::HistogramTotals;
use crate::registry::{BuildInfo, Registry};

fn samples() -> Samples {
    let mut samples = Samples::default();
    samples.counter(
        "t_requests",
        "How many.",
        &[("route", "a\"b\\c\nd"), ("status", "200")],
        7,
    );
    samples.gauge("t_load", "A \"ratio\"\\n.\nReally.", &[], 0.25);
    samples.gauge("t_limit", "Open.", &[], f64::INFINITY);
    samples.add(
        Kind::Info,
        "t_build",
        "Built.",
        &[("version", "1")],
        Value::Integer(1),
    );
    // Another one of the first family, late.
    samples.counter(
        "t_requests",
        "ignored",
        &[("route", "é"), ("status", "0")],
        1,
    );
    samples
}

#[test]
fn prometheus_text() {
    let expected = r#"# HELP t_requests_total How many.
# TYPE t_requests_total counter
t_requests_total{route="a\"b\\c\nd",status="200"} 7
t_requests_total{route="é",status="0"} 1
# HELP t_load A "ratio"\\n.\nReally.
# TYPE t_load gauge
t_load 0.25
# HELP t_limit Open.
# TYPE t_limit gauge
t_limit +Inf
# HELP t_build_info Built.
# TYPE t_build_info gauge
t_build_info{version="1"} 1
"#;
    assert_eq!(
        encode(&samples().into_families(), Format::Prometheus),
        expected
    );
}

#[test]
fn open_metrics_text() {
    let expected = r#"# HELP t_requests How many.
# TYPE t_requests counter
t_requests_total{route="a\"b\\c\nd",status="200"} 7
t_requests_total{route="é",status="0"} 1
# HELP t_load A \"ratio\"\\n.\nReally.
# TYPE t_load gauge
t_load 0.25
# HELP t_limit Open.
# TYPE t_limit gauge
t_limit +Inf
# HELP t_build Built.
# TYPE t_build info
t_build_info{version="1"} 1
# EOF
"#;
    assert_eq!(
        encode(&samples().into_families(), Format::OpenMetrics),
        expected
    );
}

#[test]
fn histograms_are_cumulative() {
    let mut totals = HistogramTotals {
        sum_us: 12_000_050,
        ..HistogramTotals::default()
    };
    totals.buckets[0] = 2;
    totals.buckets[3] = 1;
    totals.buckets[19] = 4;
    let mut samples = Samples::default();
    samples.add(
        Kind::Histogram,
        "t_seconds",
        "Time.",
        &[("pool", "p")],
        Value::Histogram(Box::new(totals)),
    );
    let text = encode(&samples.into_families(), Format::Prometheus);
    for line in [
        "# TYPE t_seconds histogram",
        r#"t_seconds_bucket{pool="p",le="0.0001"} 2"#,
        r#"t_seconds_bucket{pool="p",le="0.0005"} 2"#,
        r#"t_seconds_bucket{pool="p",le="0.001"} 3"#,
        r#"t_seconds_bucket{pool="p",le="10.0"} 3"#,
        r#"t_seconds_bucket{pool="p",le="+Inf"} 7"#,
        r#"t_seconds_sum{pool="p"} 12.000050"#,
        r#"t_seconds_count{pool="p"} 7"#,
    ] {
        assert!(
            text.lines().any(|have| have == line),
            "{line} is missing in\n{text}"
        );
    }
}

#[test]
fn accept() {
    let check = |accept: Option<&str>, expected| {
        assert_eq!(Format::negotiate(accept), expected, "{accept:?}");
    };
    check(None, Format::Prometheus);
    check(Some(""), Format::Prometheus);
    check(Some("*/*"), Format::Prometheus);
    check(
        Some("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"),
        Format::Prometheus,
    );
    check(Some("application/openmetrics-text"), Format::OpenMetrics);
    check(
        Some("Application/OpenMetrics-Text; version=1.0.0; charset=utf-8"),
        Format::OpenMetrics,
    );
    check(
        Some("application/openmetrics-text;version=9.9.9"),
        Format::Prometheus,
    );
    check(Some("application/openmetrics-text;q=0"), Format::Prometheus);
    check(
        Some("application/openmetrics-text;q=nonsense"),
        Format::Prometheus,
    );
    check(
        Some("application/openmetrics-text;q=0.2,text/plain;q=0.3"),
        Format::Prometheus,
    );
    // What Prometheus 3 sends.
    check(
        Some(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,\
             */*;q=0.2",
        ),
        Format::OpenMetrics,
    );
}

/// What `promtool check metrics` would refuse: samples before their family or scattered, a family or a
/// series twice, wrong names, suffixes, labels, numbers or buckets.
fn check_grammar(text: &str, format: Format) {
    let mut families: HashMap<String, String> = HashMap::new();
    let mut series: HashSet<String> = HashSet::new();
    let mut buckets: HashMap<String, f64> = HashMap::new();
    let mut current = String::new();
    let body = match format {
        Format::OpenMetrics => text.strip_suffix("# EOF\n").expect("it ends with # EOF"),
        Format::Prometheus => text,
    };
    assert!(body.ends_with('\n'));
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            current = help.split(' ').next().unwrap().to_owned();
            assert!(
                help.ends_with('.') && help.len() > current.len() + 2,
                "no help: {line}"
            );
            continue;
        }
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap();
            assert_eq!(name, current, "TYPE follows its HELP");
            let before = families.insert(name.to_owned(), kind.to_owned());
            assert!(before.is_none(), "{name} comes twice");
            continue;
        }
        let (identity, number) = line.rsplit_once(' ').unwrap();
        let name = identity.split('{').next().unwrap();
        assert!(series.insert(identity.to_owned()), "{identity} comes twice");
        assert!(is_name(name), "{name}");
        let suffix = name
            .strip_prefix(current.as_str())
            .expect("samples follow their family");
        let kind = families[&current].as_str();
        let allowed: &[&str] = match (kind, format) {
            ("counter", Format::OpenMetrics) => &["_total"],
            ("info", _) => &["_info"],
            ("histogram", _) => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(
            allowed.contains(&suffix),
            "{line}: a {kind} with suffix {suffix:?}"
        );
        assert!(kind != "counter" || name.ends_with("_total"), "{line}");
        let number: f64 = number.replace("+Inf", "inf").parse().expect("a number");
        assert!(number >= 0.0, "{line}");
        check_buckets(identity, suffix, number, &mut buckets);
    }
}

/// Buckets grow, and the count equals the last of them, +Inf.
fn check_buckets(identity: &str, suffix: &str, number: f64, buckets: &mut HashMap<String, f64>) {
    let key = |text: &str| text.replace("_bucket", "").replace("_count", "");
    if suffix == "_bucket" {
        let (labels, bound) = identity.rsplit_once("le=\"").unwrap();
        let labels = labels.trim_end_matches([',', '{']);
        let before = buckets.insert(key(labels), number).unwrap_or(0.0);
        assert!(number >= before, "{identity} is below the bucket before");
        assert!(bound == "+Inf\"}" || bound[..bound.len() - 2].parse::<f64>().is_ok());
    }
    if suffix == "_count" {
        let labels = key(identity.trim_end_matches('}'));
        assert_eq!(
            buckets.get(&labels),
            Some(&number),
            "{identity} equals +Inf"
        );
    }
}

fn is_name(name: &str) -> bool {
    let starts_right = name.starts_with(|first: char| first.is_ascii_lowercase());
    starts_right
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[test]
fn everything_we_expose_is_well_formed() {
    let registry = Registry::new(BuildInfo {
        version: "1",
        revision: "",
    });
    let metrics = registry.worker();
    for route in ["", "api", "we\"ird\\na\nme"] {
        let series = metrics.request_series("web", route, "main");
        series.record(Method::Get, 200, 1_234);
        series.record(Method::Post, 503, 99_999_999);
    }
    for backend in ["a", "b"] {
        metrics.backend_series("main", backend).record(1);
    }
    metrics.listener_series("web").opened();
    metrics.listener_series("other").opened();
    registry.config_reloaded(true);
    let families = registry.families();
    for format in [Format::Prometheus, Format::OpenMetrics] {
        check_grammar(&encode(&families, format), format);
    }
    let names: Vec<&str> = families.iter().map(|family| family.name).collect();
    for name in [
        "balance_http_requests",
        "balance_http_request_duration_seconds",
        "balance_active_connections",
        "balance_busy_connections",
        "balance_connections",
        "balance_backend_requests",
        "balance_backend_request_duration_seconds",
        "balance_backend_retries",
        "balance_bytes_received",
        "balance_bytes_sent",
        "balance_exchange_cause",
        "balance_config_reloads",
        "balance_config_last_reload_successful",
        "balance_build",
        "process_cpu_seconds",
        "process_resident_memory_bytes",
    ] {
        assert!(names.contains(&name), "{name} is missing");
    }
}
