//! What clients and we agree on: versions, suites, protocols, certificates, resumption.

use balance_testkit::{Origin, Script};

use super::files::{Files, said};
use crate::programs::is_here;
use crate::subject::{Config, metric};

fn origin() -> Origin {
    Origin::answering(Script::ok("here"))
}

#[test]
fn openssl_agrees_on_what_both_have() {
    if !is_here("openssl") {
        return;
    }
    let files = Files::new();
    let origin = origin();
    let process = files.secured(Config::http(&[origin.addr()])).start();
    let web = process.listener("web");
    for (args, expected) in [
        (&["-brief"][..], "TLSv1.3"),
        (&["-brief"], "TLS_AES_128_GCM_SHA256"),
        (
            &[
                "-brief",
                "-ciphersuites",
                "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256",
            ],
            "TLS_CHACHA20_POLY1305_SHA256",
        ),
        (&["-brief", "-tls1_2"], "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (&["-alpn", "h2,http/1.1"], "ALPN protocol: h2"),
        (&["-alpn", "http/1.1"], "ALPN protocol: http/1.1"),
        (
            &["-verify_return_error", "-verify_hostname", "a.test"],
            "Verify return code: 0 (ok)",
        ),
    ] {
        let text = files.s_client(web, args, b"");
        assert!(text.contains(expected), "{args:?}:\n{text}");
    }
    for refused in [
        &["-brief", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..],
        &["-brief", "-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"],
        &["-brief", "-alpn", "spdy/1"],
    ] {
        let text = files.s_client(web, refused, b"");
        assert!(text.contains("alert"), "{refused:?}:\n{text}");
        assert!(
            !text.contains("CONNECTION ESTABLISHED"),
            "{refused:?}:\n{text}"
        );
    }
}

#[test]
fn a_session_is_resumed_over_a_reload() {
    if !is_here("openssl") {
        return;
    }
    let files = Files::new();
    let origin = origin();
    let config = files.secured(Config::http(&[origin.addr()]));
    let mut process = config.start();
    let web = process.listener("web");
    for version in ["-tls1_3", "-tls1_2"] {
        let session = files.path("session");
        let request = b"GET / HTTP/1.0\r\n\r\n";
        let text = files.s_client(web, &[version, "-sess_out", &session, "-ign_eof"], request);
        assert!(text.contains("New, TLS"), "{text}");
        crate::subject::reload(&process, &config);
        let text = files.s_client(web, &[version, "-sess_in", &session, "-ign_eof"], request);
        assert!(text.contains("Reused, TLS"), "{version}: {text}");
    }
    let resumed = |version: &str| {
        let series = "balance_tls_handshakes_total";
        metric(
            &process,
            &format!("{series}{{version=\"{version}\",resumed=\"true\"}}"),
        )
    };
    assert_eq!((resumed("1.2"), resumed("1.3")), (1.0, 1.0));
    process.terminate();
}

#[test]
fn clients_are_shown_the_certificate_of_the_name_they_ask_for() {
    if !is_here("openssl") {
        return;
    }
    let files = Files::new();
    files.issue("b", &["b.test"]);
    files.issue("under", &["*.c.test"]);
    files.issue_with("rsa", &["b.test"], &rcgen::PKCS_RSA_SHA256);
    let entries: Vec<String> = ["server", "b", "under", "rsa"]
        .iter()
        .map(|name| format!("{{ {} }}", files.pair(name)))
        .collect();
    let tls = format!("certificates: [{}]", entries.join(", "));
    let origin = origin();
    let process = files.secure(Config::http(&[origin.addr()]), &tls).start();
    let web = process.listener("web");
    for (args, expected) in [
        (&["-servername", "a.test"][..], "CN=server"),
        (&["-servername", "b.test"], "CN=b"),
        (&["-servername", "x.c.test"], "CN=under"),
        (&["-servername", "other.test"], "CN=server"),
        (&["-noservername"], "CN=server"),
        (
            &["-servername", "b.test", "-sigalgs", "RSA-PSS+SHA256"],
            "CN=rsa",
        ),
    ] {
        let text = files.s_client(web, args, b"").replace("CN = ", "CN=");
        let shown = text.lines().find(|line| line.starts_with("subject="));
        let shown = shown.unwrap_or_default();
        assert!(shown.ends_with(expected), "{args:?}: {shown}\n{text}");
    }
}

#[test]
fn the_five_modes_of_client_certificates() {
    if !is_here("curl") {
        return;
    }
    let files = Files::new();
    files.issue("client", &["client.test"]);
    files.issue_by_a_stranger("stranger", &["client.test"]);
    let origin = origin();
    for (mode, expected) in [
        ("none", [true, true, true]),
        ("request", [true, true, true]),
        ("require", [false, true, true]),
        ("verify", [true, true, false]),
        ("require-and-verify", [false, true, false]),
    ] {
        let tls = format!(
            "{}, client_auth: {mode}, client_ca_file: '{}'",
            files.pair("server"),
            files.path("ca.pem")
        );
        let process = files.secure(Config::http(&[origin.addr()]), &tls).start();
        let web = process.listener("web");
        for (shown, expected) in [None, Some("client"), Some("stranger")]
            .iter()
            .zip(expected)
        {
            let (certificate, key) = match shown {
                Some(name) => (
                    files.path(&format!("{name}.pem")),
                    files.path(&format!("{name}.key")),
                ),
                None => Default::default(),
            };
            let shows: &[&str] = match shown {
                Some(_) => &["--cert", &certificate, "--key", &key],
                None => &[],
            };
            let output = files.curl(web, &[shows, &["https://a.test/"]].concat());
            assert_eq!(
                output.status.success(),
                expected,
                "{mode}, {shown:?}: {output:?}"
            );
            if expected {
                assert_eq!(said(&output), "here");
            }
        }
    }
}
