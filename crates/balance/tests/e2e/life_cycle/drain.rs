//! Stopping: readiness fails first, what is in flight finishes, and all of it is bounded.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use balance_testkit::{Origin, PATIENCE, RawClient, Script, Signal, at_some_pace};

use crate::subject::{BINARY, Config, ask, balance, check_output, get, get_on};

fn origin() -> Origin {
    Origin::answering(Script::ok("here"))
}

/// What a client of a draining Balance lived through.
#[derive(Debug, Default)]
struct Asked {
    exchanges: usize,
    /// Whether the last response said `Connection: close`.
    was_told: bool,
    errors: Vec<String>,
}

/// Asks over one connection after the other until the drain ends it.
fn ask_until_drained(web: SocketAddr, is_draining: &AtomicBool) -> Asked {
    let mut asked = Asked::default();
    loop {
        let mut client = match RawClient::connect(web) {
            Ok(client) => client,
            Err(error) => {
                asked.errors.push(format!("connect: {error}"));
                return asked;
            }
        };
        loop {
            match client.exchange("GET / HTTP/1.1\r\nHost: test\r\n\r\n") {
                Ok(response) if response.status == 200 => {
                    asked.exchanges += 1;
                    asked.was_told = !response.keeps_alive();
                }
                other => {
                    asked.errors.push(format!("{other:?}"));
                    return asked;
                }
            }
            if asked.was_told {
                break;
            }
        }
        if is_draining.load(Ordering::Acquire) {
            return asked;
        }
    }
}

#[test]
fn a_stop_under_load_loses_nothing() {
    let origin = Origin::start(|_| Script::ok(vec![b'x'; 20_000]).delay(Duration::from_millis(2)));
    let mut process = Config {
        workers: 2,
        ..Config::http(&[origin.addr()])
    }
    .start();
    let web = process.listener("web");
    let is_draining = AtomicBool::new(false);
    let all: Vec<Asked> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| ask_until_drained(web, &is_draining)))
            .collect();
        origin.wait_for(200);
        is_draining.store(true, Ordering::Release);
        process.signal(Signal::Terminate).unwrap();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect()
    });
    for asked in &all {
        assert!(asked.errors.is_empty() && asked.was_told, "{all:#?}");
    }
    let status = process.wait_for_exit(PATIENCE);
    assert_eq!(status.code(), Some(0), "{}", process.stderr());
    let log = process.stderr();
    assert!(log.contains("everything in flight has finished"), "{log}");
    let answered: usize = all.iter().map(|asked| asked.exchanges).sum();
    assert_eq!(origin.requests().len(), answered, "no request came twice");
}

#[test]
fn a_stop_fails_readiness_first_and_finishes_what_is_in_flight() {
    at_some_pace(|pace| {
        let origin = origin();
        let config = Config::http(&[origin.addr()])
            .with_shutdown(&format!("delay: {:?}, limit: 1h", pace.ms(1_000)));
        let mut process = config.start();
        let (web, admin) = (process.listener("web"), process.listener("admin"));
        assert_eq!(get(admin, "/ready").status, 200);
        check_output(&ask(&process, "health"), 0, &["healthy"]);

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
    });
}

#[test]
fn a_kept_connection_is_told_with_its_next_response() {
    let origin = origin();
    let mut process = Config::http(&[origin.addr()]).start();
    let mut kept = RawClient::connect(process.listener("web")).unwrap();
    assert!(get_on(&mut kept, "/").keeps_alive());

    process.signal(Signal::Terminate).unwrap();
    // The signal has to reach control, and control the worker: some may still be served as before.
    let mut last = get_on(&mut kept, "/");
    while last.keeps_alive() {
        assert_eq!(last.status, 200);
        last = get_on(&mut kept, "/");
    }
    assert_eq!(last.text(), "here");
    assert_eq!(last.header("connection"), Some("close"));
    assert!(kept.is_closed_by_peer());
    assert_eq!(process.wait_for_exit(PATIENCE).code(), Some(0));
}

#[test]
fn a_drain_ends_at_its_limit() {
    let origin = Origin::answering(Script::never());
    let config = Config::http(&[origin.addr()]).with_shutdown("delay: 0, limit: 300ms");
    let mut process = config.start();
    let mut hanging = RawClient::connect(process.listener("web")).unwrap();
    hanging.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    origin.wait_for(1);
    assert_eq!(process.terminate().code(), Some(0), "{}", process.stderr());
    let log = process.stderr();
    assert!(log.contains("the rest was cut off"), "{log}");
    assert!(!log.contains("does not stop"), "{log}");
}

