//! wrk and hey: many requests at once, none lost.

use std::time::Duration;

use balance_bench::{Backend, BackendOptions};
use balance_testkit::{Process, pause};

use crate::programs::{Wrk, is_here, run};
use crate::subject::{Config, cause, wait_until};

fn start() -> (Vec<Backend>, Process) {
    let backends: Vec<Backend> = (0..3)
        .map(|_| {
            Backend::start(&BackendOptions {
                listen: vec!["127.0.0.1:0".parse().unwrap()],
                ..BackendOptions::default()
            })
            .unwrap()
        })
        .collect();
    let addresses: Vec<_> = backends.iter().map(Backend::local_addr).collect();
    let process = Config {
        workers: 2,
        ..Config::http(&addresses)
    }
    .start();
    (backends, process)
}

#[test]
fn wrk_loses_nothing_and_everything_is_counted() {
    if !is_here("wrk") {
        return;
    }
    let (backends, process) = start();
    let load = Wrk::start(process.listener("web"), "/", 50);
    pause(Duration::from_secs(2));
    let answered = load.finish_without_errors();
    let at_backends: u64 = backends.iter().map(Backend::requests).sum();
    // wrk stops in the middle of at most one exchange per connection.
    assert!(
        (answered..=answered + 50).contains(&at_backends),
        "{answered} {at_backends}"
    );
    let share = at_backends / 3;
    for backend in &backends {
        assert!(
            backend.requests().abs_diff(share) <= 60,
            "{} of {at_backends}",
            backend.requests()
        );
    }
    wait_until(
        || cause(&process, "completed") + cause(&process, "client_closed") >= at_backends as f64,
        "every exchange is settled",
    );
}

#[test]
fn hey_loses_nothing_with_and_without_keep_alive() {
    if !is_here("hey") {
        return;
    }
    let (_backends, process) = start();
    let url = format!("http://{}/", process.listener("web"));
    for args in [
        &["-n", "4000", "-c", "40"][..],
        &["-n", "1000", "-c", "20", "-disable-keepalive"],
        &["-n", "1000", "-c", "20", "-m", "POST", "-d", "some body"],
    ] {
        let said = run("hey", &[args, &[&url]].concat());
        let count = args[1];
        assert!(
            said.contains(&format!("[200]\t{count} responses")),
            "{args:?}: {said}"
        );
        assert!(!said.contains("Error distribution"), "{args:?}: {said}");
    }
}
