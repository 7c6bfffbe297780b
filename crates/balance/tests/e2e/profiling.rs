//! Profiles of the process under load, live and of the whole run, opened with the tool that people use.

use std::path::{Path, PathBuf};

use balance_testkit::{
    Origin, PATIENCE, Process, ProcessOptions, RawClient, Script, Signal, TempDir,
};

use crate::programs::{Wrk, is_here, run};
use crate::subject::{BINARY, Config, ask, check_output, get, reload, run_to_its_end, wait_until};

/// Not the admin's address: equal ones are one listener, also where the port is 0.
const PROFILING: &str = "profiling: { http_addr: '127.0.0.2:0' }";

fn profiling(origin: &Origin) -> Config {
    Config::http(&[origin.addr()]).with(PROFILING)
}

/// What `go tool pprof` says about a file, the functions one a line.
fn top(file: &Path, more: &[&str]) -> String {
    let file = file.to_str().unwrap();
    let args = [&["tool", "pprof", "-top", "-nodecount=500"], more, &[file]];
    run("go", &args.concat())
}

/// A profile of the running process, as a file.
fn fetch(process: &Process, page: &str) -> PathBuf {
    let response = get(
        process.listener("profiling"),
        &format!("/debug/pprof/{page}"),
    );
    assert_eq!(response.status, 200, "{}", response.text());
    let file = process.directory().join("fetched.pb.gz");
    std::fs::write(&file, &response.body).unwrap();
    file
}

/// As often as `BALANCE_PROFILES` says; ci/long says 100.
#[test]
fn cpu_profiles_under_load_name_the_functions_of_the_data_path() {
    if !is_here("go") || !is_here("wrk") {
        return;
    }
    let rounds = std::env::var("BALANCE_PROFILES").map_or(2, |rounds| rounds.parse().unwrap());
    let origin = Origin::answering(Script::ok("here"));
    let process = profiling(&origin).start();
    let wrk = Wrk::start(process.listener("web"), "/", 32);
    for _ in 0..rounds {
        let file = fetch(&process, "profile?seconds=1");
        // Inlining differs by build; what the worker's runtime polls is there in all of them.
        let functions = top(&file, &["-sample_index=samples", "-cum"]);
        assert!(functions.contains("balance_proxy::"), "{functions}");
        let workers = top(&file, &["-tagfocus=worker-0"]);
        assert!(workers.contains("balance_proxy::"), "{workers}");
    }
    wrk.finish_without_errors();
}

#[test]
fn there_is_one_live_cpu_profile_at_a_time_and_a_caller_who_leaves_ends_it() {
    let origin = Origin::answering(Script::ok("here"));
    let process = profiling(&origin).start();
    let address = process.listener("profiling");
    let mut first = RawClient::connect(address).unwrap();
    first
        .send("GET /debug/pprof/profile?seconds=200 HTTP/1.1\r\nHost: t\r\n\r\n")
        .unwrap();
    let short = "/debug/pprof/profile?seconds=1";
    wait_until(
        || get(address, short).status == 409,
        "the first one is running",
    );
    drop(first);
    wait_until(
        || get(address, short).status == 200,
        "the first one has ended",
    );
    assert_eq!(get(address, "/debug/pprof/profile?seconds=241").status, 400);
}

#[test]
fn heap_and_tasks_are_shown() {
    let origin = Origin::answering(Script::ok("here"));
    let process = profiling(&origin).start();
    assert_eq!(get(process.listener("web"), "/").text(), "here");
    let address = process.listener("profiling");
    assert!(get(address, "/debug/pprof/").text().contains("heap"));
    let text = get(address, "/debug/pprof/goroutine?debug=1").text();
    for part in [
        "tasks / worker-0",
        "connections / from clients / busy / web",
        "/ worker-0",
    ] {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
    // Not on the address of the admin API.
    assert_eq!(
        get(process.listener("admin"), "/debug/pprof/heap").status,
        404
    );
    if !is_here("go") {
        return;
    }
    let heap = top(&fetch(&process, "heap"), &["-sample_index=inuse_space"]);
    assert!(heap.contains("inuse_space"), "{heap}");
    let tasks = top(&fetch(&process, "tasks"), &[]);
    assert!(tasks.contains("worker-0"), "{tasks}");
}

#[test]
fn connections_that_wait_and_those_that_work_are_told_apart() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/held" => Script::never(),
        _ => Script::ok("here"),
    });
    let process = profiling(&origin).start();
    let shows = |busy: usize, idle: usize| {
        let pages = get(process.listener("profiling"), "/debug/pprof/tasks?debug=1");
        let count = |state| {
            let row = format!("connections / from clients / {state} / web");
            let text = pages.text();
            let line = text.lines().find_map(|line| line.strip_suffix(&row));
            line.map(|count| count.trim().parse::<usize>().unwrap())
        };
        (count("busy"), count("idle")) == (Some(busy), Some(idle))
    };
    let connect = || RawClient::connect(process.listener("web")).unwrap();
    let request = |path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut waiting = [connect(), connect(), connect()];
    wait_until(|| shows(0, 3), "three have not asked for anything yet");
    for client in &mut waiting[..2] {
        assert_eq!(client.exchange(request("/")).unwrap().status, 200);
    }
    wait_until(|| shows(0, 3), "two have got what they asked for");
    let mut held = connect();
    held.send(request("/held")).unwrap();
    wait_until(|| shows(1, 3), "one waits for the backend");
    held.reset().unwrap();
    wait_until(|| shows(0, 3), "it is gone, and what it was doing");
}

#[test]
fn the_flags_of_the_original_profile_the_whole_run() {
    let origin = Origin::answering(Script::ok("here"));
    let folder = TempDir::new("profiles").unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let options = ProcessOptions {
        arguments: vec![
            format!("-cpuprofile={}", path("cpu.prof")),
            "-memprofile".to_owned(),
            path("mem.prof"),
        ],
        ..ProcessOptions::default()
    };
    let config = Config::http(&[origin.addr()]).yaml();
    let mut process = Process::with_options(BINARY, &config, &options).unwrap();
    let web = process.listener("web");
    for _ in 0..200 {
        assert_eq!(get(web, "/").text(), "here");
    }
    process.signal(Signal::Terminate).unwrap();
    assert!(process.wait_for_exit(PATIENCE).success());
    for (name, value) in [("cpu.prof", "cpu"), ("mem.prof", "inuse_space")] {
        let file = folder.path().join(name);
        assert!(file.metadata().unwrap().len() > 0, "{name}");
        if is_here("go") {
            let shown = top(&file, &[]);
            assert!(shown.contains(&format!("Type: {value}")), "{shown}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_written_is_said_at_the_start() {
    let config = Config::http(&[crate::subject::dead_address()]);
    let config =
        config.with("profiling: { http_addr: '127.0.0.1:0', cpu_profile: /nowhere/cpu.prof }");
    let output = run_to_its_end(&config.yaml());
    let place = "balance.yaml:9:";
    check_output(
        &output,
        1,
        &[place, "/nowhere/cpu.prof", "cannot be written"],
    );
}

#[test]
fn a_reload_adds_and_removes_the_address() {
    let origin = Origin::answering(Script::ok("here"));
    let plain = Config::http(&[origin.addr()]);
    let process = plain.start();
    reload(&process, &plain.clone().with(PROFILING));
    let address = process.listener("profiling");
    assert_eq!(get(address, "/debug/pprof/heap").status, 200);
    reload(&process, &plain);
    wait_until(
        || RawClient::connect(address).is_err(),
        "nobody listens there any more",
    );
    check_output(&ask(&process, "health"), 0, &[]);
}
