//! The command line and the life of the process: starting, refusing to start, reloading in all three ways,
//! draining, and what the admin API says meanwhile.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};

use balance_testkit::{Origin, PATIENCE, Process, RawClient, Response, Script, Signal, TempDir};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_balance");

/// One listener over one backend, with an admin listener; everything on free ports.
fn config(backend: SocketAddr, more: &str) -> String {
    format!(
        "version: 2\n\
         performance: {{ worker_threads: 1 }}\n\
         shutdown: {{ delay: 0, limit: 5s }}\n\
         listeners:\n\
         - {{ name: web, listen: '127.0.0.1:0', mode: http, pool: p }}\n\
         pools:\n  p: {{ backends: [ {{ name: a, address: '{backend}' }} ] }}\n\
         admin: {{ listen: '127.0.0.1:0' }}\n{more}"
    )
}

fn origin(name: &'static str) -> Origin {
    Origin::answering(Script::ok(name))
}

fn get(address: SocketAddr, path: &str) -> Response {
    let mut client = RawClient::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    client.exchange(request).unwrap()
}

fn post(address: SocketAddr, path: &str) -> Response {
    let mut client = RawClient::connect(address).unwrap();
    let request = format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
    client.exchange(request).unwrap()
}

fn json(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

/// Runs a command to its end. `runtime` is where it looks for admin sockets.
fn balance(args: &[&str], runtime: &Path) -> Output {
    Command::new(BINARY)
        .args(args)
        .env("XDG_RUNTIME_DIR", runtime)
        .env_remove("RUNTIME_DIRECTORY")
        .env_remove("BALANCE_CONFIG")
        .current_dir(runtime)
        .output()
        .unwrap()
}

/// A command about a running process.
fn ask(process: &Process, command: &str) -> Output {
    let config = process.config_path();
    balance(
        &[command, "-c", config.to_str().unwrap()],
        process.directory(),
    )
}

#[track_caller]
fn check_output(output: &Output, code: i32, parts: &[&str]) {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{text}");
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
    assert!(!text.contains("panic"), "{text}");
}

#[test]
fn a_reload_works_by_signal_by_command_and_by_the_admin_api() {
    let origins = ["one", "two", "three", "four"].map(origin);
    let process = Process::start(BINARY, &config(origins[0].addr(), "")).unwrap();
    let (web, admin) = (process.listener("web"), process.listener("admin"));
    assert_eq!(get(web, "/").text(), "one");

    process
        .write_config(&config(origins[1].addr(), ""))
        .unwrap();
    assert_eq!(
        get(web, "/").text(),
        "one",
        "the file alone changes nothing"
    );
    process.signal(Signal::Hangup).unwrap();
    process.wait_for_stderr(|line| line.contains("was reloaded"));
    assert_eq!(get(web, "/").text(), "two");

    process
        .write_config(&config(origins[2].addr(), ""))
        .unwrap();
    let output = ask(&process, "reload");
    check_output(&output, 0, &["is in use", "backends +p/a (127.0.0.1:"]);
    assert_eq!(get(web, "/").text(), "three");

    process
        .write_config(&config(origins[3].addr(), ""))
        .unwrap();
    let response = post(admin, "/reload");
    assert_eq!(response.status, 200, "{}", response.text());
    let summary = json(&response);
    assert_eq!(summary["generation"], 4);
    assert_eq!(summary["listeners"]["kept"], 1);
    assert_eq!(summary["backends"]["added"].as_array().unwrap().len(), 1);
    assert_eq!(get(web, "/").text(), "four");
    let metrics = get(admin, "/metrics").text();
    assert!(
        metrics.contains("balance_config_reloads_total{result=\"success\"} 3"),
        "{metrics}"
    );
}

#[test]
fn a_failed_reload_says_why_and_changes_nothing() {
    let origin = origin("old");
    let process = Process::start(BINARY, &config(origin.addr(), "")).unwrap();
    let (web, admin) = (process.listener("web"), process.listener("admin"));

    process
        .write_config("version: 2\nlisteners: 3\nnonsense: 1\n")
        .unwrap();
    check_output(
        &ask(&process, "reload"),
        1,
        &[":2:", ":3:1: error:", "the old configuration stays"],
    );
    let response = post(admin, "/reload");
    assert_eq!(response.status, 422);
    let problems = json(&response)["problems"].as_array().unwrap().clone();
    assert!(problems.len() >= 2, "{problems:?}");
    assert!(
        problems
            .iter()
            .any(|one| one["line"] == 3 && one["column"] == 1),
        "{problems:?}"
    );
    process.signal(Signal::Hangup).unwrap();
    process.wait_for_stderr(|line| line.contains("was not reloaded"));

    assert_eq!(get(web, "/").text(), "old");
    let metrics = get(admin, "/metrics").text();
    assert!(
        metrics.contains("balance_config_last_reload_successful 0"),
        "{metrics}"
    );
    assert!(
        metrics.contains("balance_config_reloads_total{result=\"failure\"} 3"),
        "{metrics}"
    );
    assert_eq!(json(&get(admin, "/status"))["config"]["generation"], 1);
}

#[test]
fn listeners_come_and_go_with_reloads() {
    let origin = origin("here");
    let process = Process::start(BINARY, &config(origin.addr(), "")).unwrap();
    let (web, admin) = (process.listener("web"), process.listener("admin"));
    let kept = RawClient::connect(web).unwrap();

    let second = config(origin.addr(), "").replace(
        "pools:",
        "- { name: more, listen: '127.0.0.2:0', mode: http, pool: p }\npools:",
    );
    process.write_config(&second).unwrap();
    assert_eq!(post(admin, "/reload").status, 200);
    let more = process.listener("more");
    assert_eq!(get(more, "/").text(), "here");
    assert_eq!(get(web, "/").text(), "here");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let third = second.replace("127.0.0.2:0", &taken.local_addr().unwrap().to_string());
    process.write_config(&third).unwrap();
    let response = post(admin, "/reload");
    assert_eq!(response.status, 422);
    assert!(response.text().contains("is in use"), "{}", response.text());
    assert_eq!(get(more, "/").text(), "here");

    process.write_config(&config(origin.addr(), "")).unwrap();
    assert_eq!(post(admin, "/reload").status, 200);
    wait_until(
        || RawClient::connect(more).is_err(),
        "the removed listener is closed",
    );
    drop(kept);
    assert_eq!(get(web, "/").text(), "here");
}

#[track_caller]
fn wait_until(mut is_reached: impl FnMut() -> bool, what: &str) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !is_reached() {
        assert!(std::time::Instant::now() < deadline, "not in time: {what}");
        balance_testkit::pause(std::time::Duration::from_millis(5));
    }
}

