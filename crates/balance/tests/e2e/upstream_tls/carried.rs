//! Requests and sessions to backends under TLS are what they are without it, and connections are used again.

use balance_testkit::{EchoServer, Origin, PeerMode, RawClient, Script, TlsFront, TlsFrontOptions};

use crate::subject::{Config, get, get_on, metric, reload, wait_for_cause, wait_until};
use crate::tls::Files;

/// An origin behind TLS, and a pool that trusts it.
fn secured(files: &Files, origin: &Origin) -> (TlsFront, Config) {
    let front = files.front(origin.addr(), "server", &TlsFrontOptions::default());
    let config = Config::http(&[front.addr()]);
    (
        front,
        config.with_pool(&files.trusted("server_name: a.test")),
    )
}

#[test]
fn a_connection_is_used_again_and_a_session_resumed() {
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here"));
    let (front, config) = secured(&files, &origin);
    let process = config.start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    for _ in 0..3 {
        assert_eq!(get_on(&mut client, "/").text(), "here");
    }
    assert_eq!(front.secured().len(), 1);
    origin.close_connections();
    wait_until(|| front.secured()[0].is_ended, "the end is announced");
    assert_eq!(get_on(&mut client, "/").text(), "here");
    let secured = front.secured();
    let seen: Vec<_> = secured.iter().map(|one| one.is_resumed).collect();
    assert_eq!(seen, [false, true]);
    for one in secured {
        assert_eq!(one.server_name.as_deref(), Some("a.test"));
        assert_eq!(one.alpn, None);
    }
    assert_eq!(front.failures(), Vec::<String>::new());
}

#[test]
fn handshakes_are_counted_and_their_time_is_logged() {
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here"));
    let front = files.front(origin.addr(), "server", &TlsFrontOptions::default());
    for config in [Config::http(&[front.addr()]), Config::tcp(&[front.addr()])] {
        let log = files.path(&format!("{}.log", config.mode));
        let logging = format!("logging: {{ access_log: '{log}' }}");
        let config = config.with(&logging).with_pool(&files.trusted(""));
        let is_kept = config.mode == "http";
        let process = config.start();
        let mut client = RawClient::connect(process.listener("web")).unwrap();
        for _ in 0..2 {
            assert_eq!(get_on(&mut client, "/").text(), "here");
        }
        drop(client);
        let lines = || -> Vec<String> {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            text.lines().map(str::to_owned).collect()
        };
        let expected = if is_kept { 2 } else { 1 };
        wait_until(|| lines().len() == expected, "all are logged");
        let seconds = |line: &str| -> Option<f64> {
            let time = line.split(' ').find_map(|word| word.strip_prefix("tls="));
            time.unwrap().parse().ok()
        };
        let lines = lines();
        assert!(seconds(&lines[0]) > Some(0.0), "{}", lines[0]);
        if is_kept {
            assert_eq!(seconds(&lines[1]), None, "{}", lines[1]);
        }
        let counted = |resumed: &str| {
            let labels = format!("pool=\"p\",backend=\"a\",resumed=\"{resumed}\"");
            metric(
                &process,
                &format!("balance_backend_tls_handshakes_total{{{labels}}}"),
            )
        };
        assert_eq!((counted("false"), counted("true")), (1.0, 0.0));
    }
}

#[test]
fn sessions_are_not_resumed_where_that_is_off() {
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here").then_close());
    let front = files.front(origin.addr(), "server", &TlsFrontOptions::default());
    let tls = files.trusted("session_tickets_disabled: true, alpn_protocols: [http/1.1]");
    let process = Config::http(&[front.addr()]).with_pool(&tls).start();
    for _ in 0..2 {
        assert_eq!(get(process.listener("web"), "/").text(), "here");
    }
    let secured = front.secured();
    assert_eq!(secured.len(), 2);
    for one in secured {
        assert!(!one.is_resumed);
        assert_eq!(one.alpn.as_deref(), Some(&b"http/1.1"[..]));
        assert_eq!(one.server_name, None, "an address is no name (RFC 6066 §3)");
    }
}

