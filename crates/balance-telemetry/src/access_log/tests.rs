//! The log with a real file and a real pipe.

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance_core::Cause;

use super::writer::BATCHES_MAX;
use super::{
    AccessLog, AccessLogOptions, AccessRecord, BATCH_BYTES, LogFormat, LogTarget, PhaseTimes,
    TimestampCache,
};
use crate::family::Value;
use crate::registry::{BuildInfo, Registry};

const DEADLINE: Duration = Duration::from_secs(10);

fn record() -> AccessRecord<'static> {
    AccessRecord {
        ts_ms: 1_795_496_069_123,
        request_id: b"req-1",
        trace_id: b"",
        client: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))),
        listener: "web",
        route: "api",
        pool: "main",
        backend: "a",
        method: b"GET",
        host: b"example.com",
        path: b"/x?q=\"1\"",
        protocol: "HTTP/1.1",
        status: 200,
        cause: Cause::Completed,
        bytes_in: 120,
        bytes_out: 4_567,
        duration_us: 1_234_567,
        phases: PhaseTimes {
            first_byte_us: Some(900),
            total_us: Some(1_000_001),
            ..PhaseTimes::default()
        },
        attempts: 1,
        user_agent: b"curl/8 \xff",
        referer: b"",
    }
}

fn scratch_path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("balance-log-{}-{name}", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

fn registry() -> Arc<Registry> {
    Registry::new(BuildInfo {
        version: "1",
        revision: "",
    })
}

fn dropped(registry: &Registry) -> u64 {
    let families = registry.families();
    let family = families
        .iter()
        .find(|family| family.name == "balance_access_log_lines_dropped");
    match family.unwrap().samples[0].value {
        Value::Integer(lines) => lines,
        _ => panic!("a counter"),
    }
}

fn open(path: &Path, registry: &Arc<Registry>) -> AccessLog {
    let target = LogTarget::File(path.to_owned());
    let options = AccessLogOptions {
        target,
        format: LogFormat::Json,
    };
    AccessLog::spawn(options, Arc::clone(registry)).unwrap()
}

#[test]
fn a_text_line() {
    let mut line = Vec::new();
    record().encode_text(&mut TimestampCache::default(), &mut line);
    assert_eq!(
        String::from_utf8(line).unwrap(),
        "192.0.2.7 - - [24/Nov/2026:04:54:29 +0000] \"GET /x?q=\\\"1\\\" HTTP/1.1\" 200 4567 \"-\" \
         \"curl/8 \\xff\" host=example.com listener=web route=api pool=main backend=a \
         cause=completed request_id=req-1 trace_id=- bytes_in=120 attempts=1 duration=1.234567 \
         wait=- connect=- tls=- first_byte=0.000900 total=1.000001\n"
    );
}

#[test]
fn a_json_line() {
    let mut line = Vec::new();
    record().encode_json(&mut TimestampCache::default(), &mut line);
    assert_eq!(
        String::from_utf8(line.clone()).unwrap(),
        "{\"ts\":\"2026-11-24T04:54:29.123Z\",\"request_id\":\"req-1\",\"trace_id\":\"\",\
         \"client\":\"192.0.2.7\",\"listener\":\"web\",\"route\":\"api\",\"pool\":\"main\",\
         \"backend\":\"a\",\"method\":\"GET\",\"host\":\"example.com\",\"path\":\"/x?q=\\\"1\\\"\",\
         \"protocol\":\"HTTP/1.1\",\"status\":200,\"cause\":\"completed\",\"bytes_in\":120,\
         \"bytes_out\":4567,\"duration\":1.234567,\"wait\":null,\"connect\":null,\"tls\":null,\
         \"first_byte\":0.000900,\"total\":1.000001,\"attempts\":1}\n"
    );
    let parsed: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(parsed["path"], "/x?q=\"1\"");
}

#[test]
fn hostile_fields_stay_on_their_line() {
    let hostile = b"\r\n\x1b]0;title\x07\"} \xc2\x9b \\";
    let record = AccessRecord {
        client: None,
        method: hostile,
        path: hostile,
        host: hostile,
        request_id: hostile,
        trace_id: hostile,
        user_agent: hostile,
        referer: hostile,
        ..record()
    };
    let (mut text, mut json) = (Vec::new(), Vec::new());
    record.encode_text(&mut TimestampCache::default(), &mut text);
    record.encode_json(&mut TimestampCache::default(), &mut json);
    for line in [text, json.clone()] {
        let (end, body) = line.split_last().unwrap();
        assert_eq!(*end, b'\n');
        assert!(body.iter().all(|byte| !byte.is_ascii_control()));
    }
    let parsed: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(parsed["client"], "unix:");
    assert_eq!(parsed["method"], String::from_utf8_lossy(hostile).as_ref());
}

#[test]
fn lines_reach_the_file_whole_and_in_order() {
    let path = scratch_path("order");
    let registry = registry();
    let log = open(&path, &registry);
    let worker = log.worker();
    for n in 0..3_000 {
        worker.record(&AccessRecord {
            bytes_in: n,
            ..record()
        });
        // The writer keeps up here: this is about order, not about speed.
        if n % 1_000 == 0 {
            assert!(log.flush(DEADLINE));
        }
    }
    worker.flush();
    assert!(log.flush(DEADLINE));
    let text = fs::read_to_string(&path).unwrap();
    let numbers = text.lines().map(|line| {
        let parsed: serde_json::Value = serde_json::from_str(line).expect("a whole line");
        parsed["bytes_in"].as_u64().unwrap()
    });
    assert!(numbers.eq(0..3_000));
    assert_eq!(dropped(&registry), 0);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o137,
        0,
        "not for others"
    );
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_full_buffer_goes_without_a_tick_and_a_dropped_worker_flushes() {
    let path = scratch_path("full");
    let log = open(&path, &registry());
    let worker = log.worker();
    let mut line = Vec::new();
    record().encode_json(&mut TimestampCache::default(), &mut line);
    for _ in 0..=BATCH_BYTES / line.len() {
        worker.record(&record());
    }
    assert!(log.flush(DEADLINE));
    assert!(fs::metadata(&path).unwrap().len() >= BATCH_BYTES as u64);
    let before = fs::metadata(&path).unwrap().len();
    worker.record(&record());
    drop(worker);
    assert!(log.flush(DEADLINE));
    assert_eq!(
        fs::metadata(&path).unwrap().len(),
        before + line.len() as u64
    );
    fs::remove_file(&path).unwrap();
}

#[test]
fn rotation() {
    let (path, rotated) = (scratch_path("rotate"), scratch_path("rotated"));
    let log = open(&path, &registry());
    let worker = log.worker();
    let write = || {
        worker.record(&record());
        worker.flush();
        assert!(log.flush(DEADLINE));
    };
    write();
    fs::rename(&path, &rotated).unwrap();
    write();
    assert_eq!(
        fs::read_to_string(&rotated).unwrap().lines().count(),
        2,
        "the old file, renamed"
    );
    log.reopen();
    write();
    assert_eq!(fs::read_to_string(&rotated).unwrap().lines().count(), 2);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
    // A directory in the way: the log goes on with what it has.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    log.reopen();
    write();
    fs::remove_dir(&path).unwrap();
    fs::remove_file(&rotated).unwrap();
}

#[test]
fn a_target_that_cannot_be_opened_is_an_error() {
    let path = PathBuf::from("/nonexistent/access.log");
    let options = AccessLogOptions {
        target: LogTarget::File(path),
        ..Default::default()
    };
    assert!(AccessLog::spawn(options, registry()).is_err());
}

#[test]
fn a_full_disk_loses_lines_and_counts_them() {
    let registry = registry();
    let log = open(Path::new("/dev/full"), &registry);
    let worker = log.worker();
    for _ in 0..10 {
        worker.record(&record());
        worker.flush();
    }
    assert!(log.flush(DEADLINE), "done with, if not written");
    assert_eq!(dropped(&registry), 10);
}

/// The log opens our pipe as a file; nobody reads it until the end.
#[test]
fn a_blocked_pipe_delays_nobody_and_every_line_is_accounted_for() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
    let registry = registry();
    let log = open(Path::new(&path), &registry);
    drop(writer);

    let worker = log.worker();
    let lines = 20 * BATCHES_MAX as u64 * 100;
    let started = Instant::now();
    for _ in 0..lines {
        worker.record(&record());
    }
    worker.flush();
    assert!(started.elapsed() < DEADLINE);
    assert!(
        !log.flush(Duration::from_millis(50)),
        "shutting down waits no longer than asked"
    );
    let lost = dropped(&registry);
    assert!(lost > 0, "the queue is bounded");

    drop((worker, log));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count() as u64 + lost, lines);
    assert!(
        text.lines()
            .all(|line| line.starts_with('{') && line.ends_with('}'))
    );
}
