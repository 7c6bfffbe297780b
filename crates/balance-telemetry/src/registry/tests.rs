//! Workers merged, and what is gone kept.

use std::sync::Arc;
use std::thread;

use balance_core::{Cause, Method, RetryReason, RetryRefusal};

use super::{BuildInfo, Registry};
use crate::family::{Samples, Value};
use crate::series::MirrorOutcome;
use crate::totals::RETIRED_SERIES_MAX;

fn registry() -> Arc<Registry> {
    let version = "1.2.3";
    Registry::new(BuildInfo {
        version,
        revision: "abc",
    })
}

/// The sum over all samples of `name` that have all of `labels`; `None` without any.
fn value(registry: &Registry, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
    let families = registry.families();
    let family = families.iter().find(|family| family.name == name)?;
    let wanted = |sample: &&crate::Sample| {
        labels.iter().all(|(key, value)| {
            sample
                .labels
                .iter()
                .any(|(own, text)| own == key && text == value)
        })
    };
    let numbers = family
        .samples
        .iter()
        .filter(wanted)
        .map(|sample| match &sample.value {
            Value::Integer(value) => *value,
            Value::Float(value) => *value as u64,
            Value::Histogram(totals) => totals.count(),
        });
    numbers.reduce(|sum, number| sum + number)
}

