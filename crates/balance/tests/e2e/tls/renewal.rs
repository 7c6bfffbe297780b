//! Certificates that are renewed while handshakes are made.

use balance_testkit::{Origin, Process, Script};

use super::files::{Files, rename};
use crate::programs::{Wrk, is_here};
use crate::subject::{Config, metric, reload, wait_until};

/// The name in the certificate that is shown.
fn shown(files: &Files, process: &Process) -> String {
    let text = files.s_client(process.listener("web"), &[], b"");
    let subject = text.lines().find(|line| line.starts_with("subject="));
    let name = subject.and_then(|line| line.rsplit(['=', ' ']).next());
    name.unwrap_or_default().to_owned()
}

fn start(files: &Files, origin: &Origin) -> Process {
    files.secured(Config::http(&[origin.addr()])).start()
}

#[test]
fn files_that_are_renamed_into_place_are_taken_into_use() {
    if !is_here("openssl") {
        return;
    }
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here"));
    let process = start(&files, &origin);
    assert_eq!(shown(&files, &process), "server");
    files.issue("renewed", &["a.test"]);
    for file in ["pem", "key"] {
        rename(
            files.folder.path(),
            &format!("renewed.{file}"),
            &format!("server.{file}"),
        );
    }
    wait_until(
        || shown(&files, &process) == "renewed",
        "the new one is shown",
    );
    let expiry = "balance_tls_certificate_expiry_timestamp_seconds";
    let certificate = files.path("server.pem");
    let series = format!("{expiry}{{listener=\"web\",certificate=\"{certificate}\"}}");
    assert!(metric(&process, &series) > 1e9);
}

#[test]
fn a_link_that_is_pointed_elsewhere_is_followed() {
    if !is_here("openssl") {
        return;
    }
    let files = Files::new();
    let folder = files.folder.path();
    for (name, data) in [("server", "..old"), ("next", "..new")] {
        files.issue(name, &["a.test"]);
        std::fs::create_dir(folder.join(data)).unwrap();
        for file in ["pem", "key"] {
            rename(
                folder,
                &format!("{name}.{file}"),
                &format!("{data}/server.{file}"),
            );
        }
    }
    // As Kubernetes mounts a secret: the files are links through a link that is replaced.
    std::os::unix::fs::symlink("..old", folder.join("..data")).unwrap();
    for file in ["server.pem", "server.key"] {
        std::os::unix::fs::symlink(format!("..data/{file}"), folder.join(file)).unwrap();
    }
    let origin = Origin::answering(Script::ok("here"));
    let process = start(&files, &origin);
    assert_eq!(shown(&files, &process), "server");
    std::os::unix::fs::symlink("..new", folder.join("..tmp")).unwrap();
    rename(folder, "..tmp", "..data");
    wait_until(|| shown(&files, &process) == "next", "the new one is shown");
}

#[test]
fn a_pair_that_cannot_be_used_leaves_the_old_one_in_use_and_says_why() {
    if !is_here("openssl") {
        return;
    }
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here"));
    let process = start(&files, &origin);
    assert_eq!(shown(&files, &process), "server");
    files.issue("other", &["a.test"]);
    rename(files.folder.path(), "other.key", "server.key");
    process.wait_for_stderr(|line| line.contains("does not belong to the certificate"));
    process.wait_for_stderr(|line| line.contains("the old ones stay in use"));
    assert_eq!(shown(&files, &process), "server");
    rename(files.folder.path(), "other.pem", "server.pem");
    wait_until(
        || shown(&files, &process) == "other",
        "the new one is shown",
    );
}

#[test]
fn reloads_cost_no_handshake() {
    if !is_here("wrk") {
        return;
    }
    let files = Files::new();
    let origin = Origin::answering(Script::ok("here"));
    let config = files.secured(Config::http(&[origin.addr()]));
    let process = config.start();
    let web = process.listener("web");
    // Each request on a connection of its own.
    let wrk = Wrk::start_closing(&format!("https://{web}/"), 8);
    for round in 0..reloads() {
        let name = format!("r{round}");
        files.issue(&name, &["a.test"]);
        for file in ["pem", "key"] {
            rename(
                files.folder.path(),
                &format!("{name}.{file}"),
                &format!("server.{file}"),
            );
        }
        reload(&process, &config);
    }
    // Before wrk goes away in the middle of some.
    let failed = metric(
        &process,
        "balance_exchange_cause_total{cause=\"tls_handshake_failed\"}",
    );
    wrk.finish_without_errors();
    assert_eq!(failed, 0.0);
}

/// How many: `ci/long` asks for more.
fn reloads() -> u32 {
    let asked = std::env::var("BALANCE_CERTIFICATE_RELOADS").ok();
    asked.and_then(|count| count.parse().ok()).unwrap_or(20)
}
