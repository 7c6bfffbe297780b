//! Headers from those in front: required from the listed, refused from everybody else, and believed.

use std::io::Read;

use balance_testkit::sm_data::{Row, Verdict, proxy_header_rows};
use balance_testkit::{EchoServer, Origin, PeerMode, Process, RawClient, TempDir, at_some_pace};

use super::{clients, ip, line, origin};
use crate::proxy::get;
use crate::subject::{Config, cause, unless_reset, wait_for_cause, wait_until};

const ACCEPT: &str = "pool: p, proxy_protocol: { accept: true, from: [127.0.0.0/8] }";

fn http(origin: &Origin) -> Config {
    Config {
        listener: ACCEPT.to_owned(),
        ..Config::http(&[origin.addr()])
    }
}

fn tcp(server: &EchoServer) -> Config {
    Config {
        listener: ACCEPT.to_owned(),
        ..Config::tcp(&[server.addr()])
    }
}

/// Whether it was closed without a word.
fn is_closed_silently(client: &mut RawClient) -> bool {
    let mut said = Vec::new();
    // A reset is as silent as an end.
    let _ = Read::read_to_end(client, &mut said);
    said.is_empty()
}

/// Each row of the table over sockets, a request behind it: as its client, or not at all.
#[test]
fn a_request_arrives_as_of_the_client_that_its_header_names_or_not_at_all() {
    let origin = origin();
    let process = http(&origin).start();
    let web = process.listener("web");
    let rows = proxy_header_rows();
    assert!(rows.len() > 110, "{}", rows.len());
    let mut expected = Vec::new();
    let mut closed = 0;
    let mut failures = Vec::new();
    for row in rows.iter().filter(|row| row.verdict != Verdict::Partial) {
        let header = &row.input[..row.input.len() - row.rest.len()];
        let mut client = RawClient::connect(web).unwrap();
        // It may be closed before all of it is sent.
        let _ = client.send([header, get("/").as_bytes()].concat());
        if row.verdict == Verdict::Closed {
            closed += 1;
            if !is_closed_silently(&mut client) {
                failures.push(format!("{}: answered", row.title()));
            }
        } else {
            match client.read_response() {
                Ok(response) if response.status == 200 => expected.push(client_of(row)),
                other => failures.push(format!("{}: {other:?}", row.title())),
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(clients(&origin), expected);
    wait_for_cause(&process, "proxy_header_invalid", closed);
}

fn client_of(row: &Row) -> String {
    let source = row.option("source").unwrap_or("127.0.0.1:1");
    source
        .parse::<std::net::SocketAddr>()
        .unwrap()
        .ip()
        .to_string()
}

#[test]
fn a_header_that_breaks_off_is_none() {
    let origin = origin();
    let process = http(&origin).start();
    let rows = proxy_header_rows();
    let partial = rows.iter().filter(|row| row.verdict == Verdict::Partial);
    let mut count = 0;
    for row in partial {
        count += 1;
        let mut client = RawClient::connect(process.listener("web")).unwrap();
        client.send(&row.input).unwrap();
        client.half_close().unwrap();
        assert!(is_closed_silently(&mut client), "{}", row.title());
    }
    assert!(count > 10, "{count}");
    wait_for_cause(&process, "proxy_header_invalid", count);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_header_in_pieces_is_read_and_one_that_does_not_end_is_not_waited_for() {
    at_some_pace(|pace| {
        let origin = origin();
        let process = http(&origin)
            .with(&format!("timeouts: {{ head: {:?} }}", pace.ms(300)))
            .start();
        let mut client = RawClient::connect(process.listener("web")).unwrap();
        for byte in line("192.0.2.1").bytes() {
            client.send([byte]).unwrap();
        }
        assert_eq!(client.exchange(get("/")).unwrap().status, 200);
        let mut slow = RawClient::connect(process.listener("web")).unwrap();
        slow.send("PROXY TCP4 192.0.2.1").unwrap();
        assert!(is_closed_silently(&mut slow));
        let mut silent = RawClient::connect(process.listener("web")).unwrap();
        assert!(is_closed_silently(&mut silent));
        wait_for_cause(&process, "client_timeout", 2);
        assert_eq!(clients(&origin), ["192.0.2.1"]);
    });
}

#[test]
fn who_is_not_listed_is_closed_whatever_it_says() {
    let origin = origin();
    let listener = "pool: p, proxy_protocol: { accept: true, from: [127.0.0.2, '192.0.2.0/24'] }";
    let config = Config {
        listener: listener.to_owned(),
        ..Config::http(&[origin.addr()])
    };
    let process = config.start();
    let web = process.listener("web");
    for said in [line("192.0.2.1") + &get("/"), get("/"), String::new()] {
        if let Some(mut client) = unless_reset(RawClient::connect_from(ip("127.0.0.1"), web)) {
            let _ = client.send(&said);
            assert!(is_closed_silently(&mut client), "{said:?}");
        }
    }
    wait_for_cause(&process, "blocked", 3);
    assert_eq!(origin.connections(), 0);
    let mut listed = RawClient::connect_from(ip("127.0.0.2"), web).unwrap();
    listed.send(line("203.0.113.9")).unwrap();
    assert_eq!(listed.exchange(get("/")).unwrap().status, 200);
    assert_eq!(clients(&origin), ["203.0.113.9"]);
}

#[test]
fn every_request_of_a_connection_is_of_its_client() {
    let origin = origin();
    let process = http(&origin).start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    // What a client writes into its request does not change who it is.
    let forged = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n";
    client.send(line("192.0.2.1") + &get("/") + forged).unwrap();
    for _ in 0..2 {
        assert_eq!(client.read_response().unwrap().status, 200);
    }
    assert_eq!(client.exchange(get("/")).unwrap().status, 200);
    assert_eq!(clients(&origin), ["192.0.2.1"; 3]);
}

#[test]
fn a_proxy_that_only_looks_whether_somebody_is_there_is_no_error() {
    let origin = origin();
    let process = http(&origin).start();
    drop(RawClient::connect(process.listener("web")).unwrap());
    let active = "balance_active_connections{listener=\"web\"}";
    wait_until(|| crate::subject::metric(&process, active) == 0.0, active);
    for name in ["proxy_header_invalid", "client_closed", "blocked"] {
        assert_eq!(cause(&process, name), 0.0, "{name}");
    }
}

#[test]
fn places_per_client_are_those_of_the_named_client() {
    let origin = origin();
    let process = http(&origin)
        .with("limits: { connections_per_ip_max: 1 }")
        .start();
    let connect = |client: &str| {
        let mut one = RawClient::connect(process.listener("web")).unwrap();
        let _ = one.send(line(client) + &get("/"));
        one
    };
    let mut anna = connect("192.0.2.1");
    assert_eq!(anna.read_response().unwrap().status, 200);
    let mut berta = connect("192.0.2.2");
    assert_eq!(berta.read_response().unwrap().status, 200);
    let mut anna_again = connect("192.0.2.1");
    assert!(is_closed_silently(&mut anna_again));
    wait_for_cause(&process, "connection_limit_reached", 1);
    drop(anna);
    wait_until(
        || connect("192.0.2.1").read_response().is_ok(),
        "her place is free again",
    );
}

#[test]
fn sessions_begin_behind_the_header_and_are_logged_by_their_client() {
    let server = EchoServer::start(PeerMode::Echo);
    let folder = TempDir::new("log").unwrap();
    let log = folder.path().join("access.log");
    let process = tcp(&server)
        .with(&format!(
            "logging: {{ format: json, access_log: '{}' }}",
            log.display()
        ))
        .start();
    let web = process_address(&process);
    let mut together = RawClient::connect(web).unwrap();
    together.send(line("192.0.2.1") + "first ").unwrap();
    assert_eq!(together.read_exact(6).unwrap(), b"first ");
    together.send("second").unwrap();
    assert_eq!(together.read_exact(6).unwrap(), b"second");
    together.half_close().unwrap();
    assert!(together.is_closed_by_peer());
    let mut apart = RawClient::connect(web).unwrap();
    apart.send(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").unwrap();
    apart.send("own").unwrap();
    assert_eq!(apart.read_exact(3).unwrap(), b"own");
    apart.half_close().unwrap();
    assert!(apart.is_closed_by_peer());
    let sessions = server.wait_for_ended(2);
    let received: Vec<_> = sessions.iter().map(|one| one.received.as_slice()).collect();
    assert_eq!(received, [&b"first second"[..], b"own"]);
    let text = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_until(|| text().lines().count() == 2, "two lines");
    let mut lines: Vec<serde_json::Value> = text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lines.sort_by_key(|line| line["bytes_in"].as_u64());
    assert_eq!(lines[0]["client"], "127.0.0.1", "LOCAL is the proxy itself");
    assert_eq!(lines[1]["client"], "192.0.2.1");
    assert_eq!(lines[1]["bytes_in"], 12);
}

/// In a JSON log the addresses are events too.
fn process_address(process: &Process) -> std::net::SocketAddr {
    let line = process.wait_for_stderr(|line| line.contains("\"web\""));
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    event["address"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_session_is_hashed_by_its_client() {
    let servers: Vec<EchoServer> = (0..4).map(|_| EchoServer::start(PeerMode::Echo)).collect();
    let addresses: Vec<_> = servers.iter().map(EchoServer::addr).collect();
    let config = Config {
        listener: "pool: h, proxy_protocol: { accept: true, from: 127.0.0.1 }".to_owned(),
        pools: format!(
            "  h: {{ backends: ['{}', '{}', '{}', '{}'], load_balancer: consistent-hash }}\n",
            addresses[0], addresses[1], addresses[2], addresses[3]
        ),
        ..Config::tcp(&addresses)
    };
    let process = config.start();
    let count = |server: &EchoServer| server.sessions().len();
    for client in 0..16 {
        for _ in 0..3 {
            let mut one = RawClient::connect(process.listener("web")).unwrap();
            one.send(line(&format!("192.0.2.{client}")) + "x").unwrap();
            assert_eq!(one.read_exact(1).unwrap(), b"x");
        }
        let counts: Vec<_> = servers.iter().map(count).collect();
        assert!(counts.iter().all(|count| count % 3 == 0), "{counts:?}");
    }
    let used = servers.iter().filter(|server| count(server) > 0).count();
    assert!(used > 1, "all clients went to one backend");
}