#[test]
fn the_admin_address_moves_with_a_reload() {
    let origin = origin("here");
    let process = Process::start(BINARY, &config(origin.addr(), "")).unwrap();
    let admin = process.listener("admin");
    let moved = config(origin.addr(), "metrics: { listen: '127.0.0.4:0' }\n").replace(
        "admin: { listen: '127.0.0.1:0' }",
        "admin: { listen: '127.0.0.3:0' }",
    );
    process.write_config(&moved).unwrap();
    check_output(&ask(&process, "reload"), 0, &["is in use"]);
    process.wait_for_stderr(|line| line.contains("name=metrics "));
    wait_until(
        || RawClient::connect(admin).is_err(),
        "the old admin address is closed",
    );
    let (admin, metrics) = (process.listener("admin"), process.listener("metrics"));
    assert_eq!(get(admin, "/pools").status, 200);
    assert_eq!(get(metrics, "/metrics").status, 200);
    assert_eq!(get(metrics, "/pools").status, 404);
}

#[test]
fn the_admin_api_shows_what_runs() {
    let origin = origin("here");
    let routes =
        "routes:\n- { name: hi, match: { path: /hi }, respond: { status: 200, body: hi } }\n";
    let process = Process::start(BINARY, &config(origin.addr(), routes)).unwrap();
    let (web, admin) = (process.listener("web"), process.listener("admin"));
    assert_eq!(get(web, "/hi").text(), "hi");
    for path in ["/health", "/healthz", "/ready", "/readyz"] {
        assert_eq!(get(admin, path).status, 200, "{path}");
    }
    let version = json(&get(admin, "/version"));
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    let pools = json(&get(admin, "/pools"));
    let backend = &pools["pools"][0]["backends"][0];
    assert_eq!(backend["name"], "a");
    assert_eq!(backend["state"], "pickable");
    assert_eq!(backend["resolved"][0], origin.addr().to_string());
    let routes = json(&get(admin, "/routes"));
    assert_eq!(routes["routes"][0]["action"], "respond 200");
    let status = json(&get(admin, "/status"));
    assert_eq!(status["phase"], "ready");
    assert_eq!(status["listeners"][0]["address"], web.to_string());
    assert_eq!(json(&get(admin, "/config"))["settings"]["version"], 2);
    check_output(&ask(&process, "health"), 0, &["healthy"]);
}

