//! Measurements of servers that do well, badly, and not at all.

mod http2;
mod tls;

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use balance_testkit::{DeadBackend, Origin, Script, SilentAddress};

use super::load::{Outcome, Plan};
use super::report::Report;
use super::{HttpArgs, load, page};
use crate::amount::Amount;
use crate::{Backend, BackendOptions};

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: HttpArgs,
}

fn args(address: impl std::fmt::Display, options: &[&str]) -> HttpArgs {
    args_of(&format!("http://{address}/x"), options)
}

fn args_of(url: &str, options: &[&str]) -> HttpArgs {
    let line = ["http", url, "--connections", "4", "--duration", "200ms"];
    let line: Vec<&str> = line.iter().chain(options).copied().collect();
    // Only the last of an option that is given twice counts in a test's line.
    let command = <Line as clap::CommandFactory>::command().args_override_self(true);
    let matches = command.get_matches_from(line);
    <Line as clap::FromArgMatches>::from_arg_matches(&matches)
        .unwrap()
        .args
}

fn run(args: HttpArgs, plan: Plan) -> Report {
    let outcome = load::run(&plan, &AtomicBool::new(false), |_, _| {}).unwrap();
    Report {
        url: args.url,
        plan,
        outcome,
        target_cpu: None,
    }
}

fn measure(address: impl std::fmt::Display, options: &[&str]) -> Report {
    measure_url(&format!("http://{address}/x"), options)
}

fn measure_url(url: &str, options: &[&str]) -> Report {
    let args = args_of(url, options);
    let plan = args.plan().unwrap();
    run(args, plan)
}

/// So many requests, however long they take: what must be seen of each does not depend on the machine's speed.
fn measure_requests(address: impl std::fmt::Display, count: u64, options: &[&str]) -> Report {
    requests_to(&format!("http://{address}/x"), count, options)
}

fn requests_to(url: &str, count: u64, options: &[&str]) -> Report {
    let args = args_of(url, options);
    let plan = Plan {
        amount: Amount::Requests(count),
        ..args.plan().unwrap()
    };
    run(args, plan)
}

fn measure_count(address: impl std::fmt::Display, count: u64, options: &[&str]) -> Outcome {
    measure_requests(address, count, options).outcome
}

fn exit_code(report: &Report) -> String {
    format!("{:?}", report.exit_code())
}

fn code(number: u8) -> String {
    format!("{:?}", ExitCode::from(number))
}

#[test]
fn every_request_is_counted_once() {
    for threads in ["1", "3"] {
        let backend = Backend::start(&BackendOptions::default()).unwrap();
        let outcome = measure_count(backend.local_addr(), 1_000, &["--threads", threads]);
        assert_eq!((outcome.requests(), outcome.failures.total()), (1_000, 0));
        assert_eq!((backend.requests(), backend.connections()), (1_000, 4));
        assert_eq!(
            outcome.statuses.into_iter().collect::<Vec<_>>(),
            [(200, 1_000)]
        );
        assert!(outcome.bytes > 128 * 1_000);
    }
}

#[test]
fn every_request_can_have_its_own_connection() {
    // The second is a server that would keep it.
    for options in [&[][..], &["-H", "Connection: keep-alive"]] {
        let backend = Backend::start(&BackendOptions::default()).unwrap();
        let options = [&["--new-connections"], options].concat();
        let outcome = measure_count(backend.local_addr(), 100, &options);
        assert_eq!((outcome.requests(), outcome.failures.total()), (100, 0));
        assert_eq!(backend.connections(), 100, "{options:?}");
    }
}

#[test]
fn what_is_sent_is_what_was_asked_for() {
    let origin = Origin::answering(Script::echo());
    let body = "b".repeat(3_000_000);
    let options = ["--body", &body, "-H", "X-Test: 1", "--connections", "1"];
    let outcome = measure_count(origin.addr(), 2, &options);
    assert_eq!((outcome.requests(), outcome.failures.total()), (2, 0));
    let seen = origin.requests();
    assert_eq!(
        (seen[0].method.as_str(), seen[0].header("x-test")),
        ("POST", Some("1"))
    );
    assert_eq!(seen[1].text(), body);
    assert_eq!(origin.violations(), Vec::<String>::new());
}

#[test]
fn responses_of_every_framing_are_read() {
    for (name, script) in [
        ("chunked", Script::status(200).chunked(&[b"ab", b"c"])),
        ("until close", Script::status(200).until_close("abc")),
        (
            "closing",
            Script::ok("abc").then_close().header("Connection", "close"),
        ),
        ("interim", Script::ok("abc").interim(103, &[])),
        ("in pieces", Script::ok("abc").in_pieces_of(1)),
    ] {
        let origin = Origin::answering(script);
        let outcome = measure_count(origin.addr(), 8, &[]);
        assert_eq!(
            (outcome.requests(), outcome.failures.total()),
            (8, 0),
            "{name}"
        );
    }
    let origin = Origin::answering(Script::ok("abc").without_body());
    let outcome = measure_count(origin.addr(), 8, &["-X", "HEAD"]);
    assert_eq!((outcome.requests(), outcome.failures.total()), (8, 0));
}

