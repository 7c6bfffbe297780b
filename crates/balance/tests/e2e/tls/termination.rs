//! Requests and sessions under TLS are what they are without it.

use balance_testkit::{EchoServer, End, Origin, PeerMode, Program, RealOrigin, Script};

use super::files::{Files, said};
use crate::programs::{Wrk, is_here};
use crate::subject::{Config, metric, wait_for_cause, wait_until};

#[test]
fn requests_arrive_as_https() {
    if !is_here("curl") {
        return;
    }
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here"));
    let process = files.secured(Config::http(&[origin.addr()])).start();
    let web = process.listener("web");
    let format = "%{http_code} %{http_version} %{num_connects}\n";
    let output = files.curl(web, &["-w", format, "https://a.test/x", "https://a.test/y"]);
    assert_eq!(said(&output), "here200 2 1\nhere200 2 0\n");
    let requests = origin.wait_for(2);
    assert_eq!(requests[0].header("x-forwarded-proto"), Some("https"));
    assert_eq!(requests[0].header("host"), Some("a.test"));
    assert_eq!(
        metric(
            &process,
            "balance_tls_handshakes_total{version=\"1.3\",resumed=\"false\"}"
        ),
        1.0
    );
    wait_for_cause(&process, "completed", 2);
}

#[test]
fn bodies_come_through_both_ways() {
    if !is_here("curl") || !is_here("node") {
        return;
    }
    let files = Files::new();
    let bytes = EchoServer::pattern(20_000_000);
    let file = files.folder.write("upload.bin", &bytes).unwrap();
    let origin = RealOrigin::start(Program::Node).unwrap();
    let process = files.secured(Config::http(&[origin.addr()])).start();
    let web = process.listener("web");
    let (data, back) = (format!("@{}", file.display()), files.path("back.bin"));
    for more in [
        &["--tlsv1.3"][..],
        &["--tls-max", "1.2"],
        &["--header", "Transfer-Encoding: chunked"],
        &["--limit-rate", "40M"],
    ] {
        let args = [
            "--data-binary",
            &data,
            "--output",
            &back,
            "https://a.test/echo",
        ];
        said(&files.curl(web, &[more, &args].concat()));
        assert!(std::fs::read(&back).unwrap() == bytes, "{more:?}");
    }
}

#[test]
fn a_response_without_length_ends_with_a_close_that_is_announced() {
    if !is_here("openssl") {
        return;
    }
    let files = Files::new();
    let origin = Origin::answering(Script::ok("no length"));
    let process = files.secured(Config::http(&[origin.addr()])).start();
    let request = b"GET / HTTP/1.0\r\n\r\n";
    let text = files.s_client(process.listener("web"), &["-quiet"], request);
    assert!(text.contains("no length"), "{text}");
    // What OpenSSL says to an end that anybody could have made.
    assert!(!text.contains("unexpected eof"), "{text}");
}

#[test]
fn sessions_of_mode_tcp_are_carried_under_tls() {
    if !is_here("openssl") {
        return;
    }
    let files = Files::new();
    let sink = EchoServer::start(PeerMode::Sink);
    let process = files.secured(Config::tcp(&[sink.addr()])).start();
    let sent: Vec<u8> = EchoServer::pattern(5_000)
        .iter()
        .map(|byte| b'a' + byte % 26)
        .collect();
    files.s_client(process.listener("web"), &["-quiet", "-no_ign_eof"], &sent);
    let sessions = sink.wait_for_ended(1);
    assert!(
        sessions[0].received == sent,
        "{}",
        sessions[0].received_bytes
    );
    assert_eq!(sessions[0].end, Some(End::Fin), "the end was announced");
    drop(process);

    let source = EchoServer::start(PeerMode::Source(300_000));
    let process = files.secured(Config::tcp(&[source.addr()])).start();
    let text = files.s_client(process.listener("web"), &["-quiet"], b"");
    assert!(text.len() > 100_000, "{}", text.len());
    assert!(!text.contains("unexpected eof"));
}

#[test]
fn sessions_under_tls_go_where_the_name_of_their_handshake_leads() {
    if !is_here("openssl") {
        return;
    }
    let files = Files::new();
    let source = |bytes| EchoServer::start(PeerMode::Source(bytes));
    let (other, named) = (source(1_000), source(2_000));
    let tls = format!(
        "{}, sni: {{ routes: {{ a.test: '{}' }} }}",
        files.pair("server"),
        named.addr()
    );
    let process = files.secure(Config::tcp(&[other.addr()]), &tls).start();
    let web = process.listener("web");
    for version in ["-tls1_2", "-tls1_3"] {
        for (name, server, count) in [("A.test", &named, 1), ("b.test", &other, 1)] {
            let before = server.sessions().len();
            let args = [version, "-quiet", "-servername", name];
            files.s_client(web, &args, b"");
            assert_eq!(server.sessions().len(), before + count, "{version} {name}");
        }
    }
}

#[test]
fn load_under_tls_is_served_without_an_error() {
    if !is_here("wrk") {
        return;
    }
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here"));
    let process = files.secured(Config::http(&[origin.addr()])).start();
    let web = process.listener("web");
    let wrk = Wrk::start_at(&format!("https://{web}/"), 32);
    wait_until(
        || {
            metric(
                &process,
                "balance_exchange_cause_total{cause=\"completed\"}",
            ) > 500.0
        },
        "requests are answered",
    );
    wrk.finish_without_errors();
    assert_eq!(
        metric(
            &process,
            "balance_exchange_cause_total{cause=\"tls_handshake_failed\"}"
        ),
        0.0
    );
}
