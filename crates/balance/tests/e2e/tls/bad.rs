//! What is refused: by the configuration before it runs, and by a listener.

use balance_testkit::{Origin, RawClient, Script, client_hello};

use super::files::Files;
use crate::programs::is_here;
use crate::subject::{
    Config, balance, cause, check_output, metric, run_to_its_end, wait_for_cause, wait_until,
};

/// What `balance check` says about a listener with these keys of `tls`: the exit code, and that these parts are among it.
#[track_caller]
fn check(files: &Files, tls: &str, code: i32, parts: &[&str]) {
    let config = files.secure(Config::http(&["127.0.0.1:1".parse().unwrap()]), tls);
    files.write("balance.yaml", &config.yaml());
    let words = ["check", &files.path("balance.yaml")];
    check_output(&balance(&words, files.folder.path()), code, parts);
}

/// The same of an attempt to start, which must fail.
#[track_caller]
fn check_start(files: &Files, tls: &str, parts: &[&str]) {
    let config = files.secure(Config::http(&["127.0.0.1:1".parse().unwrap()]), tls);
    check_output(&run_to_its_end(&config.yaml()), 1, parts);
}

#[test]
fn files_and_keys_that_cannot_be_used_keep_it_from_starting() {
    let files = Files::new();
    files.issue("other", &["a.test"]);
    files.write("rubbish.pem", "-----BEGIN CERTIFICATE-----\nrubbish\n");
    files.write(
        "secret.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let pair = |certificate: &str, key: &str| {
        let (certificate, key) = (files.path(certificate), files.path(key));
        format!("cert_file: '{certificate}', key_file: '{key}'")
    };
    let good = files.pair("server");
    for (tls, parts) in [
        (
            pair("server.pem", "other.key"),
            &["other.key", "does not belong to", "server.pem", "help"][..],
        ),
        (
            pair("rubbish.pem", "server.key"),
            &["rubbish.pem", "no certificate"],
        ),
        (
            pair("server.pem", "secret.key"),
            &["secret.key", "encrypted", "openssl pkey"],
        ),
        (
            pair("server.pem", "missing.key"),
            &["missing.key", "cannot be read"],
        ),
        (
            pair("server.key", "server.pem"),
            &["are the certificate and the key swapped?"],
        ),
        (
            "min_version: '1.2'".to_owned(),
            &["no certificate to show", "cert_file"],
        ),
        (
            format!("{good}, min_version: '1.0'"),
            &["`1.0` is refused", "RFC 8996"],
        ),
        (
            format!("{good}, max_version: '1.1'"),
            &["`1.1` is refused", "RFC 8996"],
        ),
        (
            format!("{good}, min_version: '1.3', max_version: '1.2'"),
            &["`min_version` 1.3 is above `max_version` 1.2"],
        ),
        (
            format!("{good}, cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]"),
            &[
                "no cipher suite `TLS_RSA_WITH_RC4_128_SHA`",
                "TLS_AES_128_GCM_SHA256, ",
            ],
        ),
        (format!("{good}, client_auth: verify"), &["client_ca_file"]),
        (
            format!(
                "{good}, client_auth: verify, client_ca_file: '{}'",
                files.path("server.key")
            ),
            &["server.key", "no certificate"],
        ),
        (
            format!("{good}, alpn_protocols: [h3]"),
            &["`h3` is nothing that mode http speaks"],
        ),
        (
            format!("{good}, backend: {{ ca_file: x }}"),
            &["write `tls` into the pool that the listener uses"],
        ),
    ] {
        let parts = [parts, &["balance.yaml:", "help: "]].concat();
        check(&files, &tls, 1, &parts);
        check_start(&files, &tls, &parts);
    }
}

