//! What runs once per request allocates nothing after its first use. Alone in its process, because the
//! allocator is the process's.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use balance_core::{Cause, Method};
use balance_telemetry::{
    AccessLog, AccessLogOptions, AccessRecord, BuildInfo, LogFormat, LogTarget, PhaseTimes,
    Registry,
};

/// Of this thread: the log's writer is not on the path.
fn allocations(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).count_total
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn metrics_allocate_nothing() {
    let registry = Registry::new(BuildInfo {
        version: "1",
        revision: "",
    });
    let metrics = registry.worker();
    let requests = metrics.request_series("web", "api", "main");
    let backend = metrics.backend_series("main", "a");
    let listener = metrics.listener_series("web");
    let record = |status| {
        listener.opened();
        requests.record(Method::Get, status, 123);
        requests.record(Method::Post, status, 45_678);
        backend.record(100);
        backend.retried();
        backend.connect_failed();
        metrics.cause(Cause::Completed);
        metrics.bytes_received(1);
        metrics.bytes_sent(1);
        listener.closed();
    };
    // New statuses neither, as long as the small table holds them.
    assert_eq!(allocations(|| (200..204).for_each(record)), 0);
}

#[test]
fn the_access_log_allocates_nothing_in_steady_state() {
    let registry = Registry::new(BuildInfo {
        version: "1",
        revision: "",
    });
    for format in [LogFormat::Text, LogFormat::Json] {
        let target = LogTarget::File("/dev/null".into());
        let options = AccessLogOptions { target, format };
        let log = AccessLog::spawn(options, Arc::clone(&registry)).expect("/dev/null opens");
        let worker = log.worker();
        let record = |n: u64| AccessRecord {
            ts_ms: 1_795_496_069_123 + n,
            request_id: b"0123456789abcdef",
            trace_id: b"",
            client: Some(Ipv4Addr::LOCALHOST.into()),
            listener: "web",
            route: "api",
            pool: "main",
            backend: "a",
            method: b"GET",
            host: b"example.com",
            path: b"/some/path?with=query",
            protocol: "HTTP/1.1",
            status: 200,
            cause: Cause::Completed,
            bytes_in: n,
            bytes_out: n,
            duration_us: n,
            phases: PhaseTimes::default(),
            attempts: 1,
            user_agent: b"agent",
            referer: b"",
        };
        let batch = || {
            (0..200).for_each(|n| worker.record(&record(n)));
            worker.flush();
            // So that the buffer is back before the next one is wanted.
            assert!(log.flush(Duration::from_secs(10)));
        };
        batch();
        assert_eq!(allocations(batch), 0, "{format:?}");
    }
}
