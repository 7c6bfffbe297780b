//! The command line: every command, the original's spelling, the environment, and the examples.

mod examples;

use std::net::SocketAddr;

use balance_testkit::{Origin, Process, ProcessOptions, Script, TempDir};
use serde_json::Value;

use crate::subject::{BINARY, Config, balance, check_output, command, dead_address, get, text_of};

#[test]
fn check_tells_valid_from_invalid() {
    let folder = TempDir::new("check").unwrap();
    let config = Config::http(&[dead_address()]);
    let good = folder.write("good.yaml", config.yaml()).unwrap();
    let bad = config.with("routes:\n- { name: r, match: { path: / }, pool: q }");
    let bad = folder.write("bad.yaml", bad.yaml()).unwrap();
    let (good, bad) = (good.to_str().unwrap(), bad.to_str().unwrap());

    check_output(&balance(&["check", good], folder.path()), 0, &["is valid"]);
    check_output(
        &balance(&["check", "-c", bad], folder.path()),
        1,
        &["bad.yaml:10:", "is not valid: 1 error"],
    );
    // With the line in question, its place underlined.
    check_output(
        &balance(&["check", bad], folder.path()),
        1,
        &[
            "error: there is no pool `q`\n",
            " ^\n",
            "= help: the pools are",
        ],
    );
    check_output(
        &balance(&["check", "--format", "xml", good], folder.path()),
        2,
        &["xml"],
    );

    let output = balance(&["check", "--format=json", bad], folder.path());
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["valid"], false);
    assert_eq!(report["problems"][0]["severity"], "error");
    assert_eq!(report["problems"][0]["line"], 10);
    let output = balance(&["check", "--format=json", good], folder.path());
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["valid"], true);
}

#[test]
fn check_changes_nothing_and_needs_no_free_port() {
    let origin = Origin::answering(Script::ok("here"));
    let folder = TempDir::new("check").unwrap();
    let log = folder.path().join("access.log");
    let process = Config::http(&[origin.addr()]).start();
    let config = Config {
        listen: process.listener("web").to_string(),
        ..Config::http(&[origin.addr()])
    }
    .with(&format!("logging: {{ access_log: '{}' }}", log.display()));
    let file = folder.write("balance.yaml", config.yaml()).unwrap();
    check_output(
        &balance(&["check", file.to_str().unwrap()], folder.path()),
        0,
        &["is valid"],
    );
    assert!(!log.exists(), "check creates no log");
}

#[test]
fn the_schema_and_the_reference_are_printed() {
    let folder = TempDir::new("schema").unwrap();
    let output = balance(&["schema"], folder.path());
    assert_eq!(output.status.code(), Some(0));
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(schema["$schema"].as_str().unwrap().contains("2020-12"));
    let reference = balance(&["schema", "--reference"], folder.path());
    let page = include_str!("../../../../docs/configuration.md");
    assert_eq!(String::from_utf8_lossy(&reference.stdout), page);
}

#[test]
fn exit_codes_tell_success_failure_and_nonsense() {
    let folder = TempDir::new("codes").unwrap();
    let file = folder
        .write("balance.yaml", Config::http(&[dead_address()]).yaml())
        .unwrap();
    let file = file.to_str().unwrap();
    let cases: [(&[&str], i32, &str); 14] = [
        (&["version"], 0, "balance 0."),
        (&["--help"], 0, "Usage:"),
        (&["help"], 0, "demo"),
        (&["check", file], 0, "is valid"),
        (&["check", "missing.yaml"], 1, "No such file"),
        (&["health", "-c", file], 1, "no Balance runs"),
        (&["reload", "-c", file], 1, "no Balance runs"),
        (&["run", "-c", "missing.yaml"], 1, "No such file"),
        (&["--nonsense"], 2, "--nonsense"),
        (&["nonsense"], 2, "nonsense"),
        (&["run", "-c"], 2, "--config"),
        (&["schema", "-c", file], 2, "reads no configuration"),
        (&["-c", file, "version"], 2, "reads no configuration"),
        (&["reload", "--timeout", "soon"], 2, "soon"),
    ];
    for (args, code, part) in cases {
        let output = balance(args, folder.path());
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}: {}",
            text_of(&output)
        );
        check_output(&output, code, &[part]);
    }
}

