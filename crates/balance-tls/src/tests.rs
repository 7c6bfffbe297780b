//! Files as they go wrong.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
};

use super::{CertificateError, Chain, KeyError, PrivateKey};

/// 2026-07-01, in the middle of the life of [`certificate`].
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_782_864_000)
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    params
}

fn certificate(names: &[&str], key: &KeyPair) -> Certificate {
    params(names).self_signed(key).unwrap()
}

fn chain(pem: &str) -> Chain {
    Chain::parse(pem.as_bytes()).unwrap()
}

#[test]
fn a_key_belongs_to_its_certificate_alone() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let chain = chain(&certificate(&["a.test"], &key).pem());
        let parsed = PrivateKey::parse(key.serialize_pem().as_bytes()).unwrap();
        assert!(parsed.belongs_to(&chain), "{algorithm:?}");
        let other = KeyPair::generate_for(algorithm).unwrap();
        let other = PrivateKey::parse(other.serialize_pem().as_bytes()).unwrap();
        assert!(!other.belongs_to(&chain), "{algorithm:?}");
    }
}

#[test]
fn files_that_are_no_certificate_say_why() {
    let key = KeyPair::generate().unwrap();
    let good = certificate(&["a.test"], &key).pem();
    let check = |text: &str, expected: CertificateError| {
        assert_eq!(
            Chain::parse(text.as_bytes()).unwrap_err(),
            expected,
            "{text}"
        );
    };
    check("", CertificateError::Missing);
    check("rubbish", CertificateError::Missing);
    check(&key.serialize_pem(), CertificateError::IsKey);
    let not_x509 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    check(not_x509, CertificateError::Malformed { number: 1 });
    check(
        &format!("{good}{not_x509}"),
        CertificateError::Malformed { number: 2 },
    );
    let cut = &good[..good.len() / 2];
    for text in [cut, &good.replacen("MII", "M!I", 1)] {
        let error = Chain::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(error, CertificateError::BrokenPem(_)), "{error}");
    }
    assert_eq!(
        chain(&format!("# one\n{good}\n# two\n{good}"))
            .certificates()
            .len(),
        2
    );
}

#[test]
fn files_that_are_no_key_say_why() {
    let key = KeyPair::generate().unwrap();
    let check = |text: &str, expected: KeyError| {
        assert_eq!(
            PrivateKey::parse(text.as_bytes()).unwrap_err(),
            expected,
            "{text}"
        );
    };
    check("", KeyError::Missing);
    check(
        &certificate(&["a.test"], &key).pem(),
        KeyError::IsCertificate,
    );
    let labelled = |label: &str, body: &str| {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    };
    check(
        &labelled("ENCRYPTED PRIVATE KEY", "AAAA"),
        KeyError::Encrypted,
    );
    check(
        &labelled(
            "RSA PRIVATE KEY",
            "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA",
        ),
        KeyError::Encrypted,
    );
    check(&labelled("PRIVATE KEY", "AAAA"), KeyError::Unsupported);
    let cut = key.serialize_pem().replace("-----END", "");
    let error = PrivateKey::parse(cut.as_bytes()).unwrap_err();
    assert!(matches!(error, KeyError::BrokenPem(_)), "{error}");
}

#[test]
fn both_in_one_file_are_found() {
    let key = KeyPair::generate().unwrap();
    let both = format!(
        "{}{}",
        key.serialize_pem(),
        certificate(&["a.test"], &key).pem()
    );
    let parsed = PrivateKey::parse(both.as_bytes()).unwrap();
    assert!(parsed.belongs_to(&chain(&both)));
}

#[test]
fn a_certificate_is_valid_within_its_time() {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);
    let key = KeyPair::generate().unwrap();
    let chain = chain(&certificate(&["a.test"], &key).pem());
    assert!(chain.expiry(now()).is_none());
    let expired = chain.expiry(now() + YEAR).unwrap();
    assert_eq!(expired.number, 1);
    assert!(
        expired
            .to_string()
            .starts_with("expired on Jan  1 00:00:00 2027"),
        "{expired}"
    );
    let early = chain.expiry(now() - YEAR).unwrap();
    assert!(
        early.to_string().starts_with("is not valid before Jan  1"),
        "{early}"
    );
}

#[test]
fn names_are_those_of_the_extension() {
    let key = KeyPair::generate().unwrap();
    let chain = chain(&certificate(&["a.test", "*.b.test", "127.0.0.1"], &key).pem());
    assert_eq!(chain.names(), ["a.test", "*.b.test", "127.0.0.1"]);
    for (host, is_for) in [
        ("A.test", true),
        ("x.b.test", true),
        ("*.b.test", true),
        ("127.0.0.1", true),
        ("b.test", false),
        ("x.y.b.test", false),
        ("*.test", false),
        ("x.a.test", false),
    ] {
        assert_eq!(chain.is_for(host), is_for, "{host}");
    }
}

#[test]
fn a_chain_goes_from_issued_to_issuer() {
    let mut authority = params(&[]);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(DnType::CommonName, "the authority");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = params(&["a.test"])
        .signed_by(&key, &authority)
        .unwrap()
        .pem();
    let root = authority.pem();
    assert_eq!(chain(&format!("{leaf}{root}")).gap(), None);
    assert_eq!(chain(&format!("{root}{leaf}")).gap(), Some(1));
    assert_eq!(chain(&format!("{leaf}{root}{leaf}")).gap(), Some(2));
}