#[test]
fn workers_add_up() {
    let registry = registry();
    let workers = (1..=3).map(|n| {
        let registry = Arc::clone(&registry);
        thread::spawn(move || {
            let metrics = registry.worker();
            let requests = metrics.request_series("web", "api", "main");
            for _ in 0..n {
                requests.record(Method::Get, 200, 1_500);
            }
            requests.record(Method::Other, 404, 50);
            metrics.backend_series("main", "a").record(900);
            metrics.backend_series("main", "a").retried();
            metrics.backend_series("main", "b").connect_failed();
            metrics.backend_series("main", "b").tls_handshake(true);
            let mirror = metrics.mirror_series("api", "shadow");
            let outcomes = MirrorOutcome::ALL.into_iter();
            outcomes.for_each(|outcome| mirror.record(outcome));
            mirror.record(MirrorOutcome::SkippedLimit);
            let retries = metrics.retry_series("main");
            retries.granted(RetryReason::Reset);
            retries.refused(RetryRefusal::Budget);
            metrics.cause(Cause::Completed);
            metrics.bytes_received(10);
            metrics.bytes_sent(100);
            metrics.accept_error();
            metrics.panicked();
            // Alive while another thread scrapes.
            registry.families();
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.join().unwrap();
    }
    let check = |name, labels: &[(&str, &str)], expected| {
        assert_eq!(
            value(&registry, name, labels),
            Some(expected),
            "{name} {labels:?}"
        );
    };
    check(
        "balance_http_requests",
        &[("method", "GET"), ("status", "200")],
        6,
    );
    check(
        "balance_http_requests",
        &[("method", "other"), ("status", "404")],
        3,
    );
    check(
        "balance_http_requests",
        &[("listener", "web"), ("route", "api"), ("pool", "main")],
        9,
    );
    check(
        "balance_http_request_duration_seconds",
        &[("route", "api")],
        9,
    );
    check(
        "balance_backend_requests",
        &[("pool", "main"), ("backend", "a")],
        3,
    );
    check(
        "balance_backend_request_duration_seconds",
        &[("backend", "a")],
        3,
    );
    check("balance_backend_retries", &[("backend", "a")], 3);
    check("balance_backend_connect_failures", &[("backend", "b")], 3);
    let handshakes = "balance_backend_tls_handshakes";
    check(handshakes, &[("backend", "b"), ("resumed", "true")], 3);
    check(handshakes, &[("backend", "b"), ("resumed", "false")], 0);
    let copies = |outcome| [("route", "api"), ("pool", "shadow"), ("outcome", outcome)];
    check("balance_mirror_requests", &copies("sent"), 3);
    check("balance_mirror_requests", &copies("failed"), 3);
    check("balance_mirror_requests", &copies("skipped_limit"), 6);
    check("balance_mirror_requests", &copies("skipped_upgrade"), 3);
    let of_main = |reason| [("pool", "main"), ("reason", reason)];
    check("balance_retries", &of_main("reset"), 3);
    check("balance_retries", &of_main("timeout"), 0);
    check("balance_retries_refused", &of_main("budget"), 3);
    check("balance_retries_refused", &of_main("deadline"), 0);
    check("balance_exchange_cause", &[("cause", "completed")], 3);
    check("balance_exchange_cause", &[("cause", "no_route")], 0);
    check("balance_bytes_received", &[], 30);
    check("balance_bytes_sent", &[], 300);
    check("balance_accept_errors", &[], 3);
    check("balance_panics", &[], 3);
}

#[test]
fn the_same_names_are_the_same_series() {
    let registry = registry();
    let metrics = registry.worker();
    metrics
        .request_series("web", "api", "main")
        .record(Method::Get, 200, 1);
    let first = metrics.request_series("web", "api", "main");
    let second = metrics.request_series("web", "api", "main");
    first.record(Method::Get, 200, 1);
    second.record(Method::Get, 200, 1);
    assert_eq!(value(&registry, "balance_http_requests", &[]), Some(3));
}

#[test]
fn active_connections_are_those_not_closed() {
    let registry = registry();
    let metrics = registry.worker();
    let listener = metrics.listener_series("web");
    for _ in 0..5 {
        listener.opened();
    }
    listener.closed();
    for _ in 0..3 {
        listener.became_busy();
    }
    listener.became_idle();
    let labels = [("listener", "web")];
    assert_eq!(
        value(&registry, "balance_active_connections", &labels),
        Some(4)
    );
    assert_eq!(
        value(&registry, "balance_busy_connections", &labels),
        Some(2)
    );
    assert_eq!(value(&registry, "balance_connections", &labels), Some(5));
}

#[test]
fn counters_never_go_back_when_routes_and_workers_do() {
    let registry = registry();
    let name = "balance_http_requests";
    let mut expected = 0;
    for _ in 0..3 {
        let metrics = registry.worker();
        for _ in 0..2 {
            let series = metrics.request_series("web", "api", "main");
            series.record(Method::Get, 200, 1);
            metrics.bytes_sent(1);
            expected += 1;
            // Twice each time: what is retired once must not count again.
            assert_eq!(value(&registry, name, &[]), Some(expected), "in use");
            drop(series);
            assert_eq!(
                value(&registry, name, &[]),
                Some(expected),
                "the route is gone"
            );
            assert_eq!(value(&registry, name, &[]), Some(expected), "still");
        }
        drop(metrics);
        assert_eq!(
            value(&registry, name, &[]),
            Some(expected),
            "the worker is gone"
        );
        assert_eq!(value(&registry, "balance_bytes_sent", &[]), Some(expected));
        assert_eq!(
            value(&registry, "balance_bytes_sent", &[]),
            Some(expected),
            "still"
        );
    }
}

#[test]
fn a_handle_may_outlive_its_worker() {
    let registry = registry();
    let metrics = registry.worker();
    let series = metrics.request_series("web", "api", "main");
    metrics.bytes_sent(7);
    drop(metrics);
    for count in 1..=3 {
        series.record(Method::Get, 200, 1);
        assert_eq!(value(&registry, "balance_http_requests", &[]), Some(count));
        assert_eq!(value(&registry, "balance_bytes_sent", &[]), Some(7));
    }
}

#[test]
fn names_that_come_and_go_do_not_pile_up() {
    let registry = registry();
    let metrics = registry.worker();
    let kept = metrics.backend_series("main", "kept");
    kept.record(1);
    for generation in 0..3 {
        for n in 0..RETIRED_SERIES_MAX {
            metrics
                .backend_series("main", &format!("{generation}-{n:04}"))
                .record(1);
        }
        registry.families();
    }
    let families = registry.families();
    let name = "balance_backend_requests";
    let family = families.iter().find(|family| family.name == name).unwrap();
    assert_eq!(family.samples.len(), RETIRED_SERIES_MAX + 1);
    let latest = family
        .samples
        .iter()
        .filter(|sample| sample.labels[1].1.starts_with("2-"));
    assert_eq!(latest.count(), RETIRED_SERIES_MAX, "the eldest go first");
    assert_eq!(value(&registry, name, &[("backend", "kept")]), Some(1));
}

#[test]
fn reloads_and_collectors() {
    let registry = registry();
    registry.add_collector(|samples: &mut Samples| {
        samples.gauge(
            "balance_backend_healthy",
            "h",
            &[("pool", "p"), ("backend", "a")],
            1.0,
        );
    });
    assert_eq!(
        value(&registry, "balance_backend_healthy", &[("pool", "p")]),
        Some(1)
    );
    assert_eq!(
        value(&registry, "balance_config_last_reload_successful", &[]),
        Some(1)
    );
    registry.config_reloaded(true);
    registry.config_reloaded(false);
    registry.log_lines_dropped(5);
    assert_eq!(
        value(&registry, "balance_config_last_reload_successful", &[]),
        Some(0)
    );
    assert_eq!(
        value(
            &registry,
            "balance_config_reloads",
            &[("result", "failure")]
        ),
        Some(1)
    );
    assert_eq!(value(&registry, "balance_config_reloads", &[]), Some(2));
    assert_eq!(
        value(&registry, "balance_access_log_lines_dropped", &[]),
        Some(5)
    );
    assert_eq!(
        value(&registry, "balance_build", &[("version", "1.2.3")]),
        Some(1)
    );
}
