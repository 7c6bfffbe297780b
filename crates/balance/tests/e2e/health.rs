//! Health checks over sockets: who is probed, who gets traffic, and what is told about it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use balance_testkit::{EchoServer, Origin, PeerMode, Process, RawClient, Script, pause};

use serde_json::Value;

use crate::subject::{
    Config, backend, backends, cause, check_output, dead_address, get, json, metric, post, reload,
    run_to_its_end, wait_until,
};

/// An origin that serves its name under any path, and whose health can be switched.
struct Patient {
    origin: Origin,
    is_well: Arc<AtomicBool>,
}

impl Patient {
    fn start(name: &'static str) -> Self {
        let is_well = Arc::new(AtomicBool::new(true));
        let well = Arc::clone(&is_well);
        let origin = Origin::start(move |request| {
            if request.target != "/up" {
                Script::ok(name)
            } else if well.load(Ordering::Relaxed) {
                Script::ok("up")
            } else {
                Script::status(503)
            }
        });
        Self { origin, is_well }
    }

    fn set_well(&self, is_well: bool) {
        self.is_well.store(is_well, Ordering::Relaxed);
    }
}

/// Probes `/up` every 20 ms; one result is enough. `more` are further keys of the check.
fn checked(backends: &[SocketAddr], more: &str) -> Config {
    let check = format!(
        "{{ path: /up, interval: 20ms, healthy_threshold: 1, unhealthy_threshold: 1{more} }}"
    );
    Config::http(backends).with(&format!("defaults: {{ health_check: {check} }}"))
}

#[track_caller]
fn wait_for(process: &Process, name: &str, state: &str) {
    let health = || backend(process, name)["health"]["state"].clone();
    wait_until(|| health() == state, &format!("{name} is {state}"));
}