#[test]
fn a_stop_fails_readiness_first_and_finishes_what_is_in_flight() {
    let origin = origin("here");
    let slow = config(origin.addr(), "").replace("delay: 0", "delay: 2s");
    let mut process = Process::start(BINARY, &slow).unwrap();
    let (web, admin) = (process.listener("web"), process.listener("admin"));
    assert_eq!(get(admin, "/ready").status, 200);

    process.signal(Signal::Terminate).unwrap();
    process.wait_for_stderr(|line| line.contains("draining"));
    assert_eq!(get(admin, "/ready").status, 503);
    assert_eq!(get(admin, "/health").status, 200);
    assert_eq!(
        get(web, "/").text(),
        "here",
        "still accepting during the delay"
    );
    let config = process.config_path();
    let config = config.to_str().unwrap();
    let not_ready = balance(&["health", "--ready", "-c", config], process.directory());
    check_output(&not_ready, 1, &["not ready"]);

    let status = process.wait_for_exit(PATIENCE);
    assert_eq!(status.code(), Some(0), "{}", process.stderr());
    assert!(RawClient::connect(web).is_err());
    let sockets = std::fs::read_dir(process.directory().join("balance")).unwrap();
    assert_eq!(sockets.count(), 0, "the admin socket is removed");
    check_output(
        &balance(&["health", "-c", config], process.directory()),
        1,
        &["no Balance runs"],
    );
}

