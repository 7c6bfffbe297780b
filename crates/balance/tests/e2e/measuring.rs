//! `balance bench` as people run it: its exit codes, Ctrl-C, and the targets from start to end.

mod real_peers;

use std::net::SocketAddr;

use balance_testkit::{Origin, PATIENCE, Process, Script, Signal, TempDir, at_some_pace};
use serde_json::Value;

use crate::programs::is_here;
use crate::subject::{BINARY, balance, check_output, command, dead_address};

fn url(address: SocketAddr) -> String {
    format!("http://{address}/")
}

#[test]
fn exit_codes_tell_measured_failed_and_nonsense() {
    let folder = TempDir::new("bench").unwrap();
    let well = Origin::answering(Script::ok("well"));
    let sick = Origin::answering(Script::status(500));
    let (well, sick, dead) = (url(well.addr()), url(sick.addr()), url(dead_address()));
    let cases: [(&[&str], i32, &str); 9] = [
        (
            &["http", &well, "--requests", "50"],
            0,
            "status            200: 50",
        ),
        (&["http", &sick, "--requests", "50"], 1, "50 status"),
        (&["http", &dead, "--requests", "5"], 1, "refused"),
        (
            &["http", "http://no-such-host.invalid/"],
            2,
            "no-such-host.invalid",
        ),
        (&["http", &well, "--insecure"], 2, "https://"),
        (&["http", &well, "--streams", "2"], 2, "--h2"),
        (
            &[
                "latency",
                "--url",
                &well,
                "--requests",
                "50",
                "-target-p99=1h",
            ],
            0,
            "PASS",
        ),
        (&["latency", "--url", &dead, "--requests", "5"], 1, "FAIL"),
        (
            &["compare", "missing.json", "missing.json"],
            2,
            "missing.json",
        ),
    ];
    for (args, code, part) in cases {
        let output = balance(&[&["bench"], args].concat(), folder.path());
        check_output(&output, code, &[part]);
    }
}

#[test]
fn results_of_two_runs_can_be_compared() {
    let folder = TempDir::new("bench").unwrap();
    let origin = Origin::answering(Script::ok("well"));
    let url = url(origin.addr());
    for file in ["old.json", "new.json"] {
        let args = ["bench", "http", &url, "--requests", "50", "--json", file];
        check_output(
            &balance(&args, folder.path()),
            0,
            &["errors            none"],
        );
    }
    let args = [
        "bench",
        "compare",
        "old.json",
        "new.json",
        "--threshold",
        "1000%",
    ];
    let expected = [
        "requests_per_second",
        "latency_us.p99",
        "not tested",
        "0 of",
    ];
    check_output(&balance(&args, folder.path()), 0, &expected);
}

#[test]
fn ctrl_c_prints_the_results_so_far() {
    let folder = TempDir::new("bench").unwrap();
    let origin = Origin::answering(Script::ok("well"));
    let url = url(origin.addr());
    let options = ["--connections", "2", "--duration", "1h"];
    let args = [&["bench", "http", &url], &options[..]].concat();
    let command = command(BINARY, &args, folder.path());
    let mut process = Process::spawn(command, folder).unwrap();
    // More than can be waited for at once: some have been answered.
    origin.wait_for(10);
    process.signal(Signal::Interrupt).unwrap();
    let status = process.wait_for_exit(PATIENCE);
    assert_eq!(status.code(), Some(0), "{}", process.stderr());
    assert!(
        process.stdout().contains("latency p99"),
        "{}",
        process.stdout()
    );
}

#[test]
fn the_targets_are_measured_from_start_to_end() {
    at_some_pace(|pace| {
        if std::thread::available_parallelism().is_ok_and(|cores| cores.get() < 2) {
            return; // a core for the proxy and one for the rest is what it asks for
        }
        let duration = format!("{:?}", pace.ms(500));
        let folder = TempDir::new("bench").unwrap();
        let output = balance(
            &[
                "bench",
                "targets",
                "--duration",
                &duration,
                "--rounds",
                "1",
                "--connections",
                "10",
                "--idle",
                "50",
                "--json",
                "targets.json",
            ],
            folder.path(),
        );
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 1 | 3)), "{output:?}");
        let json = std::fs::read(folder.path().join("targets.json")).unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        let targets = json["targets"].as_array().unwrap();
        assert_eq!(targets.len(), 4, "{json:#}");
        assert!(targets[0]["measured"].as_f64().unwrap() > 0.0, "{json:#}");
        for target in &targets[..2] {
            let note = target["note"].as_str().unwrap();
            assert!(!note.contains("errors"), "{json:#}");
        }
        assert_eq!(targets[2]["verdict"], "PASS", "{json:#}");
        assert_eq!(targets[2]["measured"].as_f64(), Some(50.0), "{json:#}");
        assert_eq!(targets[3]["verdict"], "PASS", "{json:#}");
    });
}

/// The limit of this process alone: the origin has enough.
#[test]
fn descriptors_that_run_out_are_counted_and_named() {
    if !is_here("prlimit") {
        return;
    }
    let folder = TempDir::new("bench").unwrap();
    let origin = Origin::answering(Script::ok("well"));
    let url = url(origin.addr());
    let options = ["--connections", "100", "--requests", "300"];
    let limited = ["--nofile=40:40", BINARY, "bench", "http", &url];
    let args = [&limited[..], &options].concat();
    let output = command("prlimit", &args, folder.path()).output().unwrap();
    check_output(
        &output,
        3,
        &["descriptors_exhausted", "raise `ulimit -n`", "200: "],
    );
}

/// A result that nobody can find is no result.
#[test]
fn a_file_that_cannot_be_written_is_said() {
    let folder = TempDir::new("bench").unwrap();
    let origin = Origin::answering(Script::ok("well"));
    let url = url(origin.addr());
    let args = [
        "bench",
        "http",
        &url,
        "--requests",
        "5",
        "--html",
        "no/such/folder",
    ];
    let output = balance(&args, folder.path());
    check_output(&output, 2, &["cannot write no/such/folder"]);
}
