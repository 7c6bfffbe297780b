use std::time::{Duration, SystemTime, UNIX_EPOCH};

use balance_config::{MemorySources, load};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, IsCa, KeyPair,
};

use super::check;

/// 2026-07-01: the certificates of [`Files`] are valid in 2026.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_782_864_000)
}

/// What can be named in `tls`.
struct Files(MemorySources);

impl Files {
    fn new() -> Self {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let params = |from: i32, to: i32| {
            let names = vec!["a.test".to_owned(), "*.b.test".to_owned()];
            let mut params = CertificateParams::new(names).unwrap();
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(to, 1, 1);
            params
        };
        let made = |from, to| params(from, to).self_signed(&key).unwrap().pem();
        let mut authority = params(2024, 2025);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name = DistinguishedName::new(); // another than that of the leaf
        let authority =
            CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let leaf = params(2026, 2027)
            .signed_by(&key, &authority)
            .unwrap()
            .pem();
        let wrong_order = format!("{leaf}{leaf}");
        let der = params(2026, 2027).self_signed(&key).unwrap().der().to_vec();
        let sources = MemorySources::default()
            .with_file("good.pem", made(2026, 2027))
            .with_file("old.pem", made(2025, 2026))
            .with_file("early.pem", made(2027, 2028))
            .with_file("order.pem", wrong_order)
            .with_file("old-ca.pem", authority.pem())
            .with_file("chain.pem", format!("{leaf}{}", authority.pem()))
            .with_file("good.key", key.serialize_pem())
            .with_file("other.key", other.serialize_pem())
            .with_file(
                "secret.key",
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            )
            .with_file("der.pem", der)
            .with_file("big.pem", vec![b'x'; (1 << 20) + 1]);
        Self(sources)
    }

    /// What is said about the files of a configuration, a line each, without remedies.
    fn check(&self, yaml: &str) -> Vec<String> {
        let sources = self.0.clone().with_file("t.yaml", yaml);
        let loaded = load(&sources, "t.yaml");
        let shown = check(&sources, &loaded.tls_material, now()).into_iter();
        shown
            .map(|mut one| {
                assert!(one.help.take().is_some(), "{one}");
                one.to_string().replace("t.yaml:", "")
            })
            .collect()
    }
}

#[test]
fn each_mistake_is_told_at_the_name_of_the_file() {
    let files = Files::new();
    for (certificate, key, expected) in [
        ("good.pem", "good.key", ""),
        (
            "good.pem",
            "other.key",
            "1:41: error: the key `other.key` does not belong to the certificate `good.pem`\n  1:19: the certificate is named here",
        ),
        (
            "none.pem",
            "good.key",
            "1:19: error: `none.pem` cannot be read: entity not found",
        ),
        (
            "good.pem",
            "none.key",
            "1:41: error: `none.key` cannot be read: entity not found",
        ),
        (
            "big.pem",
            "good.key",
            "1:19: error: `big.pem` has more than 1024 KiB",
        ),
        (
            "good.key",
            "good.key",
            "1:19: error: `good.key` is no certificate: a private key is in it and no certificate",
        ),
        (
            "der.pem",
            "good.key",
            "1:19: error: `der.pem` is no certificate: no certificate is in it: PEM begins with `-----BEGIN CERTIFICATE-----`",
        ),
        (
            "good.pem",
            "good.pem",
            "1:41: error: `good.pem` is no private key: a certificate is in it and no private key",
        ),
        (
            "good.pem",
            "secret.key",
            "1:41: error: `secret.key` is no private key: its key is encrypted, and there is nobody to ask for the passphrase",
        ),
        (
            "old.pem",
            "good.key",
            "1:19: warning: the certificate in `old.pem` expired on Jan  1 00:00:00 2026 +00:00",
        ),
        (
            "early.pem",
            "good.key",
            "1:19: warning: the certificate in `early.pem` is not valid before Jan  1 00:00:00 2027 +00:00",
        ),
        (
            "order.pem",
            "good.key",
            "1:19: warning: in `order.pem`, certificate 2 did not issue certificate 1",
        ),
        (
            "chain.pem",
            "good.key",
            "1:19: warning: certificate 2 in `chain.pem` expired on Jan  1 00:00:00 2025 +00:00",
        ),
    ] {
        let yaml = format!("tls: {{ cert_file: {certificate:8}, key_file:   {key} }}\n");
        let expected: Vec<&str> = Some(expected)
            .filter(|text| !text.is_empty())
            .into_iter()
            .collect();
        assert_eq!(files.check(&yaml), expected, "{yaml}");
    }
}

#[test]
fn every_section_that_is_in_force_is_looked_at() {
    let files = Files::new();
    let pair = "cert_file: good.pem, key_file: other.key";
    let upstream = "client_cert_file: good.pem, client_key_file: other.key, ca_file: old-ca.pem";
    for (yaml, problems) in [
        (format!("tls: {{ {pair} }}"), 1),
        (format!("tls: {{ enabled: false, {pair} }}"), 0),
        (
            format!("tls: {{ certificates: [ {{ {pair} }}, {{ {pair} }} ] }}"),
            2,
        ),
        ("tls: { client_ca_file: old-ca.pem }".to_owned(), 1),
        (
            format!("tls: {{ backend: {{ enabled: true, {upstream} }} }}"),
            2,
        ),
        (
            format!("listeners: [ {{ name: a, tls: {{ {pair} }} }} ]"),
            1,
        ),
        (
            format!(
                "x-tls: &tls {{ {pair} }}\nlisteners: [ {{ name: a, tls: *tls }}, {{ name: b, tls: *tls }} ]"
            ),
            1,
        ),
        (format!("pools: {{ p: {{ tls: {{ {upstream} }} }} }}"), 2),
    ] {
        assert_eq!(
            files.check(&yaml).len(),
            problems,
            "{yaml}: {:#?}",
            files.check(&yaml)
        );
    }
}

#[test]
fn a_domain_that_the_certificate_is_not_for_is_told() {
    let files = Files::new();
    let yaml = "tls: { certificates: [ { cert_file: good.pem, key_file: good.key, domains: [a.test, x.b.test, c.test] } ] }";
    assert_eq!(
        files.check(yaml),
        [
            "1:95: warning: the certificate `good.pem` is not for `c.test`: clients that ask for it refuse it"
        ]
    );
}
