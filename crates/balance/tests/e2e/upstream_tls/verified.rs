//! Who is taken for a backend, and what is said when it is not.

use balance_testkit::{Origin, Script, TlsFrontOptions};

use crate::subject::{Config, check_output, get, run_to_its_end, wait_for_cause};
use crate::tls::Files;

#[test]
fn only_a_backend_that_can_be_verified_gets_the_request() {
    let files = Files::new();
    files.issue("other", &["other.test"]);
    files.issue_between("expired", &["127.0.0.1"], (2020, 2021));
    files.issue_between("early", &["127.0.0.1"], (2100, 2101));
    files.issue_by_a_stranger("stranger", &["127.0.0.1"]);
    let trusted = files.trusted("");
    let certificate_error = |reason| Err(("tls_certificate_error", reason));
    for (shown, tls, expected) in [
        ("server", &trusted, Ok(())),
        (
            "other",
            &trusted,
            certificate_error("its certificate is for another name"),
        ),
        ("other", &files.trusted("server_name: other.test"), Ok(())),
        (
            "expired",
            &trusted,
            certificate_error("its certificate has expired"),
        ),
        (
            "early",
            &trusted,
            certificate_error("its certificate is not valid yet"),
        ),
        (
            "stranger",
            &trusted,
            certificate_error("its certificate is of an authority that is not trusted"),
        ),
        (
            "server",
            &"tls: {}".to_owned(),
            certificate_error("its certificate is of an authority that is not trusted"),
        ),
        (
            "stranger",
            &"tls: { insecure_skip_verify: true }".to_owned(),
            Ok(()),
        ),
        (
            "server",
            &files.trusted(
                "max_version: '1.2', cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]",
            ),
            Err((
                "tls_protocol_error",
                "no version or cipher suite of TLS in common",
            )),
        ),
        (
            "server",
            &files.trusted("alpn_protocols: [spdy/1]"),
            Err((
                "tls_protocol_error",
                "no application protocol (ALPN) in common",
            )),
        ),
    ] {
        let origin = Origin::answering(Script::ok("here"));
        let front = files.front(origin.addr(), shown, &TlsFrontOptions::default());
        let config = Config::http(&[front.addr()]).with_pool(tls);
        let process = config.start();
        let response = get(process.listener("web"), "/");
        match expected {
            Ok(()) => assert_eq!(response.text(), "here", "{shown} {tls}"),
            Err((cause, reason)) => {
                assert_eq!(response.status, 502, "{shown} {tls}");
                wait_for_cause(&process, cause, 1);
                process.wait_for_stderr(|line| line.contains(reason));
                assert!(origin.requests().is_empty());
            }
        }
    }
}

#[test]
fn a_backend_that_wants_a_certificate_gets_it() {
    let files = Files::new();
    files.issue("us", &["us.test"]);
    files.issue_by_a_stranger("stranger", &["us.test"]);
    let authority = files.folder.path().join("ca.pem");
    for is_tls12 in [false, true] {
        let origin = Origin::answering(Script::ok("here"));
        let options = TlsFrontOptions {
            client_ca: Some(&authority),
            is_tls12,
            ..TlsFrontOptions::default()
        };
        let front = files.front(origin.addr(), "server", &options);
        for (shown, is_taken) in [(None, false), (Some("stranger"), false), (Some("us"), true)] {
            let shown = shown.map_or_else(String::new, |name| files.shown(name));
            let config = Config::http(&[front.addr()]).with_pool(&files.trusted(&shown));
            let process = config.start();
            let response = get(process.listener("web"), "/");
            if is_taken {
                assert_eq!(response.text(), "here", "{shown} {is_tls12}");
                assert!(front.secured().last().unwrap().shows_certificate);
                continue;
            }
            assert_eq!(response.status, 502, "{shown} {is_tls12}");
            wait_for_cause(&process, "tls_certificate_error", 1);
            process.wait_for_stderr(|line| line.contains("wants a certificate from us"));
            assert!(origin.requests().is_empty());
        }
    }
}

#[test]
fn another_backend_is_asked_where_one_cannot_be_verified() {
    let files = Files::new();
    files.issue_by_a_stranger("stranger", &["127.0.0.1"]);
    let origin = Origin::answering(Script::ok("here"));
    let options = TlsFrontOptions::default();
    let fronts = ["stranger", "server"].map(|name| files.front(origin.addr(), name, &options));
    let addresses = [fronts[0].addr(), fronts[1].addr()];
    let config = Config::http(&addresses).with_pool(&files.trusted(""));
    let process = config.start();
    for _ in 0..4 {
        assert_eq!(get(process.listener("web"), "/").text(), "here");
    }
    wait_for_cause(&process, "completed", 4);
}

#[test]
fn what_cannot_be_used_keeps_it_from_starting() {
    let files = Files::new();
    files.issue("us", &["us.test"]);
    for (tls, parts) in [
        (
            "tls: { ca_file: /nowhere/ca.pem }".to_owned(),
            &["`/nowhere/ca.pem` cannot be read", "readable for the user"][..],
        ),
        (
            format!("tls: {{ ca_file: '{}' }}", files.path("server.key")),
            &["is no certificate: a private key is in it"],
        ),
        (
            files.trusted(&format!("client_cert_file: '{}'", files.path("us.pem"))),
            &["`client_cert_file` needs `client_key_file` beside it"],
        ),
        (
            files.trusted(&format!(
                "client_cert_file: '{}', client_key_file: '{}'",
                files.path("us.pem"),
                files.path("server.key")
            )),
            &["server.key", "does not belong to the certificate"],
        ),
        (
            files.trusted("server_name: 'a b'"),
            &[
                "no certificate can be for `a b`",
                "a host name or an address",
            ],
        ),
        (
            files.trusted("min_version: '1.3', max_version: '1.2'"),
            &["`min_version` 1.3 is above `max_version` 1.2"],
        ),
        (
            files.trusted("cipher_suites: [RC4]"),
            &["there is no cipher suite `RC4`"],
        ),
        (
            files.trusted("alpn_protocols: [h2]"),
            &["`h2` is asked for, and HTTP/1.1 would be spoken"],
        ),
    ] {
        let config = Config::http(&["127.0.0.1:1".parse().unwrap()]).with_pool(&tls);
        check_output(&run_to_its_end(&config.yaml()), 1, parts);
    }
    let mut config = Config::http(&[]).with_pool(&files.trusted(""));
    config.backends = vec!["{ name: a, address: 'unix:/run/a.sock' }".to_owned()];
    let parts = &["no name to ask `unix:/run/a.sock` for", "add `server_name`"];
    check_output(&run_to_its_end(&config.yaml()), 1, parts);
    let config =
        Config::http(&["127.0.0.1:1".parse().unwrap()]).with_pool("health_check: { type: https }");
    let parts = &["probes would speak TLS to backends that are reached without it"];
    check_output(&run_to_its_end(&config.yaml()), 1, parts);
}