/// Who answers six requests, sorted, each once.
fn who_answers(web: SocketAddr) -> Vec<String> {
    let mut names: Vec<String> = (0..6).map(|_| get(web, "/").text()).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn a_backend_whose_probes_fail_gets_nothing_and_comes_back() {
    let (one, two) = (Patient::start("one"), Patient::start("two"));
    let process = checked(&[one.origin.addr(), two.origin.addr()], "").start();
    let web = process.listener("web");
    wait_for(&process, "a", "healthy");
    wait_for(&process, "b", "healthy");
    assert_eq!(who_answers(web), ["one", "two"]);

    two.set_well(false);
    wait_for(&process, "b", "unhealthy");
    assert_eq!(who_answers(web), ["one"], "from the very next request on");
    let sick = backend(&process, "b");
    assert_eq!(sick["state"], "unhealthy");
    assert_eq!(sick["pickable"], false);
    assert_eq!(sick["health"]["reason"], "it answered with status 503");
    let labels = "pool=\"p\",backend=\"b\"";
    assert_eq!(
        metric(&process, &format!("balance_backend_healthy{{{labels}}}")),
        0.0
    );
    let failures = format!("balance_health_checks_total{{{labels},result=\"failure\"}}");
    assert!(metric(&process, &failures) >= 1.0);
    process.wait_for_stderr(|text| {
        text.lines().any(|line| {
            [
                "backend is unhealthy",
                "pool=\"p\"",
                "backend=\"b\"",
                "status 503",
            ]
            .iter()
            .all(|part| line.contains(part))
        })
    });

    two.set_well(true);
    wait_for(&process, "b", "healthy");
    assert_eq!(who_answers(web), ["one", "two"]);
    process.wait_for_stderr(|text| text.contains("backend is healthy again"));
}

#[test]
fn when_nobody_is_healthy_the_answer_is_503_unless_the_pool_panics() {
    for (panic_threshold, status) in [("0%", 503), ("50%", 200)] {
        let patients = [Patient::start("one"), Patient::start("two")];
        for patient in &patients {
            patient.set_well(false);
        }
        let addresses = patients.each_ref().map(|patient| patient.origin.addr());
        let more = format!(", panic_threshold: {panic_threshold}");
        let process = checked(&addresses, &more).start();
        for name in ["a", "b"] {
            wait_for(&process, name, "unhealthy");
        }
        let response = get(process.listener("web"), "/");
        assert_eq!(response.status, status, "{panic_threshold}");
        if status == 503 {
            assert_eq!(response.header("retry-after"), Some("1"));
            let proxy_status = response.header("proxy-status");
            assert_eq!(proxy_status, Some("balance; error=destination_unavailable"));
        } else {
            assert_eq!(who_answers(process.listener("web")), ["one", "two"]);
        }
    }
}

#[test]
fn a_reload_forgets_no_health_and_a_check_that_is_gone_leaves_no_trace() {
    let (one, two) = (Patient::start("one"), Patient::start("two"));
    let addresses = [one.origin.addr(), two.origin.addr()];
    let process = checked(&addresses, "").start();
    let web = process.listener("web");
    two.set_well(false);
    wait_for(&process, "b", "unhealthy");
    // From here on it could only be known from before: the next probe is an hour away.
    reload(
        &process,
        &checked(&addresses, ", fast_interval: 1h").with("timeouts: { connect: 2s }"),
    );
    assert_eq!(who_answers(web), ["one"]);
    assert_eq!(backend(&process, "b")["health"]["state"], "unhealthy");

    reload(&process, &Config::http(&addresses));
    wait_until(
        || backend(&process, "b")["health"].is_null(),
        "nobody probes it",
    );
    assert_eq!(who_answers(web), ["one", "two"]);
}

#[test]
fn who_accepts_and_hangs_is_found_out_by_asking() {
    let well = Patient::start("one");
    let hanging = EchoServer::start(PeerMode::Ignore);
    let process = checked(&[well.origin.addr(), hanging.addr()], ", timeout: 50ms").start();
    wait_for(&process, "b", "unhealthy");
    assert_eq!(
        backend(&process, "b")["health"]["reason"],
        "no answer within 50ms"
    );
    assert_eq!(who_answers(process.listener("web")), ["one"]);
}

#[test]
fn tcp_backends_are_probed_by_connecting() {
    let echo = EchoServer::start(PeerMode::Echo);
    let check = "{ type: tcp, interval: 20ms, unhealthy_threshold: 1 }";
    let process = Config::tcp(&[dead_address(), echo.addr()])
        .with(&format!("defaults: {{ health_check: {check} }}"))
        .start();
    wait_for(&process, "a", "unhealthy");
    wait_for(&process, "b", "healthy");
    let reason = backend(&process, "a")["health"]["reason"].clone();
    assert_eq!(reason, "the backend refuses connections");
    for _ in 0..4 {
        let mut client = RawClient::connect(process.listener("web")).unwrap();
        client.send("ping").unwrap();
        assert_eq!(client.read_exact(4).unwrap(), b"ping");
    }
    let failed = "balance_backend_connect_failures_total{pool=\"p\",backend=\"a\"}";
    assert_eq!(metric(&process, failed), 0.0, "no session was sent there");
}

/// Judged by traffic alone: the probes only connect.
fn judged(backends: &[SocketAddr], passive: &str) -> Config {
    let check = format!(
        "{{ type: tcp, interval: 20ms, passive_checks: {{ ejection_time: 300ms, {passive} }} }}"
    );
    Config::http(backends).with(&format!("defaults: {{ health_check: {check} }}"))
}

fn ejections(process: &Process, name: &str) -> u64 {
    // Right after the start nobody has been appointed to judge it.
    backend(process, name)["ejection"]["ejections"]
        .as_u64()
        .unwrap_or(0)
}

/// Asks until the backend is ejected. Why it was.
fn reason_of_ejection(process: &Process, name: &str) -> String {
    let web = process.listener("web");
    wait_until(
        || {
            get(web, "/");
            ejections(process, name) >= 1
        },
        "it is ejected",
    );
    let reason = &backend(process, name)["ejection"]["reason"];
    reason.as_str().unwrap().to_owned()
}

#[test]
fn a_backend_that_fails_in_a_row_is_ejected_and_comes_back() {
    let well = Origin::answering(Script::ok("one"));
    let failing = Origin::answering(Script::status(500));
    let process = judged(&[well.addr(), failing.addr()], "consecutive_failures: 3").start();
    let web = process.listener("web");
    wait_until(
        || {
            get(web, "/");
            backend(&process, "b")["state"] == "ejected"
        },
        "it is ejected",
    );
    assert_eq!(who_answers(web), ["one"]);
    let reason = backend(&process, "b")["ejection"]["reason"].clone();
    assert!(
        reason.as_str().unwrap().ends_with("failures in a row"),
        "{reason}"
    );
    process.wait_for_stderr(|text| text.contains("backend is ejected"));
    process.wait_for_stderr(|text| text.contains("backend is back from its ejection"));
    let answered = failing.requests().len();
    wait_until(
        || {
            get(web, "/");
            ejections(&process, "b") >= 2
        },
        "it gets traffic again, and fails again",
    );
    assert!(failing.requests().len() > answered);
    assert_eq!(ejections(&process, "a"), 0);
}

#[test]
fn a_share_of_failures_ejects_too() {
    let well = Origin::answering(Script::ok("one"));
    let count = AtomicUsize::new(0);
    let third = Origin::start(move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        Script::status(if number.is_multiple_of(3) { 503 } else { 200 })
    });
    let process = judged(&[well.addr(), third.addr()], "error_rate_threshold: 25%").start();
    let reason = reason_of_ejection(&process, "b");
    assert!(reason.contains("attempts failed"), "{reason}");
    assert_eq!(ejections(&process, "a"), 0);
}

