//! Sessions that are routed by the server that a TLS client names, while TLS stays between the client and the backend.

mod programs;

use std::io::Read;
use std::net::SocketAddr;

use balance_testkit::sm_data::{Verdict, client_hello_rows};
use balance_testkit::{EchoServer, PeerMode, Process, RawClient, TempDir, at_some_pace};

use crate::subject::{Config, balance, wait_for_cause, wait_until};

fn echo() -> EchoServer {
    EchoServer::start(PeerMode::Echo)
}

/// The smallest hello that names a server.
pub(crate) fn hello(name: &str) -> Vec<u8> {
    fn block(bytes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        [&length[..], bytes].concat()
    }
    let entry = [&[0][..], &block(name.as_bytes())].concat();
    let extension = [&[0, 0][..], &block(&block(&entry))].concat();
    let start = [&[3, 3][..], &[7; 32], &[0], &block(&[0x13, 1]), &[1, 0]].concat();
    let body = [start, block(&extension)].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    [&[22, 3, 1][..], &block(&message)].concat()
}

/// Sends this and returns what the echo says, up to the end.
fn echoed(web: SocketAddr, said: &[u8]) -> Vec<u8> {
    let mut client = RawClient::connect(web).unwrap();
    // It may be closed before all of it is sent.
    let _ = client.send(said);
    let _ = client.half_close();
    let mut heard = Vec::new();
    let _ = Read::read_to_end(&mut client, &mut heard);
    heard
}

/// `a` and `b` in one pool, which is asked when there is no name; `a.example` leads to `b`.
fn by_names(servers: [&EchoServer; 2], routes: &str) -> Config {
    Config {
        listener: format!("pool: q, tls: {{ sni: {{ routes: {{ {routes} }} }} }}"),
        pools: format!(
            "  q: {{ backends: [ {{ name: a, address: '{}' }} ] }}\n",
            servers[0].addr()
        ),
        backends: vec![format!(
            "{{ name: unused, address: '{}' }}",
            servers[1].addr()
        )],
        ..Config::tcp(&[])
    }
}

/// Each row of the table over sockets: unchanged at the backend of its name, or nowhere.
#[test]
fn a_hello_arrives_unchanged_where_its_name_leads_or_not_at_all() {
    let (other, named) = (echo(), echo());
    let config = by_names(
        [&other, &named],
        &format!("a.example: ['{}']", named.addr()),
    );
    let process = config.start();
    let web = process.listener("web");
    let rows = client_hello_rows();
    assert!(rows.len() >= 100, "{}", rows.len());
    let (mut expected_other, mut expected_named, mut closed) = (Vec::new(), Vec::new(), 0);
    for row in rows.iter().filter(|row| row.verdict != Verdict::Partial) {
        let heard = echoed(web, &row.input);
        if row.verdict == Verdict::Closed {
            closed += 1;
            assert_eq!(heard, b"", "{}", row.title());
            continue;
        }
        assert!(heard == row.input, "{}", row.title());
        match row.option("name") {
            Some("a.example") => expected_named.push(row.input.clone()),
            _ => expected_other.push(row.input.clone()),
        }
    }
    let received = |server: &EchoServer, count| -> Vec<Vec<u8>> {
        let sessions = server.wait_for_ended(count);
        sessions.into_iter().map(|one| one.received).collect()
    };
    assert!(expected_other.len() > 10 && expected_named.len() > 10);
    assert!(received(&named, expected_named.len()) == expected_named);
    assert!(received(&other, expected_other.len()) == expected_other);
    wait_for_cause(&process, "tls_handshake_failed", closed);
}

#[test]
fn a_hello_that_breaks_off_or_does_not_end_reaches_nobody() {
    at_some_pace(|pace| {
        let (other, named) = (echo(), echo());
        let config = by_names(
            [&other, &named],
            &format!("a.example: ['{}']", named.addr()),
        );
        let process = config
            .with(&format!("timeouts: {{ head: {:?} }}", pace.ms(300)))
            .start();
        let web = process.listener("web");
        let mut count = 0;
        for row in client_hello_rows() {
            if row.verdict == Verdict::Partial {
                count += 1;
                assert_eq!(echoed(web, &row.input), b"", "{}", row.title());
            }
        }
        assert!(count > 10, "{count}");
        wait_for_cause(&process, "client_closed", count);
        for said in [&hello("a.example")[..30], b""] {
            let mut client = RawClient::connect(web).unwrap();
            client.send(said).unwrap();
            let mut heard = Vec::new();
            let _ = Read::read_to_end(&mut client, &mut heard);
            assert_eq!(heard, b"");
        }
        wait_for_cause(&process, "client_timeout", 2);
        assert_eq!(other.sessions().len() + named.sessions().len(), 0);
    });
}

/// Which of these servers gets a session with this name: its position.
fn reached(web: SocketAddr, name: &str, servers: &[EchoServer]) -> Option<usize> {
    let count = || {
        servers
            .iter()
            .map(|one| one.sessions().len())
            .collect::<Vec<_>>()
    };
    let before = count();
    let heard = echoed(web, &hello(name));
    if heard.is_empty() {
        assert_eq!(before, count(), "{name}");
        return None;
    }
    assert!(heard == hello(name), "{name}");
    let after = count();
    before
        .iter()
        .zip(&after)
        .position(|(before, after)| after > before)
}