/// An operator must be able to take another change into use meanwhile, so it starts.
#[test]
fn what_clients_would_refuse_is_warned_of() {
    let files = Files::new();
    files.issue_between("old", &["a.test"], (2020, 2021));
    files.issue_between("early", &["a.test"], (2190, 2191));
    let read = |name: &str| std::fs::read_to_string(files.path(name)).unwrap();
    files.issue("between", &["between.test"]);
    let chain = ["server.pem", "between.pem", "ca.pem"].map(read).concat();
    files.write("order.pem", &chain);
    let order = (files.path("order.pem"), files.path("server.key"));
    let origin = Origin::answering(Script::ok("here"));
    for (tls, parts) in [
        (files.pair("server"), &["is valid\n"][..]),
        (
            files.pair("old"),
            &["old.pem", "expired on Jan  1 00:00:00 2021", "renew it"],
        ),
        (
            files.pair("early"),
            &[
                "early.pem",
                "not valid before Jan  1 00:00:00 2190",
                "clock",
            ],
        ),
        (
            format!("cert_file: '{}', key_file: '{}'", order.0, order.1),
            &[
                "order.pem",
                "certificate 2 did not issue certificate 1",
                "put the server's own certificate first",
            ],
        ),
        (
            format!(
                "certificates: [ {{ {}, domains: [b.test] }} ]",
                files.pair("server")
            ),
            &[
                "server.pem",
                "is not for `b.test`",
                "its names are `a.test`",
            ],
        ),
    ] {
        check(&files, &tls, 0, parts);
        let process = files.secure(Config::http(&[origin.addr()]), &tls).start();
        process.listener("web"); // it runs
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let files = Files::new();
    files.issue("other", &["a.test"]);
    let tls = format!(
        "cert_file: '{}', key_file: '{}', min_version: '1.0', cipher_suites: [TLS_NULL], certs: x, \
         client_ca_file: '{}', client_auth: verify",
        files.path("server.pem"),
        files.path("other.key"),
        files.path("missing.pem")
    );
    let parts = [
        "does not belong to the certificate",
        "`1.0` is refused",
        "no cipher suite `TLS_NULL`",
        "unknown key `certs`",
        "missing.pem` cannot be read",
    ];
    check(&files, &tls, 1, &parts);
    check_start(&files, &tls, &parts);
}

#[test]
fn a_request_in_the_clear_is_told_what_is_spoken_here() {
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here"));
    let process = files.secured(Config::http(&[origin.addr()])).start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    let response = client
        .exchange("GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    assert_eq!(response.status, 400);
    assert!(response.text().contains("https://"), "{}", response.text());
    assert!(client.is_closed_by_peer());
    wait_for_cause(&process, "http_request_error", 1);
    assert!(origin.requests().is_empty());
}

#[test]
fn rubbish_ends_a_handshake() {
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here"));
    let process = files.secured(Config::http(&[origin.addr()])).start();
    let mut rubbish = RawClient::connect(process.listener("web")).unwrap();
    rubbish.send([22, 3, 1, 0, 4, 0, 0, 0, 0]).unwrap();
    let alert = rubbish.read_to_end().unwrap();
    assert_eq!(alert.first(), Some(&21), "{alert:?}");
    wait_for_cause(&process, "tls_handshake_failed", 1);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_handshake_that_does_not_go_on_ends_at_its_deadline() {
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here"));
    let config = files.secured(Config::http(&[origin.addr()]));
    let process = config.with("limits: { handshake_timeout: 400ms }").start();
    let web = process.listener("web");
    let whole = client_hello("a.test").unwrap();
    let mut ended = 0;
    for said in [
        &[][..],
        // The beginning of a record.
        &whole[..3],
        &whole[..100],
        // A whole record with the beginning of a ClientHello: a worker that looked at it again and again would serve
        // nobody.
        &[22, 3, 1, 0, 5, 1, 0, 2, 0, 3],
    ] {
        let mut silent = RawClient::connect(web).unwrap();
        // On a busy machine it may be closed before.
        let _ = silent.send(said);
        assert!(silent.is_closed_by_peer(), "{said:?}");
        ended += 1;
        wait_for_cause(&process, "tls_handshake_failed", ended);
    }
    // After our ServerHello. Whoever was stopped too long before he said his is asked to try again.
    wait_until(
        || {
            let mut silent = RawClient::connect(web).unwrap();
            let _ = silent.send(&whole);
            let heard = silent.read_to_end().unwrap_or_default();
            ended += 1;
            heard.first() == Some(&22)
        },
        "a ServerHello, and then the end",
    );
    wait_for_cause(&process, "tls_handshake_failed", ended);
    assert_eq!(cause(&process, "completed"), 0.0);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn handshakes_above_the_cap_are_closed_until_others_end() {
    if !is_here("curl") {
        return;
    }
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here"));
    let config = files.secured(Config::http(&[origin.addr()]));
    let process = config.with("limits: { handshakes_max: 1 }").start();
    let web = process.listener("web");
    let get = || files.curl(web, &["https://a.test/"]);
    assert!(get().status.success(), "one is allowed");
    let mut begun = RawClient::connect(web).unwrap();
    begun.send([22, 3, 1, 2, 0, 1, 0]).unwrap();
    wait_until(|| !get().status.success(), "the place is taken");
    drop(begun);
    wait_until(|| get().status.success(), "the place is free again");
    assert!(metric(&process, "balance_accept_errors_total") >= 1.0);
}
