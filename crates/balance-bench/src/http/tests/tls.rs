//! The same over TLS.

use super::{code, exit_code, measure_url, requests_to};
use crate::tls::testing::Identity;
use crate::{Backend, BackendOptions};

fn url(backend: &Backend) -> String {
    format!("https://{}/x", backend.local_addr())
}

#[test]
fn requests_over_tls_are_counted_and_named_by_what_was_agreed() {
    let identity = Identity::new();
    let ca = identity.trusted();
    for (options, version, cipher, group) in [
        (
            &["--groups", "X25519", "--threads", "3"][..],
            "1.3",
            "TLS_AES_128_GCM_SHA256",
            "X25519",
        ),
        (
            &[
                "--tls-version",
                "1.2",
                "--groups",
                "secp256r1",
                "--ciphers",
                "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            ],
            "1.2",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "secp256r1",
        ),
    ] {
        let backend = identity.backend(BackendOptions {
            body_bytes: 100_000,
            ..Default::default()
        });
        let options = [options, &["--ca", &ca]].concat();
        let report = requests_to(&url(&backend), 400, &options);
        let outcome = &report.outcome;
        assert_eq!((outcome.requests(), outcome.failures.total()), (400, 0));
        assert_eq!((backend.requests(), backend.connections()), (400, 4));
        let agreed = &report.to_json()["tls"];
        assert_eq!(agreed.as_array().map(Vec::len), Some(1), "{agreed}");
        assert_eq!(agreed[0]["version"], version);
        assert_eq!(agreed[0]["cipher"], cipher);
        assert_eq!(agreed[0]["group"], group);
        assert_eq!(agreed[0]["handshakes"], 4);
    }
}

#[test]
fn handshakes_are_full_unless_resumption_is_asked_for() {
    let identity = Identity::new();
    for (options, version) in [
        (&["--tls-version", "1.3"][..], "1.3"),
        (&["--tls-version", "1.2"], "1.2"),
    ] {
        for resumes in [false, true] {
            let backend = identity.backend(BackendOptions::default());
            let more: &[&str] = if resumes { &["--resumption"] } else { &[] };
            let options = [options, more, &["--insecure", "--new-connections"]].concat();
            let report = requests_to(&url(&backend), 100, &options);
            assert_eq!(report.outcome.requests(), 100, "{}", report.to_text());
            let json = report.to_json();
            let of = |resumed: bool| -> u64 {
                let each = json["tls"].as_array().unwrap().iter();
                let each = each.filter(|one| one["resumed"] == resumed);
                each.map(|one| one["handshakes"].as_u64().unwrap()).sum()
            };
            // The first in each of the four places has nothing to resume.
            let expected = if resumes { (4, 96) } else { (100, 0) };
            assert_eq!((of(false), of(true)), expected, "TLS {version}");
            assert!(json["handshakes_per_second"].as_f64() > Some(0.0));
        }
    }
}

#[test]
fn an_open_loop_over_tls_keeps_its_count() {
    let identity = Identity::new();
    let backend = identity.backend(BackendOptions::default());
    let options = ["--insecure", "--rate", "1000"];
    let report = requests_to(&url(&backend), 50, &options);
    assert_eq!((report.outcome.requests(), report.outcome.begun), (50, 50));
}

#[test]
fn what_keeps_tls_from_being_is_said() {
    let identity = Identity::new();
    let other = Identity::new();
    let (ca, other) = (identity.trusted(), other.trusted());
    let backend = identity.backend(BackendOptions::default());
    for (options, words) in [
        (&["--ca", &other][..], "invalid peer certificate"),
        (
            &["--ca", &ca, "--server-name", "else.example"],
            "not valid for",
        ),
    ] {
        let report = measure_url(&url(&backend), options);
        let text = report.to_text();
        assert!(
            report.outcome.failures.to_json()["tls"].as_u64() > Some(0),
            "{text}"
        );
        assert!(text.contains(words), "{text}");
        assert_eq!(exit_code(&report), code(1));
    }
    let cleartext = Backend::start(&BackendOptions::default()).unwrap();
    // It waits for a line that never ends.
    let options = ["--insecure", "--timeout", "300ms"];
    let report = measure_url(&url(&cleartext), &options);
    assert_eq!(exit_code(&report), code(1), "{}", report.to_text());
}

#[test]
fn contradictions_are_refused_before_anything_is_measured() {
    let refused = |url: &str, options: &[&str]| {
        let error = super::args_of(url, options).plan().unwrap_err();
        format!("{error:#}")
    };
    let to_cleartext = refused("http://127.0.0.1:1/", &["--insecure"]);
    assert!(to_cleartext.contains("https://"), "{to_cleartext}");
    let no_file = refused("https://127.0.0.1:1/", &["--ca", "/no/such/file"]);
    assert!(no_file.contains("/no/such/file"), "{no_file}");
    let suite = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
    let no_suite = refused(
        "https://127.0.0.1:1/",
        &["--insecure", "--tls-version", "1.3", "--ciphers", suite],
    );
    assert!(no_suite.contains("--ciphers"), "{no_suite}");
}
