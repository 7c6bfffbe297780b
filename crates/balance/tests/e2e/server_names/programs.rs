//! Real TLS on both sides, through a Balance that has neither certificate nor key.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use balance_testkit::{ConfiguredProgram, TempDir};

use crate::programs::{is_here, run};
use crate::subject::Config;

/// A certificate for one name, which signs itself.
fn certificate(folder: &Path, name: &str) -> [String; 2] {
    let path = |kind: &str| folder.join(format!("{name}.{kind}")).display().to_string();
    let (certificate, key) = (path("pem"), path("key"));
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}")])
        .args(["-addext", &format!("subjectAltName=DNS:{name}")])
        .args(["-keyout", &key, "-out", &certificate])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    [certificate, key]
}

fn curl(web: SocketAddr, authority: &Path, name: &str, more: &[&str]) -> String {
    let to = format!("{name}:443:{web}");
    let url = format!("https://{name}/");
    let authority = authority.join(format!("{name}.pem"));
    let words = ["-sS", "--max-time", "20", "--connect-to", &to, "--cacert"];
    let words = [&words[..], &[authority.to_str().unwrap()], more, &[&url]].concat();
    run("curl", &words)
}

#[test]
fn curl_and_openssl_reach_the_server_whose_certificate_they_want() {
    if !["curl", "openssl", "nginx"].into_iter().all(is_here) {
        return;
    }
    let folder = TempDir::new("certificates").unwrap();
    let [pem, key] = certificate(folder.path(), "nginx.example");
    let nginx = ConfiguredProgram::nginx(&format!(
        "server {{ listen 127.0.0.1:@PORT@ ssl; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {pem}; ssl_certificate_key {key}; \
         location / {{ return 200 \"nginx saw $ssl_server_name\"; }} }}"
    ))
    .unwrap();
    let [pem, key] = certificate(folder.path(), "openssl.example");
    let words = [
        "s_server",
        "-accept",
        "127.0.0.1:@PORT@",
        "-cert",
        &pem,
        "-key",
        &key,
        "-www",
        "-quiet",
    ];
    let openssl = ConfiguredProgram::with_arguments("openssl", &words).unwrap();
    let config = Config {
        listener: "pool: p, tls: { sni: { routes: { nginx.example: a, '*.example': b } } }"
            .to_owned(),
        ..Config::tcp(&[nginx.addr(), openssl.addr()])
    };
    let process = config.start();
    let web = process.listener("web");
    // Each client checks the certificate: it speaks to whom it named.
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        let text = curl(web, folder.path(), "nginx.example", version);
        assert_eq!(text, "nginx saw nginx.example", "{version:?}");
        let text = curl(web, folder.path(), "openssl.example", version);
        assert!(text.contains("s_server"), "{version:?} {text}");
    }
    for name in ["nginx.example", "openssl.example"] {
        let output = Command::new("openssl")
            .args([
                "s_client",
                "-connect",
                &web.to_string(),
                "-servername",
                name,
            ])
            .args([
                "-CAfile",
                folder.path().join(format!("{name}.pem")).to_str().unwrap(),
            ])
            .args(["-verify_return_error", "-verify_hostname", name, "-brief"])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{name}: {text}");
        assert!(text.contains("Verification: OK"), "{name}: {text}");
    }
}
