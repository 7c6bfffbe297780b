//! Which hosts a connection is good for, by the name that its client asked for.

use balance_tls::{CertificateStore, Certificates};

use crate::pair::Authority;

#[test]
fn a_connection_covers_the_hosts_that_have_its_certificates() {
    let authority = Authority::new();
    let ecdsa = |names: &[&str]| authority.issue(names, &rcgen::PKCS_ECDSA_P256_SHA256);
    let rsa = |names: &[&str]| authority.issue(names, &rcgen::PKCS_RSA_SHA256);
    let entries = [
        ecdsa(&["a.test", "www.a.test"]).entry(&[], false),
        rsa(&["a.test", "www.a.test", "old.test"]).entry(&[], false),
        ecdsa(&["*.b.test"]).entry(&[], false),
        ecdsa(&["own.b.test"]).entry(&[], false),
        ecdsa(&["d.test"]).entry(&[], true),
    ];
    let certificates = Certificates::new(CertificateStore::new(&entries).unwrap());
    for (server_name, host, is_covered) in [
        ("a.test", "a.test", true),
        ("a.test", "A.Test", true),
        ("A.TEST", "www.a.test", true),
        ("www.a.test", "a.test", true),
        // The other client of `a.test` may have been shown the certificate that is not for it.
        ("a.test", "old.test", false),
        ("old.test", "a.test", false),
        ("a.test", "x.b.test", false),
        ("x.b.test", "y.b.test", true),
        ("x.b.test", "y.x.b.test", true),
        ("x.b.test", "own.b.test", false),
        ("own.b.test", "x.b.test", false),
        ("x.b.test", "b.test", false),
        // Whoever has none of his own has the default's.
        ("d.test", "unknown.test", true),
        ("unknown.test", "d.test", true),
        ("unknown.test", "Unknown.Test", true),
        ("unknown.test", "other.test", true),
        ("unknown.test", "a.test", false),
        ("d.test", "192.0.2.1", true),
        ("a.test", "192.0.2.1", false),
    ] {
        let seen = certificates.cover(server_name, host);
        assert_eq!(seen, is_covered, "{server_name} for {host}");
    }
    // A renewal decides anew.
    let one = ecdsa(&["a.test", "x.b.test"]).entry(&[], false);
    certificates.replace(CertificateStore::new(&[one]).unwrap());
    assert!(certificates.cover("a.test", "x.b.test"));
}
