//! Circuit breakers over sockets: when one opens, who is let through to try, and what is told about it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use balance_testkit::{Origin, Process, RawClient, Script};

use crate::subject::{
    Config, backend, balance, cause, check_output, dead_address, get, metric, reload,
    run_to_its_end, text_of, wait_for_cause, wait_until,
};

/// An origin that can be told to fail.
struct Moody {
    origin: Origin,
    is_well: Arc<AtomicBool>,
}

impl Moody {
    fn failing() -> Self {
        let is_well = Arc::new(AtomicBool::new(false));
        let well = Arc::clone(&is_well);
        let origin = Origin::start(move |_| {
            let status = if well.load(Ordering::Relaxed) {
                200
            } else {
                500
            };
            Script::status(status)
        });
        Self { origin, is_well }
    }

    fn recover(&self) {
        self.is_well.store(true, Ordering::Relaxed);
    }
}

/// One that stays open for an hour, unless `keys` say otherwise.
fn broken(backends: &[SocketAddr], keys: &str) -> Config {
    let breaker = format!("{{ max_failures: 3, {keys} }}");
    Config::http(backends).with(&format!(
        "defaults: {{ resilience: {{ circuit_breaker: {breaker} }} }}"
    ))
}

fn breaker(process: &Process, name: &str, key: &str) -> serde_json::Value {
    backend(process, name)["circuit_breaker"][key].clone()
}

fn state_metric(process: &Process, state: &str) -> f64 {
    let labels = format!("pool=\"p\",backend=\"a\",state=\"{state}\"");
    metric(
        process,
        &format!("balance_circuit_breaker_state{{{labels}}}"),
    )
}

#[test]
fn failures_in_a_row_open_it_and_nothing_is_sent_until_it_is_tried() {
    let moody = Moody::failing();
    let process = broken(&[moody.origin.addr()], "timeout: 1h").start();
    let web = process.listener("web");
    assert_eq!(breaker(&process, "a", "state"), "closed");
    for _ in 0..3 {
        assert_eq!(get(web, "/").status, 500);
    }
    let refused = get(web, "/");
    assert_eq!(refused.status, 503);
    assert!(
        refused.text().starts_with("503 circuit_open: "),
        "{}",
        refused.text()
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(
        refused.header("proxy-status"),
        Some("balance; details=\"circuit_open\"")
    );
    assert_eq!(moody.origin.requests().len(), 3);
    wait_for_cause(&process, "circuit_open", 1);

    assert_eq!(backend(&process, "a")["state"], "circuit_open");
    assert_eq!(backend(&process, "a")["pickable"], false);
    assert_eq!(breaker(&process, "a", "state"), "open");
    assert_eq!(breaker(&process, "a", "reason"), "3 failures in a row");
    assert_eq!(breaker(&process, "a", "openings"), 1);
    assert_eq!(
        (
            state_metric(&process, "open"),
            state_metric(&process, "closed")
        ),
        (1.0, 0.0)
    );
    process.wait_for_stderr(|line| {
        line.contains("circuit breaker opens") && line.contains("3 failures in a row")
    });
    let path = process.config_path();
    let question = [
        "explain",
        "--admin",
        "-c",
        path.to_str().unwrap(),
        "GET",
        "http://test/",
    ];
    let explained = text_of(&balance(&question, process.directory()));
    for part in ["its circuit breaker is open", "503 circuit_open"] {
        assert!(explained.contains(part), "{explained}");
    }

    // What is open stays open under a timeout that a reload changes, and without a breaker it is forgotten.
    reload(&process, &broken(&[moody.origin.addr()], "timeout: 2h"));
    assert_eq!(get(web, "/").status, 503);
    reload(&process, &Config::http(&[moody.origin.addr()]));
    assert_eq!(get(web, "/").status, 500);
    assert!(backend(&process, "a")["circuit_breaker"].is_null());
}

#[test]
fn a_trial_closes_it_when_the_backend_is_well_again() {
    let moody = Moody::failing();
    let process = broken(
        &[moody.origin.addr()],
        "timeout: 50ms, success_threshold: 2",
    )
    .start();
    let web = process.listener("web");
    // Trials fail, and each opens it anew.
    wait_until(
        || {
            get(web, "/");
            breaker(&process, "a", "openings").as_u64() >= Some(3)
        },
        "trials fail",
    );
    assert_eq!(breaker(&process, "a", "reason"), "a trial failed");
    moody.recover();
    wait_until(|| get(web, "/").status == 200, "a trial succeeds");
    wait_until(
        || {
            get(web, "/");
            breaker(&process, "a", "state") == "closed"
        },
        "it closes",
    );
    for _ in 0..10 {
        assert_eq!(get(web, "/").status, 200);
    }
    assert_eq!(state_metric(&process, "closed"), 1.0);
    process.wait_for_stderr(|line| line.contains("circuit breaker is half open"));
    process.wait_for_stderr(|line| line.contains("circuit breaker closes"));
}

/// A client that goes away says nothing about the backend: its trial is given to another.
#[test]
fn a_trial_that_is_given_up_is_replaced() {
    let is_held = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&is_held);
    let origin = Origin::start(move |_| match held.load(Ordering::Relaxed) {
        true => Script::never(),
        false => Script::status(500),
    });
    let [at_once, late] = ["timeout: 1ms", "timeout: 1h"].map(|key| broken(&[origin.addr()], key));
    let process = late.start();
    let web = process.listener("web");
    for _ in 0..3 {
        assert_eq!(get(web, "/").status, 500);
    }
    assert_eq!(get(web, "/").status, 503);
    is_held.store(true, Ordering::Relaxed);
    reload(&process, &at_once);
    for trial in 1..=2 {
        let mut client = RawClient::connect(web).unwrap();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        origin.wait_for(3 + trial);
        // From here on only what ends is replaced within an hour.
        reload(&process, &late);
        assert_eq!(breaker(&process, "a", "state"), "half_open");
        assert_eq!(get(web, "/").status, 503, "one trial at a time");
        client.reset().unwrap();
        let settled = || cause(&process, "client_closed") >= trial as f64;
        wait_until(settled, "the trial is given up");
    }
    assert_eq!(
        breaker(&process, "a", "state"),
        "half_open",
        "nobody said anything"
    );
    assert_eq!(breaker(&process, "a", "openings"), 1);
}

