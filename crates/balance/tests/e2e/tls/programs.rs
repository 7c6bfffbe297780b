//! Programs that people judge and measure TLS with.

use std::process::Command;

use balance_testkit::{Origin, Process, Script};

use super::files::{Files, said};
use crate::programs::is_here;
use crate::subject::{Config, cause, metric, wait_until};

/// A listener with a certificate of each kind.
fn start(files: &Files, origin: &Origin) -> Process {
    files.issue_with("rsa", &["a.test", "127.0.0.1"], &rcgen::PKCS_RSA_SHA256);
    let pairs = ["server", "rsa"].map(|name| format!("{{ {} }}", files.pair(name)));
    let tls = format!("certificates: [{}]", pairs.join(", "));
    files.secure(Config::http(&[origin.addr()]), &tls).start()
}

#[test]
fn openssl_measures_new_and_resumed_handshakes() {
    if !is_here("openssl") {
        return;
    }
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here"));
    let process = start(&files, &origin);
    let (web, authority) = (process.listener("web").to_string(), files.path("ca.pem"));
    for (version, is_resumed, words) in [
        ("1.2", true, ["-tls1_2", "-reuse"]),
        ("1.3", false, ["-tls1_3", "-new"]),
        ("1.3", true, ["-tls1_3", "-reuse"]),
    ] {
        let series = format!(
            "balance_tls_handshakes_total{{version=\"{version}\",resumed=\"{is_resumed}\"}}"
        );
        let before = metric(&process, &series);
        // It counts for a second, which a busy machine may sleep through.
        let measured = || {
            let mut command = Command::new("openssl");
            command.args(["s_time", "-connect", &web, "-CAfile", &authority]);
            command.args(["-verify", "3", "-www", "/", "-time", "1"]);
            let text = said(&command.args(words).output().unwrap());
            assert!(text.contains("connections/user sec"), "{text}");
            metric(&process, &series) > before + 1.0
        };
        wait_until(measured, &series);
    }
    assert_eq!(cause(&process, "tls_handshake_failed"), 0.0);
}

/// Protocols and kinds of cipher suites; `ci/long` asks for the rest of what it can find, which takes a minute.
#[test]
fn testssl_finds_nothing_to_blame() {
    if !is_here("testssl") || !is_here("openssl") {
        return;
    }
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here"));
    let process = start(&files, &origin);
    let report = files.path("report.json");
    let is_whole = std::env::var_os("BALANCE_TESTSSL_WHOLE").is_some();
    let parts: &[&str] = match is_whole {
        false => &["--protocols", "--std"],
        true => &[
            "--protocols",
            "--std",
            "--fs",
            "--server-preference",
            "--vulnerable",
        ],
    };
    let mut command = Command::new("testssl");
    command
        .args(["--quiet", "--color", "0", "--warnings", "off"])
        .args(["--nodns", "none", "--jsonfile", &report])
        .args(parts)
        .arg(process.listener("web").to_string())
        // Seconds that it waits for an answer before it takes silence for one.
        .env("MAX_WAITSOCK", "60")
        .current_dir(files.folder.path());
    let output = command.output().unwrap();
    let report = std::fs::read(report).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let findings = report.as_array().unwrap();
    let of = |key: &str| -> Vec<&str> {
        let values = findings.iter().map(|finding| &finding[key]);
        values.map(|value| value.as_str().unwrap()).collect()
    };
    let found = || of("id").into_iter().zip(of("severity"));
    for (id, severity) in found() {
        let is_blamed = ["LOW", "MEDIUM", "HIGH", "CRITICAL", "FATAL"].contains(&severity);
        assert!(!is_blamed, "{id}: {severity}\n{findings:#?}");
    }
    for id in [
        "SSLv2",
        "SSLv3",
        "TLS1_2",
        "TLS1_3",
        "cipherlist_NULL",
        "cipherlist_aNULL",
        "cipherlist_EXPORT",
        "cipherlist_LOW",
        "cipherlist_STRONG",
    ] {
        assert!(
            found().any(|one| one == (id, "OK")),
            "{id}: {findings:#?}\n{output:?}"
        );
    }
}
