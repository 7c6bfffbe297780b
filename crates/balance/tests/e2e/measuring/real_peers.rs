//! The load against servers, and the backend under loads, that others have written.

use balance_bench::{Backend, BackendOptions, IdentityFiles};
use balance_testkit::ConfiguredProgram;

use crate::programs::{is_here, run};
use crate::subject::{balance, check_output};
use crate::tls::files::Files;

/// nginx closes a connection after so many requests, by GOAWAY in HTTP/2.
const REQUESTS_PER_CONNECTION: &str = "keepalive_requests 100;";

#[test]
fn every_request_to_nginx_is_answered_although_it_ends_connections() {
    if !is_here("nginx") {
        return;
    }
    let files = Files::new();
    let (certificate, key) = (files.path("server.pem"), files.path("server.key"));
    let secure = format!("ssl_certificate {certificate}; ssl_certificate_key {key};");
    for (listen, scheme, options) in [
        ("", "http", &[][..]),
        (" ssl", "https", &[]),
        (" http2", "http", &["--h2", "--streams", "8"]),
        (" ssl http2", "https", &["--h2", "--streams", "8"]),
    ] {
        let nginx = ConfiguredProgram::nginx(&format!(
            "server {{ listen 127.0.0.1:@PORT@{listen}; {secure} {REQUESTS_PER_CONNECTION} \
             location / {{ return 200 well; }} }}"
        ));
        let nginx = nginx.unwrap();
        let url = format!("{scheme}://{}/", nginx.addr());
        let ca = files.path("ca.pem");
        let trust: &[&str] = match scheme {
            "https" => &["--ca", &ca],
            _ => &[],
        };
        let args = [
            "bench",
            "http",
            &url,
            "--requests",
            "2000",
            "--connections",
            "4",
        ];
        let output = balance(&[&args, options, trust].concat(), files.folder.path());
        let expected = ["status            200: 2000", "errors            none"];
        check_output(&output, 0, &expected);
    }
}

#[test]
fn h2load_is_answered_by_the_backend() {
    if !is_here("h2load") {
        return;
    }
    let files = Files::new();
    let identity = IdentityFiles {
        certificate: files.path("server.pem").into(),
        key: files.path("server.key").into(),
    };
    for (tls, scheme) in [(None, "http"), (Some(identity), "https")] {
        let backend = Backend::start(&BackendOptions {
            body_bytes: 100_000,
            tls,
            ..Default::default()
        });
        let backend = backend.unwrap();
        for protocol in [&["--h1"][..], &["-m", "16"]] {
            let url = format!("{scheme}://{}/", backend.local_addr());
            let args = ["-t1", "-c8", "-n2000", &url];
            let said = run("h2load", &[protocol, &args].concat());
            assert!(said.contains("2000 succeeded, 0 failed"), "{said}");
        }
        assert_eq!(backend.requests(), 4_000);
    }
}