/// Everybody fails: one of two may be out, so requests are still answered by a backend.
#[test]
fn never_all_of_a_pool_are_ejected() {
    let origins = [500, 500].map(|status| Origin::answering(Script::status(status)));
    let addresses = origins.each_ref().map(Origin::addr);
    let process = judged(&addresses, "consecutive_failures: 1").start();
    let web = process.listener("web");
    // Of one answer: between two, one may come back and the other go out.
    let count_out = || {
        let is_out = |backend: &&Value| backend["state"] == "ejected";
        backends(&process).iter().filter(is_out).count()
    };
    wait_until(
        || {
            assert_eq!(get(web, "/").status, 500);
            count_out() > 0
        },
        "one is ejected",
    );
    for _ in 0..50 {
        assert_eq!(get(web, "/").status, 500, "a backend answers");
        assert!(count_out() < 2);
    }
}

#[test]
fn who_answers_far_slower_than_its_pool_is_ejected_and_comes_back() {
    let well = Origin::answering(Script::ok("one"));
    let slow = Origin::start(|_| {
        pause(Duration::from_millis(100));
        Script::ok("two")
    });
    let process = judged(&[well.addr(), slow.addr()], "latency_factor: 3").start();
    let reason = reason_of_ejection(&process, "b");
    assert!(reason.contains("others of its pool in"), "{reason}");
    process.wait_for_stderr(|text| text.contains("backend is back from its ejection"));
}

/// Robustness BE-04: whoever goes away says nothing about the backend.
#[test]
fn clients_that_go_away_do_not_count_against_a_backend() {
    let slow = Origin::answering(Script::never());
    let well = Origin::answering(Script::ok("one"));
    let process = judged(&[slow.addr(), well.addr()], "consecutive_failures: 1").start();
    let web = process.listener("web");
    for count in 1..=6 {
        let mut client = RawClient::connect(web).unwrap();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        wait_until(
            || slow.requests().len() + well.requests().len() >= count,
            "a backend has the request",
        );
        client.reset().unwrap();
    }
    wait_until(
        || cause(&process, "client_closed") >= slow.requests().len() as f64,
        "they are settled",
    );
    assert!(!slow.requests().is_empty());
    // The thread that judges probes, too: 20 probes later it has judged several times.
    let probes = || backend(&process, "a")["health"]["probes"].as_u64().unwrap();
    let before = probes();
    wait_until(|| probes() >= before + 20, "it is judged");
    assert_eq!(ejections(&process, "a"), 0);
}

/// Asks for a change of a backend; what it is then.
fn switch(process: &Process, backend: &str, verb: &str) -> Value {
    let path = format!("/pools/p/backends/{backend}/{verb}");
    let response = post(process.listener("admin"), &path);
    assert_eq!(response.status, 200, "{}", response.text());
    json(&response)
}

#[test]
fn a_drained_backend_finishes_what_it_has_and_gets_nothing_new() {
    let held = Origin::start(|request| match &*request.target {
        "/held" => Script::never(),
        _ => Script::ok("a"),
    });
    let other = Origin::answering(Script::ok("b"));
    let config = Config::http(&[held.addr(), other.addr()]);
    let process = config.start();
    let web = process.listener("web");
    let mut clients = Vec::new();
    while held.requests().is_empty() {
        let mut client = RawClient::connect(web).unwrap();
        client
            .send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n")
            .unwrap();
        clients.push(client);
        wait_until(
            || held.requests().len() + other.requests().len() == clients.len(),
            "a backend has the request",
        );
    }
    let drained = switch(&process, "a", "drain");
    assert_eq!(drained["state"], "draining");
    assert_eq!(drained["in_flight"], 1, "what it has goes on");
    assert_eq!(who_answers(web), ["b"]);
    reload(&process, &config);
    assert_eq!(who_answers(web), ["b"], "a reload forgets nothing");
    process.wait_for_stderr(|text| text.contains("backend changes its state"));

    for client in clients {
        client.reset().unwrap(); // a FIN alone would leave them waiting
    }
    wait_until(
        || backend(&process, "a")["in_flight"] == 0,
        "it has finished",
    );
    assert_eq!(switch(&process, "a", "enable")["state"], "pickable");
    assert_eq!(who_answers(web), ["a", "b"]);
    let unknown = post(process.listener("admin"), "/pools/p/backends/nobody/drain");
    assert_eq!(unknown.status, 404);
}

#[test]
fn checks_that_cannot_work_are_refused() {
    for (check, parts) in [
        (
            "health",
            &["is not a path that begins with", "did you mean `/health`?"][..],
        ),
        ("{ path: /up, interval: 0 }", &["interval", "too short"]),
        (
            "{ path: /up, unhealthy_threshold: -1 }",
            &["unhealthy_threshold"],
        ),
        ("{ type: htpp }", &["did you mean `http`?"]),
        ("{ type: https }", &["backends that are reached without it"]),
    ] {
        let config =
            Config::http(&[dead_address()]).with(&format!("defaults: {{ health_check: {check} }}"));
        check_output(&run_to_its_end(&config.yaml()), 1, parts);
    }
}
