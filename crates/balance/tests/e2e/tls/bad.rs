//! What is refused: by the configuration before it runs, and by a listener.

use balance_testkit::{Origin, RawClient, Script};

use super::files::Files;
use crate::programs::is_here;
use crate::subject::{Config, check_output, metric, run_to_its_end, wait_for_cause, wait_until};

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
        let config = files.secure(Config::http(&["127.0.0.1:1".parse().unwrap()]), &tls);
        let output = run_to_its_end(&config.yaml());
        check_output(&output, 1, parts);
    }
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
fn rubbish_and_silence_end_a_handshake() {
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here"));
    let config = files.secured(Config::http(&[origin.addr()]));
    let process = config.with("limits: { handshake_timeout: 400ms }").start();
    let web = process.listener("web");
    let mut rubbish = RawClient::connect(web).unwrap();
    rubbish.send([22, 3, 1, 0, 4, 0, 0, 0, 0]).unwrap();
    let alert = rubbish.read_to_end().unwrap();
    assert_eq!(alert.first(), Some(&21), "{alert:?}");
    wait_for_cause(&process, "tls_handshake_failed", 1);
    // A whole record with the beginning of a ClientHello, and nothing more: a worker that looked at it again and
    // again would serve nobody.
    let mut begun = RawClient::connect(web).unwrap();
    begun.send([22, 3, 1, 0, 5, 1, 0, 2, 0, 3]).unwrap();
    assert!(begun.is_closed_by_peer());
    wait_for_cause(&process, "tls_handshake_failed", 2);
    // The beginning of a record, and nothing more.
    let mut silent = RawClient::connect(web).unwrap();
    silent.send([22, 3, 1, 2, 0, 1, 0]).unwrap();
    assert!(silent.is_closed_by_peer());
    wait_for_cause(&process, "tls_handshake_failed", 3);
    assert!(origin.requests().is_empty());
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