#[test]
fn a_second_signal_stops_at_once() {
    let origin = origin("here");
    let slow = config(origin.addr(), "").replace("delay: 0", "delay: 1h");
    let mut process = Process::start(BINARY, &slow).unwrap();
    let web = process.listener("web");
    let mut open = RawClient::connect(web).unwrap();
    assert_eq!(
        open.exchange("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
            .unwrap()
            .status,
        200
    );
    process.signal(Signal::Interrupt).unwrap();
    process.wait_for_stderr(|line| line.contains("draining"));
    process.signal(Signal::Interrupt).unwrap();
    let status = process.wait_for_exit(PATIENCE);
    assert_eq!(status.code(), Some(0), "{}", process.stderr());
}

#[test]
fn a_drain_ends_at_its_limit() {
    let origin = Origin::answering(Script::never());
    let short = config(origin.addr(), "").replace("limit: 5s", "limit: 300ms");
    let mut process = Process::start(BINARY, &short).unwrap();
    let mut hanging = RawClient::connect(process.listener("web")).unwrap();
    hanging.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    origin.wait_for(1);
    assert_eq!(process.terminate().code(), Some(0), "{}", process.stderr());
    assert!(process.stderr().contains("cut off"), "{}", process.stderr());
}

#[test]
fn what_keeps_it_from_starting_is_said_in_one_line() {
    let folder = TempDir::new("start").unwrap();
    let run = |config: &str| {
        let file = folder.write("balance.yaml", config).unwrap();
        balance(&["-c", file.to_str().unwrap()], folder.path())
    };
    let backend = SocketAddr::from(([127, 0, 0, 1], 9));

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let in_use = config(backend, "").replacen("127.0.0.1:0", &taken, 1);
    check_output(
        &run(&in_use),
        1,
        &[":5:", "error:", &taken, "is in use by another process"],
    );

    check_output(
        &run("listen: [\n"),
        1,
        &["balance.yaml:", "error:", "not started"],
    );
    check_output(
        &run("version: 2\nbogus: 1\n"),
        1,
        &[":2:1: error:", "bogus"],
    );
    let elsewhere = config(backend, "").replacen("127.0.0.1:0", "192.0.2.1:8080", 1);
    check_output(&run(&elsewhere), 1, &["not an address of this machine"]);

    let missing = balance(&["-c", "missing.yaml"], folder.path());
    check_output(&missing, 1, &["missing.yaml: error:", "No such file"]);
    let directory = balance(&["-c", "."], folder.path());
    check_output(&directory, 1, &["it is a folder"]);
    let empty = TempDir::new("empty").unwrap();
    check_output(
        &balance(&[], empty.path()),
        2,
        &["no configuration", "balance demo"],
    );
}

#[test]
fn a_second_balance_does_not_share_the_port() {
    let origin = origin("here");
    let first = Process::start(BINARY, &config(origin.addr(), "")).unwrap();
    let web = first.listener("web").to_string();
    let folder = TempDir::new("second").unwrap();
    let second = config(origin.addr(), "").replacen("127.0.0.1:0", &web, 1);
    let file = folder.write("balance.yaml", second).unwrap();
    let output = balance(&["run", "-c", file.to_str().unwrap()], folder.path());
    check_output(&output, 1, &[&web, "is in use by another process"]);
    assert_eq!(get(first.listener("web"), "/").text(), "here");
}

#[test]
fn check_tells_valid_from_invalid() {
    let folder = TempDir::new("check").unwrap();
    let backend = SocketAddr::from(([127, 0, 0, 1], 9));
    let good = folder.write("good.yaml", config(backend, "")).unwrap();
    let bad = config(
        backend,
        "routes:\n- { name: r, match: { path: / }, pool: q }\n",
    );
    let bad = folder.write("bad.yaml", bad).unwrap();
    let (good, bad) = (good.to_str().unwrap(), bad.to_str().unwrap());

    check_output(&balance(&["check", good], folder.path()), 0, &["is valid"]);
    check_output(
        &balance(&["check", "-c", bad], folder.path()),
        1,
        &["bad.yaml:", "is not valid"],
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
}

#[test]
fn the_originals_command_line_works() {
    let folder = TempDir::new("original").unwrap();
    let backend = SocketAddr::from(([127, 0, 0, 1], 9));
    let file = folder.write("old.yaml", config(backend, "")).unwrap();
    let version = format!("balance {}", env!("CARGO_PKG_VERSION"));
    for args in [["-version"], ["--version"], ["version"]] {
        check_output(&balance(&args, folder.path()), 0, &[&version]);
    }
    let validator = folder.path().join("balance-validate");
    std::os::unix::fs::symlink(BINARY, &validator).unwrap();
    let output = Command::new(&validator)
        .arg(format!("-config={}", file.display()))
        .output();
    check_output(&output.unwrap(), 0, &["is valid"]);
    let profile = balance(
        &["-cpuprofile=cpu.prof", "-config", "old.yaml"],
        folder.path(),
    );
    check_output(&profile, 2, &["not supported yet"]);

    let mut process = Process::with_options(
        BINARY,
        &config(backend, ""),
        &balance_testkit::ProcessOptions {
            environment: vec![("BALANCE_LOG_LEVEL".to_owned(), "error".to_owned())],
            ..Default::default()
        },
    )
    .unwrap();
    process.listener("web");
    process.terminate();
    assert!(
        !process.stderr().contains("draining"),
        "{}",
        process.stderr()
    );
}