#[test]
fn bodies_come_through_both_ways() {
    let files = Files::new();
    let origin = Origin::answering(Script::echo());
    let body = EchoServer::pattern(3_000_000);
    for is_tls12 in [false, true] {
        let options = TlsFrontOptions {
            is_tls12,
            ..TlsFrontOptions::default()
        };
        let front = files.front(origin.addr(), "server", &options);
        let config = Config::http(&[front.addr()]).with_pool(&files.trusted(""));
        let process = config.start();
        let mut client = RawClient::connect(process.listener("web")).unwrap();
        for _ in 0..2 {
            let head = format!(
                "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let response = client.exchange([head.as_bytes(), &body].concat()).unwrap();
            assert_eq!(response.status, 200, "{is_tls12}: {}", process.stderr());
            let bytes = response.body.len();
            assert!(response.body == body, "{is_tls12}: {bytes} bytes");
        }
        assert_eq!(front.secured().len(), 1);
    }
}

/// BE-03: what nobody announced may be somebody else's doing.
#[test]
fn a_response_that_only_a_close_ends_is_complete_when_the_close_is_announced() {
    let files = Files::new();
    for (cuts, script, expected) in [
        (
            false,
            Script::ok("").until_close("all of it"),
            Ok("all of it"),
        ),
        (
            true,
            Script::ok("").until_close("all of it"),
            Err("http_response_incomplete"),
        ),
        (true, Script::ok("all of it").then_close(), Ok("all of it")),
        (
            true,
            Script::ok("").chunked(&[b"all of it"]).then_close(),
            Ok("all of it"),
        ),
        (
            false,
            Script::ok("all of it").close_after_bytes(40),
            Err("http_response_incomplete"),
        ),
    ] {
        let origin = Origin::answering(script);
        let options = TlsFrontOptions {
            cuts,
            ..TlsFrontOptions::default()
        };
        let front = files.front(origin.addr(), "server", &options);
        let config = Config::http(&[front.addr()]).with_pool(&files.trusted(""));
        let process = config.start();
        let mut client = RawClient::connect(process.listener("web")).unwrap();
        let answer = client.exchange("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
        match expected {
            Ok(text) => {
                assert_eq!(answer.unwrap().text(), text, "{cuts}");
                wait_for_cause(&process, "completed", 1);
            }
            Err(cause) => {
                let seen = answer.map(|answer| answer.status);
                assert!(matches!(seen, Ok(502) | Err(_)), "{seen:?}");
                wait_for_cause(&process, cause, 1);
            }
        }
    }
}

#[test]
fn an_upgraded_connection_is_a_tunnel_under_tls() {
    let files = Files::new();
    let origin = Origin::answering(Script::upgrade("echo"));
    let (_front, config) = secured(&files, &origin);
    let process = config.start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    client
        .send("GET / HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        .unwrap();
    let response = client.read_any_response(false).unwrap();
    assert_eq!(response.status, 101);
    client.send("first words").unwrap();
    wait_until(|| origin.tunnelled(0) == b"first words", "they arrive");
    client.half_close().unwrap();
    wait_for_cause(&process, "completed", 1);
}

#[test]
fn a_copy_of_a_request_goes_to_its_pool_under_tls() {
    let files = Files::new();
    let [origin, shadow] = [(), ()].map(|()| Origin::answering(Script::ok("here")));
    let front = files.front(shadow.addr(), "server", &TlsFrontOptions::default());
    let mut config = Config::http(&[origin.addr()]);
    let tls = files.trusted("");
    config.pools = format!("  q: {{ backends: ['{}'], {tls} }}\n", front.addr());
    let config = config.with("routes: [ { name: r, pool: p, mirror: { pool: q } } ]");
    let process = config.start();
    assert_eq!(get(process.listener("web"), "/copied").text(), "here");
    assert_eq!(shadow.wait_for(1)[0].target, "/copied");
    assert_eq!(front.secured().len(), 1);
}

#[test]
fn sessions_of_mode_tcp_reach_their_backend_under_tls() {
    let files = Files::new();
    let sink = EchoServer::start(PeerMode::Echo);
    let front = files.front(sink.addr(), "server", &TlsFrontOptions::default());
    let config = Config::tcp(&[front.addr()]).with_pool(&files.trusted(""));
    let process = config.start();
    let sent = EchoServer::pattern(200_000);
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    client.send(&sent).unwrap();
    assert!(client.read_exact(sent.len()).unwrap() == sent);
    client.half_close().unwrap();
    assert_eq!(client.read_to_end().unwrap(), b"");
    wait_for_cause(&process, "completed", 1);
    wait_until(|| front.secured()[0].is_ended, "our end is announced");
}

#[test]
fn a_session_whose_backend_is_cut_off_does_not_end_tidily() {
    let files = Files::new();
    let origin = Origin::answering(Script::ok("").until_close("all of it"));
    let options = TlsFrontOptions {
        cuts: true,
        ..TlsFrontOptions::default()
    };
    let front = files.front(origin.addr(), "server", &options);
    let config = Config::tcp(&[front.addr()]).with_pool(&files.trusted(""));
    let process = config.start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    assert!(client.read_to_end().is_err(), "a reset");
    wait_for_cause(&process, "aborted_by_upstream", 1);
}

#[test]
fn a_reload_that_changes_how_a_backend_is_reached_closes_what_is_idle() {
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here"));
    let (front, config) = secured(&files, &origin);
    let process = config.start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    let asked = |client: &mut RawClient| {
        assert_eq!(get_on(client, "/").text(), "here");
        front.secured().len()
    };
    assert_eq!(asked(&mut client), 1);
    reload(&process, &config.with("via_name: x"));
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    assert_eq!(asked(&mut client), 1, "nothing about TLS has changed");
    let other = Config::http(&[front.addr()]).with_pool(&files.trusted("server_name: localhost"));
    reload(&process, &other);
    wait_until(|| front.secured()[0].is_ended, "the idle one is closed");
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    assert_eq!(asked(&mut client), 2);
    let names = front.secured();
    assert_eq!(names[1].server_name.as_deref(), Some("localhost"));
    assert!(!names[1].is_resumed);
}
