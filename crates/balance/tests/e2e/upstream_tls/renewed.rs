//! Certificates and authorities that are renewed while connections are made with them, and probes.

use balance_testkit::{Origin, RawClient, Script, TlsFrontOptions};

use crate::subject::{Config, backend, get, get_on, metric, wait_until};
use crate::tls::{Files, rename};

#[test]
fn a_renewed_certificate_of_ours_is_shown_on_new_connections() {
    let files = Files::new();
    files.issue("us", &["us.test"]);
    let authority = files.folder.path().join("ca.pem");
    let origin = Origin::answering(Script::ok("here"));
    let options = TlsFrontOptions {
        client_ca: Some(&authority),
        ..TlsFrontOptions::default()
    };
    let front = files.front(origin.addr(), "server", &options);
    let config = Config::http(&[front.addr()]).with_pool(&files.trusted(&files.shown("us")));
    let process = config.start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    assert_eq!(get_on(&mut client, "/").text(), "here");
    let expiry = "balance_tls_certificate_expiry_timestamp_seconds";
    let certificate = files.path("us.pem");
    let series = format!("{expiry}{{pool=\"p\",certificate=\"{certificate}\"}}");
    assert!(metric(&process, &series) > 1e9);

    // One whose key does not match leaves the old one in use, and the connections.
    files.issue("next", &["us.test"]);
    rename(files.folder.path(), "next.key", "us.key");
    process.wait_for_stderr(|line| line.contains("does not belong to the certificate"));
    process.wait_for_stderr(|line| line.contains("the old ones stay in use"));
    assert_eq!(get_on(&mut client, "/").text(), "here");
    assert_eq!(front.secured().len(), 1);

    rename(files.folder.path(), "next.pem", "us.pem");
    wait_until(|| front.secured()[0].is_ended, "the idle one is closed");
    assert_eq!(get_on(&mut client, "/").text(), "here");
    let secured = front.secured();
    assert_eq!(secured.len(), 2);
    assert!(!secured[1].is_resumed, "it would show the old one");
}

#[test]
fn an_authority_that_is_taken_away_is_not_trusted_any_more() {
    let files = Files::new();
    let other = Files::new();
    let origin = Origin::answering(Script::ok("here"));
    let front = files.front(origin.addr(), "server", &TlsFrontOptions::default());
    let process = Config::http(&[front.addr()])
        .with_pool(&files.trusted(""))
        .start();
    assert_eq!(get(process.listener("web"), "/").text(), "here");
    let authority = std::fs::read_to_string(other.path("ca.pem")).unwrap();
    files.write("ca.next", &authority);
    rename(files.folder.path(), "ca.next", "ca.pem");
    let refused = || get(process.listener("web"), "/").status >= 502;
    wait_until(refused, "its certificates are refused");
}

#[test]
fn probes_are_made_under_tls_and_verify() {
    let files = Files::new();
    files.issue_between("expired", &["127.0.0.1"], (2020, 2021));
    let origin = Origin::answering(Script::ok("here"));
    let options = TlsFrontOptions::default();
    let good = files.front(origin.addr(), "server", &options);
    let expired = files.front(origin.addr(), "expired", &options);
    for kind in ["type: https, path: /up", "path: /up", "type: tcp"] {
        let probes = format!("health_check: {{ {kind}, interval: 20ms, unhealthy_threshold: 1 }}");
        let addresses = [good.addr(), expired.addr(), origin.addr()];
        let config = Config::http(&addresses)
            .with_pool(&files.trusted(""))
            .with_pool(&probes);
        let process = config.start();
        let health = |name: &str| backend(&process, name)["health"].clone();
        for (name, state, reason) in [
            ("a", "healthy", "the probe succeeded"),
            ("b", "unhealthy", "its certificate has expired"),
            ("c", "unhealthy", "it does not speak TLS"),
        ] {
            wait_until(|| health(name)["state"] == state, kind);
            let seen = health(name)["reason"].as_str().unwrap().to_owned();
            assert!(seen.contains(reason), "{kind}: {seen}");
        }
    }
    let probed = origin.requests();
    assert!(probed.iter().any(|probe| probe.target == "/up"));
    assert!(
        good.secured().iter().any(|one| one.is_ended),
        "probes announce their end"
    );
}
