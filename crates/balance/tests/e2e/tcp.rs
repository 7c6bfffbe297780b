//! TCP mode: bytes pass both ways as they are, ends and resets are passed on, and a dead backend is passed over.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use balance_testkit::{
    DeadBackend, EchoServer, End, PATIENCE, PeerMode, Process, RawClient, StrictError, TempDir,
    at_some_pace, pause,
};

use crate::subject::{Config, backend, dead_address, is_reset, metric, wait_for_cause, wait_until};

/// Whether it talks to an echo now.
fn echoes(client: &mut RawClient) -> bool {
    client.send("ping").is_ok() && client.read_exact(4).is_ok_and(|bytes| bytes == b"ping")
}

#[test]
fn bytes_pass_both_ways() {
    let server = EchoServer::start(PeerMode::Echo);
    let process = Config::tcp(&[server.addr()]).start();
    let web = process.listener("web");
    let mut client = RawClient::connect(web).unwrap();
    for length in [1, 2, 1000, 70_000] {
        let bytes = EchoServer::pattern(length);
        client.send(&bytes).unwrap();
        assert!(client.read_exact(length).unwrap() == bytes, "{length}");
    }
    client.half_close().unwrap();
    assert!(client.is_closed_by_peer());
    let session = &server.wait_for_ended(1)[0];
    assert_eq!(
        (session.received_bytes, session.end),
        (71_003, Some(End::Fin))
    );
    wait_for_cause(&process, "completed", 1);
    wait_until(
        || backend(&process, "a")["in_flight"] == 0,
        "the place is given back",
    );
    assert!(metric(&process, "balance_bytes_received_total") >= 71_003.0);
}

#[test]
fn a_half_close_passes_in_both_directions() {
    let late = EchoServer::start(PeerMode::AnswerAfterFin(b"after your end".to_vec()));
    let process = Config::tcp(&[late.addr()]).start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    client.send("all of it").unwrap();
    client.half_close().unwrap();
    assert_eq!(client.read_to_end().unwrap(), b"after your end");
    assert_eq!(late.wait_for_ended(1)[0].received, b"all of it");

    let early = EchoServer::start(PeerMode::FinFirst(b"first".to_vec()));
    let process = Config::tcp(&[early.addr()]).start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    assert_eq!(client.read_to_end().unwrap(), b"first");
    client.send("still ").unwrap();
    client.send("heard").unwrap();
    client.half_close().unwrap();
    assert_eq!(early.wait_for_ended(1)[0].received, b"still heard");
    wait_for_cause(&process, "completed", 1);
}

/// Pipes that a process has open, its standard output and error among them.
fn pipes(process: &Process) -> usize {
    let entries = std::fs::read_dir(format!("/proc/{}/fd", process.pid())).unwrap();
    entries
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("pipe:"))
        .count()
}

/// Sends so many bytes through an echo, reading at the same time; returns how many pipes were open at most.
fn bulk(process: &Process, length: usize) -> usize {
    let stream = TcpStream::connect(process.listener("web")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let mut reader = stream;
    let pattern = EchoServer::pattern(length);
    let mut pipes_most = 0;
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| {
            writer.write_all(&pattern)?;
            writer.shutdown(std::net::Shutdown::Write)
        });
        let mut block = vec![0; 256 * 1024];
        let mut total = 0;
        loop {
            let read = reader.read(&mut block).unwrap();
            if read == 0 {
                break;
            }
            assert!(
                block[..read] == pattern[total..total + read],
                "near {total}"
            );
            total += read;
            if total % 7 == 0 || pipes_most == 0 {
                pipes_most = pipes_most.max(pipes(process));
            }
        }
        assert_eq!(total, length);
        sent.join().unwrap().unwrap();
    });
    pipes_most
}

#[test]
fn bulk_is_spliced_and_arrives_whole_both_ways() {
    let server = EchoServer::start(PeerMode::Echo);
    let length = 64 << 20;
    let process = Config::tcp(&[server.addr()]).start();
    let before = pipes(&process);
    assert!(bulk(&process, length) > before, "splicing needs a pipe");
    assert!(
        process.resident_bytes() < 64 << 20,
        "{}",
        process.resident_bytes()
    );

    let mut copying = Config::tcp(&[server.addr()]).yaml();
    copying = copying.replace("worker_threads: 1", "worker_threads: 1, zero_copy: false");
    let process = Process::start(crate::subject::BINARY, &copying).unwrap();
    let before = pipes(&process);
    assert_eq!(bulk(&process, length / 4), before, "copying needs none");
}

#[test]
fn a_session_ends_when_nobody_says_anything_and_not_before() {
    at_some_pace(|pace| {
        let server = EchoServer::start(PeerMode::Echo);
        let idle = pace.ms(1_000);
        let config = Config::tcp(&[server.addr()]).with(&format!("timeouts: {{ idle: {idle:?} }}"));
        let process = config.start();
        let mut client = RawClient::connect(process.listener("web")).unwrap();
        let started = Instant::now();
        // Longer than the timeout in total: it is not a limit on the session's length.
        let mut last = started;
        while started.elapsed() < 2 * idle {
            let silent = last.elapsed();
            assert!(echoes(&mut client), "after {silent:?} of silence");
            last = Instant::now();
            pause(idle / 10);
        }
        // Nothing was under way, so nothing is cut off: FIN on both sides.
        assert_eq!(client.read_to_end(), Ok(vec![]));
        assert!(last.elapsed() > idle / 2, "{:?}", last.elapsed());
        assert_eq!(server.wait_for_ended(1)[0].end, Some(End::Fin));
        wait_for_cause(&process, "client_timeout", 1);
    });
}

