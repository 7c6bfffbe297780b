//! What is counted and logged of a request.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;

use balance_core::{Cause, Method};
use balance_telemetry::{
    AccessLog, AccessLogOptions, AccessRecord, BuildInfo, LogFormat, LogTarget, PhaseTimes,
    Registry,
};

use crate::operation::{Operation, repeat};

pub(crate) fn operations() -> Vec<Operation> {
    let mut all = vec![
        Operation::new("telemetry/histogram-and-counter", || {
            let series = registry().worker().request_series("web", "api", "main");
            let mut duration_us = 0;
            repeat(move || {
                duration_us = (duration_us + 37) % 100_000;
                black_box(&series).record(Method::Get, 200, duration_us);
            })
        }),
        Operation::new("telemetry/scrape-1,000-series", || {
            let registry = registry();
            let metrics = registry.worker();
            let series: Vec<_> = (0..1_000)
                .map(|n| metrics.request_series("web", &format!("route-{n}"), "main"))
                .collect();
            series
                .iter()
                .for_each(|one| one.record(Method::Get, 200, 100));
            repeat(move || {
                black_box(&series);
                black_box(registry.families());
            })
        }),
    ];
    for (name, format) in [("text", LogFormat::Text), ("json", LogFormat::Json)] {
        all.push(Operation::new(
            format!("telemetry/access-log/{name}"),
            move || {
                let log = access_log(format);
                let worker = log.worker();
                repeat(move || {
                    black_box(&log);
                    worker.record(&record(128));
                })
            },
        ));
    }
    all
}

pub(crate) fn registry() -> Arc<Registry> {
    Registry::new(BuildInfo {
        version: "1",
        revision: "",
    })
}

/// To nowhere, so that its writer keeps up and what is measured is the worker's part.
pub(crate) fn access_log(format: LogFormat) -> AccessLog {
    let target = LogTarget::File("/dev/null".into());
    AccessLog::spawn(AccessLogOptions { target, format }, registry()).unwrap()
}

pub(crate) fn record(bytes_out: u64) -> AccessRecord<'static> {
    AccessRecord {
        ts_ms: 1_795_496_069_123,
        request_id: b"0123456789abcdef0123456789abcdef",
        trace_id: b"",
        client: Some(Ipv4Addr::LOCALHOST.into()),
        listener: "web",
        route: "api",
        pool: "main",
        backend: "a",
        method: b"GET",
        host: b"www.example.com",
        path: b"/api/v1/service-7/users/42?tab=activity",
        protocol: "HTTP/1.1",
        status: 200,
        cause: Cause::Completed,
        bytes_in: 0,
        bytes_out,
        duration_us: 345,
        phases: PhaseTimes::default(),
        attempts: 1,
        user_agent: b"Mozilla/5.0 (X11; Linux x86_64)",
        referer: b"",
    }
}