/// Nobody is left to guess: the client, if nothing was sent to it yet, and the log are told why.
#[test]
fn what_is_cut_off_at_the_limit_ends_with_its_cause() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/half" => Script::ok(vec![b'x'; 10_000]).hang_after_bytes(5_000),
        _ => Script::never(),
    });
    let config = Config::http(&[origin.addr()])
        .with_shutdown("delay: 0, limit: 300ms")
        .with("logging: { access_log: true }");
    let mut process = config.start();
    let ask = |path: &str| {
        let mut client = RawClient::connect(process.listener("web")).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n");
        client.send(request).unwrap();
        client
    };
    let (mut waiting, mut half) = (ask("/never"), ask("/half"));
    origin.wait_for(2);
    assert!(half.read_exact(2_000).unwrap().starts_with(b"HTTP/1.1 200"));
    assert_eq!(process.terminate().code(), Some(0), "{}", process.stderr());

    let response = waiting.read_response().unwrap();
    assert_eq!((response.status, response.keeps_alive()), (503, false));
    let cause = response.header("proxy-status");
    assert_eq!(cause, Some("balance; details=\"draining\""));
    let rest = half.read_to_end().map(|rest| rest.len());
    assert_eq!(rest, Ok(3_000), "its Content-Length says that it is broken");
    let log = process.stdout();
    for (path, status) in [("/never", " 503 "), ("/half", " 200 ")] {
        let line = log.lines().find(|line| line.contains(path));
        let line = line.unwrap_or_else(|| panic!("no line of {path} in {log}"));
        assert!(
            line.contains("cause=draining") && line.contains(status),
            "{line}"
        );
    }
}

#[test]
fn a_quit_waits_for_what_is_in_flight_whatever_the_limit() {
    let delay = Duration::from_millis(700);
    let origin = Origin::answering(Script::ok("late").delay(delay));
    let config = Config::http(&[origin.addr()]).with_shutdown("delay: 0, limit: 50ms");
    let mut process = config.start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    origin.wait_for(1);
    process.signal(Signal::Quit).unwrap();
    assert_eq!(client.read_response().unwrap().text(), "late");
    assert_eq!(process.wait_for_exit(PATIENCE).code(), Some(0));
    let log = process.stderr();
    assert!(log.contains("everything in flight has finished"), "{log}");
}

#[test]
fn a_second_signal_stops_at_once() {
    for (first, second) in [
        (Signal::Terminate, Signal::Terminate),
        (Signal::Interrupt, Signal::Interrupt),
        (Signal::Quit, Signal::Terminate),
    ] {
        let origin = Origin::answering(Script::never());
        let config = Config::http(&[origin.addr()]).with_shutdown("delay: 0, limit: 1h");
        let mut process = config.start();
        let mut hanging = RawClient::connect(process.listener("web")).unwrap();
        hanging.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
        origin.wait_for(1);
        process.signal(first).unwrap();
        process.wait_for_stderr(|line| line.contains("draining"));
        let started = Instant::now();
        process.signal(second).unwrap();
        let status = process.wait_for_exit(PATIENCE);
        assert_eq!(status.code(), Some(0), "{}", process.stderr());
        assert!(started.elapsed() < Duration::from_secs(10), "{first:?}");
        let told = hanging.read_response().unwrap();
        assert_eq!(told.status, 503, "what was in flight is cut off");
    }
}

#[test]
fn a_second_signal_ends_the_delay_too() {
    let origin = origin();
    let config = Config::http(&[origin.addr()]).with_shutdown("delay: 1h, limit: 5s");
    let mut process = config.start();
    let mut open = RawClient::connect(process.listener("web")).unwrap();
    assert_eq!(get_on(&mut open, "/").status, 200);
    process.signal(Signal::Interrupt).unwrap();
    process.wait_for_stderr(|line| line.contains("draining"));
    process.signal(Signal::Interrupt).unwrap();
    let status = process.wait_for_exit(PATIENCE);
    assert_eq!(status.code(), Some(0), "{}", process.stderr());
}

#[test]
fn a_stop_in_tcp_mode_lets_sessions_finish() {
    let server = balance_testkit::EchoServer::start(balance_testkit::PeerMode::Echo);
    let mut process = Config::tcp(&[server.addr()]).start();
    let web = process.listener("web");
    let mut client = RawClient::connect(web).unwrap();
    client.send("before").unwrap();
    assert_eq!(client.read_exact(6).unwrap(), b"before");
    process.signal(Signal::Terminate).unwrap();
    process.wait_for_stderr(|line| line.contains("draining"));
    client.send("after").unwrap();
    assert_eq!(client.read_exact(5).unwrap(), b"after");
    client.half_close().unwrap();
    assert!(client.is_closed_by_peer());
    assert_eq!(process.wait_for_exit(PATIENCE).code(), Some(0));
    let log = process.stderr();
    assert!(log.contains("everything in flight has finished"), "{log}");
    assert!(RawClient::connect(web).is_err());
}

#[test]
fn a_start_after_a_kill_needs_no_cleaning_up() {
    let origin = origin();
    let mut first = Config::http(&[origin.addr()]).start();
    let web = first.listener("web");
    first.kill();
    let config = first.config_path();
    let address = web.to_string();
    let again = std::fs::read_to_string(&config).unwrap().replacen(
        "127.0.0.1:0', mode",
        &format!("{address}', mode"),
        1,
    );
    first.write_config(&again).unwrap();
    // The stale admin socket is still in the folder.
    let folder = balance_testkit::TempDir::new("again").unwrap();
    let command = crate::subject::command(
        BINARY,
        &["run", "-c", config.to_str().unwrap()],
        first.directory(),
    );
    let second = balance_testkit::Process::spawn(command, folder).unwrap();
    assert_eq!(get(second.listener("web"), "/").text(), "here");
    check_output(&ask(&first, "health"), 0, &["healthy"]);
}
