//! What stands in front of requests under TLS: a PROXY header, a redirect from cleartext, a certificate made by ourselves.

use std::os::unix::fs::PermissionsExt;

use balance_testkit::{Origin, Script};

use super::files::{Files, said};
use crate::programs::is_here;
use crate::subject::{Config, balance, check_output, wait_for_cause};

#[test]
fn a_proxy_header_comes_before_the_handshake() {
    if !is_here("curl") {
        return;
    }
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here"));
    let mut config = files.secured(Config::http(&[origin.addr()]));
    config
        .listener
        .push_str(", proxy_protocol: { accept: true, from: 127.0.0.1 }");
    let process = config.start();
    let web = process.listener("web");
    let text = said(&files.curl(web, &["--haproxy-protocol", "https://a.test/"]));
    assert_eq!(text, "here");
    assert_eq!(
        origin.wait_for(1)[0].header("x-forwarded-proto"),
        Some("https")
    );
    // A handshake that begins at once is no header.
    assert!(!files.curl(web, &["https://a.test/"]).status.success());
    wait_for_cause(&process, "proxy_header_invalid", 1);
}

#[test]
fn cleartext_is_redirected_and_told_to_stay_with_tls() {
    if !is_here("curl") {
        return;
    }
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here"));
    let mut config = files.secured(Config::http(&[origin.addr()]));
    config.listener.push_str(
        ", routes: [site] }\n- { name: clear, listen: '127.0.0.1:0', mode: http, routes: [to-https]",
    );
    let process = config
        .with(
            "routes:\n\
             - { name: to-https, match: { host: '*' }, redirect: { scheme: https, status: 308 } }\n\
             - { name: site, match: { host: '*' }, pool: p, transform: { response_headers: [ \
             { action: set, name: Strict-Transport-Security, value: max-age=31536000 } ] } }",
        )
        .start();
    let format = ["--output", "/dev/null", "-w"];
    let moved = ["%{http_code} %{redirect_url}", "http://a.test/x?y=1"];
    let text = said(&files.curl(
        process.listener("clear"),
        &[format.as_slice(), &moved].concat(),
    ));
    assert_eq!(text, "308 https://a.test/x?y=1");
    let kept = ["%header{strict-transport-security}", "https://a.test/"];
    let text = said(&files.curl(
        process.listener("web"),
        &[format.as_slice(), &kept].concat(),
    ));
    assert_eq!(text, "max-age=31536000");
}

#[test]
fn a_certificate_made_by_ourselves_serves_its_names() {
    if !is_here("curl") {
        return;
    }
    let files = Files::new();
    let (pem, key) = (files.path("ca.pem"), files.path("own.key"));
    let words = [
        "cert",
        "self-signed",
        "a.test",
        "--cert",
        &pem,
        "--key",
        &key,
    ];
    let folder = files.folder.path();
    check_output(&balance(&words, folder), 1, &["ca.pem"]); // it is there
    let forced = [&words[..], &["--force"]].concat();
    check_output(&balance(&forced, folder), 0, &[]);
    let mode = std::fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let origin = Origin::answering(Script::ok("here"));
    let tls = format!("cert_file: '{pem}', key_file: '{key}'");
    let process = files.secure(Config::http(&[origin.addr()]), &tls).start();
    let web = process.listener("web");
    assert_eq!(said(&files.curl(web, &["https://a.test/"])), "here");
    assert!(!files.curl(web, &["https://b.test/"]).status.success());
}