#[test]
fn exact_names_come_first_then_the_longest_wildcard_then_any() {
    let servers: Vec<EchoServer> = (0..5).map(|_| echo()).collect();
    let address = |index: usize| servers[index].addr();
    let config = Config {
        listener: format!(
            "pool: p, tls: {{ enabled: false, sni: {{ routes: {{ '*': ['{}'], '*.example': ['{}'], '*.A.example': d, \
             'a.example': 'e:{}' }} }} }}",
            address(1),
            address(2),
            address(4).port(),
        ),
        backends: ["a", "d", "e"]
            .into_iter()
            .zip([0, 3, 4])
            .map(|(name, index)| format!("{{ name: {name}, address: '{}' }}", address(index)))
            .collect(),
        ..Config::tcp(&[])
    };
    let process = config.start();
    let web = process.listener("web");
    for (name, expected) in [
        ("a.example", 4),
        ("A.EXAMPLE", 4),
        ("x.a.example", 3),
        ("x.y.a.example", 3),
        ("b.example", 2),
        ("example", 1),
        ("other.test", 1),
    ] {
        assert_eq!(reached(web, name, &servers), Some(expected), "{name}");
    }
    // No name at all: the pool of the listener, whose backends take turns.
    for _ in 0..3 {
        assert_eq!(echoed(web, b"SSH-2.0-x\r\n"), b"SSH-2.0-x\r\n");
    }
    let sessions = |index: usize| servers[index].wait_for_ended(1).len();
    assert_eq!((sessions(0), sessions(3), sessions(4)), (1, 3, 3));
}

fn by_routes(servers: &[EchoServer]) -> Config {
    let pool = |(name, server): (&str, &EchoServer)| {
        format!("  {name}: {{ backends: ['{}'] }}\n", server.addr())
    };
    Config {
        listener: "routes: [tenants, special, a]".to_owned(),
        pools: ["one", "two", "three"].into_iter().zip(servers).map(pool).collect(),
        ..Config::tcp(&[servers[0].addr()])
    }
    .with(
        "routes:\n\
         - { name: a, match: { sni: a.example }, pool: one }\n\
         - { name: tenants, match: { sni: ['*.example', tenant.test] }, pool: two }\n\
         - { name: special, priority: 5, match: { sni: b.example }, pool: three, timeouts: { idle: 1s } }\n\
         - { name: unseen, match: { host: a.example }, pool: one }",
    )
}

#[test]
fn routes_decide_by_priority_and_the_listeners_order_and_nobody_else_is_served() {
    let servers: Vec<EchoServer> = (0..3).map(|_| echo()).collect();
    let folder = TempDir::new("log").unwrap();
    let log = folder.path().join("access.log");
    let logging = format!("logging: {{ access_log: '{}' }}", log.display());
    let process = by_routes(&servers).with(&logging).start();
    let web = process.listener("web");
    for (name, expected) in [
        ("a.example", Some(1)), // `tenants` stands before it in the list
        ("b.example", Some(2)), // the higher priority
        ("tenant.test", Some(1)),
        ("example", None),
        ("other.test", None),
    ] {
        assert_eq!(reached(web, name, &servers), expected, "{name}");
    }
    // Where routes say who is served, what names nobody goes nowhere.
    assert_eq!(echoed(web, b"SSH-2.0-x\r\n"), b"");
    wait_for_cause(&process, "no_route", 3);
    let text = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_until(|| text().lines().count() == 6, "six lines");
    let has = |words: [&str; 2]| {
        let text = text();
        text.lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
    };
    assert!(has(["host=b.example", "route=special"]), "{}", text());
    assert!(has(["host=other.test", "cause=no_route"]), "{}", text());
    // `special` says nobody may be silent for longer than a second.
    let mut silent = RawClient::connect(web).unwrap();
    silent.send(hello("b.example")).unwrap();
    silent.read_exact(hello("b.example").len()).unwrap();
    assert!(silent.is_closed_by_peer());
    wait_for_cause(&process, "client_timeout", 1);
}

#[test]
fn a_proxy_header_in_front_and_one_behind() {
    let (other, named) = (echo(), echo());
    let listener = format!(
        "pool: q, proxy_protocol: {{ accept: true, from: 127.0.0.1 }}, \
         tls: {{ sni: {{ routes: {{ a.example: '{}' }} }} }}",
        named.addr()
    );
    let config = Config {
        listener,
        ..by_names([&other, &named], "")
    };
    let yaml = config
        .yaml()
        .replace(" } ] }\nlisteners", " } ], send_proxy: v1 }\nlisteners");
    let process = Process::start(crate::subject::BINARY, &yaml).unwrap();
    let web = process.listener("web");
    let header = b"PROXY TCP4 192.0.2.1 198.51.100.2 5 443\r\n";
    let said = [&header[..], &hello("a.example"), b"more"].concat();
    // The pool sends headers, its view for the name does too.
    assert_eq!(echoed(web, &said), said);
    assert_eq!(named.wait_for_ended(1)[0].received, said);
    let said = [&header[..], b"no TLS"].concat();
    assert_eq!(echoed(web, &said), said);
    assert_eq!(other.wait_for_ended(1)[0].received, said);
}

#[test]
fn the_explanation_says_where_a_name_leads() {
    let servers: Vec<EchoServer> = (0..3).map(|_| echo()).collect();
    let folder = TempDir::new("explain").unwrap();
    let config = by_routes(&servers).yaml();
    let file = folder.write("balance.yaml", &config).unwrap();
    let file = file.to_str().unwrap();
    let explain = |more: &[&str]| {
        let words = [&["explain", "-c", file, "--listener", "web"], more].concat();
        let output = balance(&words, folder.path());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (
            output.status.code(),
            text + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (code, text) = explain(&["--sni", "B.example."]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("special") && text.contains("pool three"),
        "{text}"
    );
    let (code, text) = explain(&["--sni", "other.test"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("no_route") && text.contains("tenants"),
        "{text}"
    );
    let (code, text) = explain(&[]);
    assert_eq!(code, Some(1), "{text}");
}