#[test]
fn a_backend_that_takes_nothing_is_the_one_to_blame() {
    let server = EchoServer::start(PeerMode::Ignore);
    let config =
        Config::tcp(&[server.addr()]).with("timeouts: { write_progress: 700ms, idle: 1h }");
    let process = config.start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    let block = vec![b'x'; 1 << 20];
    let refused = (0..100).any(|_| client.send(&block).is_err());
    assert!(refused, "100 MiB went somewhere");
    wait_for_cause(&process, "connection_write_timeout", 1);
}

#[test]
fn a_backend_gets_no_more_connections_than_it_may_have() {
    let server = EchoServer::start(PeerMode::Echo);
    let config = Config {
        backends: vec![format!(
            "{{ name: a, address: '{}', max_connections: 2 }}",
            server.addr()
        )],
        ..Config::tcp(&[])
    };
    let process = config.start();
    let web = process.listener("web");
    let connect = || RawClient::connect(web).unwrap();
    let mut clients = [connect(), connect()];
    assert!(clients.iter_mut().all(echoes));
    assert!(is_reset(web));
    wait_for_cause(&process, "connection_limit_reached", 1);
    assert_eq!(server.sessions().len(), 2);

    let [first, mut second] = clients;
    drop(first);
    server.wait_for_ended(1);
    wait_until(
        || backend(&process, "a")["in_flight"] == 1,
        "the place is given back",
    );
    assert!(echoes(&mut connect()));
    assert!(echoes(&mut second));
}

#[test]
fn a_dead_backend_is_passed_over_and_comes_back() {
    let alive = EchoServer::start(PeerMode::Echo);
    let dead = DeadBackend::new().unwrap();
    let process = Config::tcp(&[dead.addr(), alive.addr()]).start();
    let web = process.listener("web");
    for _ in 0..10 {
        assert!(echoes(&mut RawClient::connect(web).unwrap()));
    }
    assert_eq!(alive.sessions().len(), 10);
    assert!(backend(&process, "a")["rests"].as_u64().unwrap() >= 1);

    let address = dead.addr();
    drop(dead);
    // Another test that is starting a process has a copy of our descriptors until its exec.
    wait_until(|| TcpListener::bind(address).is_ok(), "the address is free");
    let options = balance_testkit::OriginOptions {
        listen: Some(address),
        ..Default::default()
    };
    let back = balance_testkit::Origin::with_options(options, |_| Default::default());
    wait_until(
        || {
            if let Ok(mut client) = RawClient::connect(web) {
                let _ = client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
                let _ = client.read_exact(4); // an echo or an answer, or it was the trial that failed
            }
            back.connections() > 0
        },
        "the backend that came back gets a session",
    );
    wait_until(
        || backend(&process, "a")["state"] == "pickable",
        "it is as good as before",
    );
}

#[test]
fn without_any_backend_the_client_is_reset() {
    let process = Config::tcp(&[dead_address(), dead_address()]).start();
    let web = process.listener("web");
    assert!(is_reset(web));
    wait_for_cause(&process, "connection_refused", 1);
    // Both rest now, so the next one is told at once.
    assert!(is_reset(web));
}

#[test]
fn a_reset_is_passed_on_from_either_side() {
    let server = EchoServer::start(PeerMode::ResetAfter(4));
    let process = Config::tcp(&[server.addr()]).start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    client.send("ping").unwrap();
    assert_eq!(client.read_to_end(), Err(StrictError::Reset));
    wait_for_cause(&process, "aborted_by_upstream", 1);

    let server = EchoServer::start(PeerMode::Echo);
    let process = Config::tcp(&[server.addr()]).start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    assert!(echoes(&mut client));
    client.reset().unwrap();
    assert_eq!(server.wait_for_ended(1)[0].end, Some(End::Reset));
    wait_for_cause(&process, "client_closed", 1);
}

#[test]
fn unix_sockets_work_on_both_sides() {
    let folder = TempDir::new("unix").unwrap();
    let (front, back) = (
        folder.path().join("front.sock"),
        folder.path().join("back.sock"),
    );
    let listener = UnixListener::bind(&back).unwrap();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        stream.write_all(&bytes).unwrap();
    });
    let config = Config {
        listen: format!("unix:{}", front.display()),
        backends: vec![format!("{{ name: a, address: 'unix:{}' }}", back.display())],
        ..Config::tcp(&[])
    };
    let mut process = config.start();
    process.wait_for_stderr(|line| line == "ready");
    let mut client = std::os::unix::net::UnixStream::connect(&front).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let sent = EchoServer::pattern(300_000);
    client.write_all(&sent).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    assert!(received == sent);
    serving.join().unwrap();
    assert_eq!(process.terminate().code(), Some(0));
    assert!(!front.exists(), "its own file is removed");
    assert!(back.exists(), "the backend's is not");
}

#[test]
fn a_receiver_that_takes_nothing_costs_little_memory() {
    let length = 16 << 20;
    let server = EchoServer::start(PeerMode::Source(length));
    let process = Config::tcp(&[server.addr()]).start();
    let web = process.listener("web");
    let before = process.resident_bytes();
    let mut clients: Vec<_> = (0..8).map(|_| RawClient::connect(web).unwrap()).collect();
    server.wait_for(8);
    // Long enough for as much as would be taken in, if anything took it in.
    pause(Duration::from_millis(700));
    let grown = process.resident_bytes().saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} bytes for 128 MiB on the way");
    let expected = EchoServer::pattern(length);
    for client in &mut clients {
        assert!(client.read_to_end().unwrap() == expected);
    }
}