#[test]
fn the_others_of_a_pool_go_on() {
    let (moody, well) = (Moody::failing(), Origin::answering(Script::ok("b")));
    let process = broken(&[moody.origin.addr(), well.addr()], "timeout: 1h").start();
    let web = process.listener("web");
    wait_until(
        || {
            get(web, "/");
            breaker(&process, "a", "state") == "open"
        },
        "it opens",
    );
    for _ in 0..10 {
        assert_eq!(get(web, "/").text(), "b");
    }
    assert_eq!(moody.origin.requests().len(), 3);
    assert_eq!(breaker(&process, "b", "state"), "closed");
}

/// There is no backend for it: it ends by a reset, which may be seen while connecting.
fn end_of_session(web: SocketAddr) {
    let ended = RawClient::connect(web).map(|mut client| client.read_to_end());
    if let Ok(Ok(bytes)) = ended {
        assert_eq!(bytes, b"");
    }
}

#[test]
fn failed_connects_count_in_tcp_too() {
    let config = Config::tcp(&[dead_address()])
        .with("defaults: { resilience: { circuit_breaker: { max_failures: 2, timeout: 1h } } }");
    let process = config.start();
    let web = process.listener("web");
    wait_until(
        || {
            end_of_session(web);
            breaker(&process, "a", "state") == "open"
        },
        "it opens",
    );
    let before = cause(&process, "circuit_open");
    end_of_session(web);
    wait_until(|| cause(&process, "circuit_open") > before, "it is told");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for (breaker, part) in [
        (
            "{ max_failures: 0 }",
            "`max_failures`: 0 is outside 1 to 1000000",
        ),
        (
            "{ max_failures: -1 }",
            "`max_failures`: -1 is outside 1 to 1000000",
        ),
        (
            "{ max_concurrent_requests: 0 }",
            "`max_concurrent_requests`: 0 is outside 1 to 1000000",
        ),
        (
            "{ success_threshold: 0 }",
            "`success_threshold`: 0 is outside",
        ),
        ("{ timeout: 0 }", "timeout"),
        ("{ timeout: 60 }", "write `60s` for seconds"),
        ("{ max_failure: 5 }", "did you mean `max_failures`?"),
    ] {
        let config = Config::http(&[dead_address()]).with(&format!(
            "defaults: {{ resilience: {{ circuit_breaker: {breaker} }} }}"
        ));
        check_output(&run_to_its_end(&config.yaml()), 1, &[part]);
    }
}