/// Every kind of bad target: what it is called, and that it ends.
#[test]
fn bad_targets_are_counted_by_kind() {
    for (kind, script, exit) in [
        ("status", Script::status(500), 1),
        ("closed", Script::close(), 1),
        ("closed", Script::ok("abcdef").close_after_bytes(20), 1),
        ("reset", Script::reset(), 1),
        ("bad_response", Script::raw("SSH-2.0-x\r\n"), 1),
        (
            "bad_response",
            Script::raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab"),
            1,
        ),
        ("timed_out", Script::never(), 1),
    ] {
        let timeout = if kind == "timed_out" { "100ms" } else { "1h" };
        let closed = ["--timeout", timeout];
        let open = ["--timeout", timeout, "--rate", "100"];
        for options in [&closed[..], &open] {
            let origin = Origin::answering(script.clone());
            let report = measure_requests(origin.addr(), 8, options);
            let kinds: Vec<&str> = report
                .outcome
                .failures
                .counts()
                .map(|(kind, _)| kind.name())
                .collect();
            assert_eq!(kinds, [kind], "{options:?}");
            assert_eq!(report.outcome.failures.total(), 8, "{kind} {options:?}");
            assert_eq!(exit_code(&report), code(exit), "{kind} {options:?}");
            assert!(report.to_text().contains(kind), "{}", report.to_text());
        }
    }
}

#[test]
fn targets_that_are_not_there_are_counted_by_kind() {
    let gone = DeadBackend::new().unwrap();
    let report = measure_requests(gone.addr(), 8, &["--new-connections"]);
    assert!(report.to_text().contains("refused"), "{}", report.to_text());
    assert_eq!(exit_code(&report), code(1));
    let silent = SilentAddress::new();
    let report = measure_requests(silent.addr(), 8, &["--timeout", "100ms"]);
    assert!(
        report.to_text().contains("timed_out"),
        "{}",
        report.to_text()
    );
    assert_eq!(exit_code(&report), code(1));
    let error = args("no-such-host.invalid", &[]).plan().unwrap_err();
    assert!(
        error.to_string().contains("no-such-host.invalid"),
        "{error}"
    );
}

/// Stalls from a fifth of a second after its first request on, for a second.
fn stalling_origin() -> Origin {
    let first = std::sync::OnceLock::new();
    Origin::start(move |_| {
        let begin = *first.get_or_init(Instant::now) + Duration::from_millis(200);
        let end = begin + Duration::from_secs(1);
        let now = Instant::now();
        if now < begin {
            return Script::ok("");
        }
        Script::ok("").delay(end.saturating_duration_since(now))
    })
}

#[test]
fn a_stall_of_a_second_shows_in_open_loop() {
    let origin = stalling_origin();
    // Long enough behind the stall for a slow machine to catch up.
    let options = ["--rate", "500", "--duration", "2s"];
    let report = measure(origin.addr(), &options);
    let latency = report.outcome.timeline.latency();
    assert!(latency.count() > 500, "{}", report.to_text());
    // Those that were meant to begin first in the stall waited for nearly all of it.
    assert!(
        latency.quantile(0.999) > Duration::from_millis(950),
        "{}",
        report.to_text()
    );
    // And half of all fell into it: in closed loop, only four requests would have been slow.
    assert!(
        latency.quantile(0.75) > Duration::from_millis(100),
        "{}",
        report.to_text()
    );
}

#[test]
fn a_rate_that_is_not_reached_is_said() {
    let options = BackendOptions {
        delay: Duration::from_millis(50),
        ..Default::default()
    };
    let backend = Backend::start(&options).unwrap();
    let report = measure(backend.local_addr(), &["--rate", "1000"]);
    assert!(
        report.to_text().contains("rate was not reached"),
        "{}",
        report.to_text()
    );
    assert_eq!(exit_code(&report), code(3));
    assert_eq!(report.to_json()["limited_by"][0], "target");
}

#[test]
fn a_number_of_requests_ends_an_open_loop() {
    let backend = Backend::start(&BackendOptions::default()).unwrap();
    let outcome = measure_count(backend.local_addr(), 50, &["--rate", "1000"]);
    assert_eq!((outcome.requests(), outcome.begun), (50, 50));
    assert_eq!(backend.requests(), 50);
}

#[test]
fn stopping_keeps_what_there_is() {
    let backend = Backend::start(&BackendOptions::default()).unwrap();
    let plan = args(backend.local_addr(), &["--duration", "1h"])
        .plan()
        .unwrap();
    let stop = AtomicBool::new(false);
    let outcome = load::run(&plan, &stop, |completed, _| {
        stop.store(completed > 0, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(outcome.unwrap().requests() > 0);
}

#[test]
fn the_keys_of_the_json_are_fixed() {
    let backend = Backend::start(&BackendOptions::default()).unwrap();
    let json = measure_requests(backend.local_addr(), 100, &[]).to_json();
    for path in [
        "/requests_per_second",
        "/latency_us/p50",
        "/latency_us/p90",
        "/latency_us/p95",
        "/latency_us/p99",
        "/latency_us/p999",
        "/latency_us/max",
        "/errors",
        "/bytes_per_second",
        "/cpu_us_per_request",
        "/timeline/0/requests_per_second",
    ] {
        assert!(json.pointer(path).is_some(), "{path}: {json:#}");
    }
}

#[test]
fn the_page_has_its_charts_and_needs_nothing_else() {
    let backend = Backend::start(&BackendOptions::default()).unwrap();
    let html = page::render(&measure_requests(backend.local_addr(), 100, &[]));
    assert_eq!(html.matches("<svg").count(), 4);
    for outside in ["<script", "<link", "<img", "src=", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
}
