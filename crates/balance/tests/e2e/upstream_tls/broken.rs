//! Backends and networks that fail in the middle of TLS.

use std::net::SocketAddr;

use balance_testkit::{
    Fault, FaultAction, FaultProxy, Origin, Place, RawClient, Script, TlsFrontOptions,
};

use crate::subject::{Config, get, wait_for_cause};
use crate::tls::Files;

fn config(files: &Files, address: SocketAddr) -> Config {
    Config::http(&[address]).with_pool(&files.trusted(""))
}

/// For faults that only the deadline ends. A handshake on a busy machine may take longer than that, and a connection
/// whose end is not here yet may be used again: then another deadline has to end it before the client gives up.
fn impatient(files: &Files, address: SocketAddr) -> Config {
    config(files, address)
        .with("timeouts: { connect: 300ms, first_byte: 5s, read: 5s, write_progress: 5s }")
}

/// Bytes up and down until the handshake is over and a response has come.
fn lengths(files: &Files, front: SocketAddr) -> (u64, u64) {
    let tap = FaultProxy::start(front);
    let process = config(files, tap.addr()).start();
    tap.begin([]);
    assert_eq!(get(process.listener("web"), "/").status, 200);
    let carried = tap.carried();
    (carried.up.len() as u64, carried.down.len() as u64)
}

#[test]
fn a_backend_may_die_at_any_point_of_a_handshake() {
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here").then_close());
    let front = files.front(origin.addr(), "server", &TlsFrontOptions::default());
    let (up, down) = lengths(&files, front.addr());
    let proxy = FaultProxy::start(front.addr());
    let process = impatient(&files, proxy.addr()).start();
    let web = process.listener("web");
    let garbage = FaultAction::Garbage(b"\x00\xff garbage ".repeat(20));
    let mut cases = 0;
    for action in [
        FaultAction::Close,
        FaultAction::Reset,
        garbage,
        FaultAction::Blackhole,
    ] {
        let steps = if action == FaultAction::Blackhole {
            3
        } else {
            25
        };
        let at = |whole: u64, step: u64| whole * step / steps;
        let places =
            (0..steps).flat_map(|step| [Place::Up(at(up, step)), Place::Down(at(down, step))]);
        for place in places {
            // What the backend gets of garbage is its own affair.
            if matches!((&action, place), (FaultAction::Garbage(_), Place::Up(_))) {
                continue;
            }
            cases += 1;
            proxy.begin([Fault {
                place,
                action: action.clone(),
            }]);
            let mut client = RawClient::connect(web).unwrap();
            let answer = client.exchange("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
            // A backend that dies before it has answered may be asked again; and a response that has begun is cut.
            match &answer {
                Ok(answer) => assert!(
                    matches!(answer.status, 200 | 502 | 503 | 504),
                    "{action:?} at {place:?}: {}",
                    answer.status
                ),
                Err(error) => assert!(
                    matches!(place, Place::Down(_)),
                    "{action:?} at {place:?}: {error}"
                ),
            }
        }
    }
    assert!(cases > 100, "{cases}");
    // Nothing is left of all that.
    proxy.begin([]);
    crate::subject::wait_until(|| get(web, "/").status == 200, "the backend is asked again");
    assert_eq!(
        crate::subject::metric(&process, "balance_panics_total"),
        0.0
    );
}

#[test]
fn what_a_handshake_fails_of_is_named() {
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here"));
    let front = files.front(origin.addr(), "server", &TlsFrontOptions::default());
    let garbage = FaultAction::Garbage(b"\x00\xff garbage ".repeat(20));
    for (place, action, status, cause, reason) in [
        (
            Place::Down(0),
            FaultAction::Close,
            502,
            "tls_protocol_error",
            "it broke off the TLS handshake",
        ),
        (
            Place::Down(100),
            FaultAction::Reset,
            502,
            "tls_protocol_error",
            "it broke off the TLS handshake",
        ),
        (
            Place::Down(0),
            garbage,
            502,
            "tls_protocol_error",
            "it does not speak TLS",
        ),
        (
            Place::Down(100),
            FaultAction::Blackhole,
            504,
            "connection_timeout",
            "connecting took too long",
        ),
    ] {
        let proxy = FaultProxy::start(front.addr());
        let config = match action {
            FaultAction::Blackhole => impatient(&files, proxy.addr()),
            _ => config(&files, proxy.addr()),
        };
        let process = config.start();
        proxy.begin([Fault {
            place,
            action: action.clone(),
        }]);
        let response = get(process.listener("web"), "/");
        assert_eq!(response.status, status, "{action:?}");
        wait_for_cause(&process, cause, 1);
        process.wait_for_stderr(|line| line.contains(reason));
        assert!(origin.requests().is_empty());
    }
}