#[test]
fn the_originals_command_line_works() {
    let folder = TempDir::new("original").unwrap();
    let file = folder
        .write("old.yaml", Config::http(&[dead_address()]).yaml())
        .unwrap();
    let version = format!("balance {}", env!("CARGO_PKG_VERSION"));
    for args in [["-version"], ["--version"], ["version"]] {
        check_output(&balance(&args, folder.path()), 0, &[&version]);
    }
    let validator = folder.path().join("balance-validate");
    std::os::unix::fs::symlink(BINARY, &validator).unwrap();
    let with_equals = format!("-config={}", file.display());
    let validate = |args: &[&str]| command(&validator, args, folder.path()).output().unwrap();
    check_output(&validate(&[&with_equals]), 0, &["is valid"]);
    check_output(&validate(&["-config", "old.yaml"]), 0, &["is valid"]);
    check_output(&validate(&["-config", "missing.yaml"]), 1, &["not valid"]);
    // What they write is in the tests of profiling.
    let profile = balance(
        &["check", "-cpuprofile=cpu.prof", "old.yaml"],
        folder.path(),
    );
    check_output(&profile, 2, &["-cpuprofile", "`balance run`"]);
    let nowhere = ["-memprofile=/nowhere/mem.prof", "-config", "old.yaml"];
    check_output(&balance(&nowhere, folder.path()), 1, &["/nowhere/mem.prof"]);

    let run = command(BINARY, &[with_equals.as_str()], folder.path());
    let mut process = Process::spawn(run, TempDir::new("unused").unwrap()).unwrap();
    process.listener("web");
    assert_eq!(process.terminate().code(), Some(0));
}

fn with_environment(config: &str, variables: &[(&str, &str)]) -> Process {
    let environment = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let options = ProcessOptions {
        environment: environment.collect(),
        ..ProcessOptions::default()
    };
    Process::with_options(BINARY, config, &options).unwrap()
}

#[test]
fn the_environment_overrides_the_file() {
    let origin = Origin::answering(Script::ok("here"));
    let file = format!(
        "mode: tcp\nlisten: '127.0.0.1:1'\nbackends: ['{}']\nperformance: {{ worker_threads: 1 }}\n",
        origin.addr()
    );
    let mut process = with_environment(
        &file,
        &[
            ("BALANCE_LISTEN", "127.0.0.2:0"),
            ("BALANCE_MODE", "http"),
            ("BALANCE_LOG_LEVEL", "error"),
        ],
    );
    let main: SocketAddr = process.listener("main");
    assert_eq!(main.ip().to_string(), "127.0.0.2");
    let line = process.wait_for_stderr(|line| line.contains("name=main"));
    assert!(line.contains("mode=http"), "{line}");
    let response = get(main, "/");
    assert_eq!(response.text(), "here");
    assert!(origin.requests()[0].header("x-forwarded-for").is_some());
    process.terminate();
    let log = process.stderr();
    assert!(!log.contains("draining"), "{log}");

    let folder = TempDir::new("environment").unwrap();
    folder
        .write("named.yaml", Config::http(&[origin.addr()]).yaml())
        .unwrap();
    let mut check = command(BINARY, &["check"], folder.path());
    let output = check.env("BALANCE_CONFIG", "named.yaml").output().unwrap();
    check_output(&output, 0, &["named.yaml is valid"]);
    let mut check = command(BINARY, &["check", "-c", "named.yaml"], folder.path());
    let output = check.env("BALANCE_CONFIG", "other.yaml").output().unwrap();
    check_output(&output, 0, &["named.yaml is valid"]);

    for (name, value) in [
        ("BALANCE_MODE", "smtp"),
        ("BALANCE_LOG_LEVEL", "loud"),
        ("BALANCE_LISTEN", "x:y"),
    ] {
        let mut check = command(BINARY, &["check", "named.yaml"], folder.path());
        let output = check.env(name, value).output().unwrap();
        check_output(&output, 1, &[name, "error:"]);
    }
}
