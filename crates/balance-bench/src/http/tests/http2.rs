//! The same over HTTP/2.

use std::time::Duration;

use balance_testkit::{Origin, Script, at_some_pace};

use super::{code, exit_code, measure_url, requests_to};
use crate::tls::testing::Identity;
use crate::{Backend, BackendOptions};

fn backend(body_bytes: usize) -> Backend {
    Backend::start(&BackendOptions {
        body_bytes,
        ..Default::default()
    })
    .unwrap()
}

fn url(backend: &Backend) -> String {
    format!("http://{}/x", backend.local_addr())
}

#[test]
fn streams_share_connections_and_every_request_is_counted_once() {
    for (streams, options) in [
        ("1", &[][..]),
        ("8", &["--threads", "3"]),
        ("100", &["-H", "X-Some: thing"]),
    ] {
        let backend = backend(128);
        let options = [&["--h2", "--streams", streams], options].concat();
        let report = requests_to(&url(&backend), 2_000, &options);
        let outcome = &report.outcome;
        let counted = (outcome.requests(), outcome.failures.total());
        assert_eq!(counted, (2_000, 0), "{streams} streams");
        assert_eq!((backend.requests(), backend.connections()), (2_000, 4));
        assert_eq!(report.to_json()["protocol"], "h2");
    }
}

#[test]
fn bodies_larger_than_every_window_pass_both_ways() {
    let backend = backend(9 << 20);
    let body = "b".repeat(9 << 20);
    let options = [
        "--h2",
        "--streams",
        "3",
        "--body",
        &body,
        "--connections",
        "2",
    ];
    let report = requests_to(&url(&backend), 12, &options);
    let outcome = &report.outcome;
    let counted = (outcome.requests(), outcome.failures.total());
    assert_eq!(counted, (12, 0), "{}", report.to_text());
    assert!(outcome.bytes > 12 * (9 << 20));
    assert_eq!(backend.requests(), 12);
}

#[test]
fn answers_without_bodies_and_answers_that_wait_are_answers() {
    let delay = Duration::from_millis(5);
    for (status, options) in [
        (200, &["-X", "HEAD"][..]),
        (204, &[]),
        (404, &["-X", "POST"]),
    ] {
        let backend = Backend::start(&BackendOptions {
            status,
            delay,
            name: "b".to_owned(),
            ..Default::default()
        })
        .unwrap();
        let options = [&["--h2", "--streams", "4"], options].concat();
        let outcome = requests_to(&url(&backend), 64, &options).outcome;
        assert_eq!(outcome.requests(), 64);
        assert_eq!(
            outcome.statuses.into_iter().collect::<Vec<_>>(),
            [(status, 64)]
        );
        assert!(outcome.timeline.latency().quantile(0.01) >= delay);
    }
}

#[test]
fn http2_is_agreed_on_under_tls() {
    let identity = Identity::new();
    let backend = identity.backend(BackendOptions {
        body_bytes: 100_000,
        ..Default::default()
    });
    let url = format!("https://{}/x", backend.local_addr());
    let options = ["--h2", "--streams", "8", "--ca", &identity.trusted()];
    let report = requests_to(&url, 500, &options);
    let outcome = &report.outcome;
    assert_eq!((outcome.requests(), outcome.failures.total()), (500, 0));
    assert_eq!((backend.requests(), backend.connections()), (500, 4));
    assert_eq!(outcome.handshakes.total(), 4);
}

#[test]
fn an_open_loop_has_as_many_requests_under_way_as_streams_allow() {
    at_some_pace(|pace| {
        // A hundred at a time of 50 ms each are 2,000/s; one for each of four connections would be 80/s.
        let backend = Backend::start(&BackendOptions {
            delay: pace.ms(50),
            ..Default::default()
        })
        .unwrap();
        let rate = (20_000 / pace.ms(50).as_millis()).to_string();
        let options = ["--h2", "--streams", "25", "--rate", &rate];
        let report = requests_to(&url(&backend), 200, &options);
        let outcome = &report.outcome;
        assert_eq!((outcome.requests(), outcome.begun), (200, 200));
        assert!(outcome.elapsed < pace.ms(2_000), "{}", report.to_text());
    });
}

#[test]
fn new_connections_are_new_over_http2_too() {
    let backend = backend(128);
    let options = ["--h2", "--new-connections"];
    let outcome = requests_to(&url(&backend), 40, &options).outcome;
    assert_eq!((outcome.requests(), outcome.failures.total()), (40, 0));
    assert_eq!(backend.connections(), 40);
}

#[test]
fn who_speaks_no_http2_is_told_from_who_does() {
    let origin = Origin::answering(Script::ok("abc"));
    let report = measure_url(&format!("http://{}/", origin.addr()), &["--h2"]);
    assert_eq!(exit_code(&report), code(1), "{}", report.to_text());
    assert!(report.outcome.failures.total() > 0);
}

#[test]
fn what_http2_does_not_have_is_refused() {
    for options in [
        &["-H", "Transfer-Encoding: chunked"][..],
        &["-H", "Host: a", "-H", "Host: b"],
    ] {
        let options = [&["--h2"], options].concat();
        let plan = super::args_of("http://127.0.0.1:1/", &options).plan();
        let error = format!("{:#}", plan.unwrap_err());
        assert!(error.contains("HTTP/2"), "{error}");
    }
}
