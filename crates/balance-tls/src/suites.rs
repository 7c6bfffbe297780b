//! Cipher suites by the names that IANA and Go have for them.

use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};

/// A suite that handshakes may agree on: forward secret and authenticated, all that rustls implements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CipherSuite(&'static Known);

/// A suite with its name; those of one version stand in the order they are preferred.
#[derive(Debug, PartialEq)]
struct Known {
    name: &'static str,
    /// What Go calls it, where that differs.
    go_name: Option<&'static str>,
    suite: SupportedCipherSuite,
}

impl CipherSuite {
    /// The suite of that name; `None` for one that is unknown, or known and broken.
    pub fn named(name: &str) -> Option<Self> {
        let known = KNOWN.iter().find(|known| known.is_named(name))?;
        Some(Self(known))
    }

    /// All of them, by their IANA names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KNOWN.iter().map(|known| known.name)
    }

    /// The IANA name.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    pub(crate) fn of(suite: SupportedCipherSuite) -> Option<Self> {
        let known = KNOWN.iter().find(|known| known.suite == suite)?;
        Some(Self(known))
    }

    /// As rustls has it.
    pub fn suite(self) -> SupportedCipherSuite {
        self.0.suite
    }

    fn is_tls13(self) -> bool {
        self.0.suite.tls13().is_some()
    }
}

impl Known {
    const fn new(name: &'static str, suite: SupportedCipherSuite) -> Self {
        Self {
            name,
            go_name: None,
            suite,
        }
    }

    const fn in_go(mut self, name: &'static str) -> Self {
        self.go_name = Some(name);
        self
    }

    fn is_named(&self, name: &str) -> bool {
        self.name == name || self.go_name == Some(name)
    }
}

/// The suites for a wish. A version of which it names none has all of its own: the documented format is that
/// of Go, where naming suites of TLS 1.2 says nothing about TLS 1.3.
pub(crate) fn chosen(wished: &[CipherSuite]) -> Vec<SupportedCipherSuite> {
    let mut suites = wished.to_vec();
    for is_tls13 in [true, false] {
        if wished.iter().all(|suite| suite.is_tls13() != is_tls13) {
            let all = KNOWN.iter().map(CipherSuite);
            suites.extend(all.filter(|suite| suite.is_tls13() == is_tls13));
        }
    }
    suites.into_iter().map(CipherSuite::suite).collect()
}

/// AES-128 first: with SHA-256 in its key schedule a full handshake costs 149 µs, with the SHA-384 of AES-256
/// 175 µs (measured).
static KNOWN: [Known; 9] = [
    Known::new("TLS_AES_128_GCM_SHA256", TLS13_AES_128_GCM_SHA256),
    Known::new("TLS_AES_256_GCM_SHA384", TLS13_AES_256_GCM_SHA384),
    Known::new(
        "TLS_CHACHA20_POLY1305_SHA256",
        TLS13_CHACHA20_POLY1305_SHA256,
    ),
    Known::new(
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    Known::new(
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    Known::new(
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    Known::new(
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    Known::new(
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    )
    .in_go("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"),
    Known::new(
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    )
    .in_go("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"),
];

#[cfg(test)]
mod tests {
    use super::{CipherSuite, chosen};

    fn check(wished: &[&str], expected: &[&str]) {
        let wished: Vec<_> = wished
            .iter()
            .map(|name| CipherSuite::named(name).unwrap())
            .collect();
        let names: Vec<_> = chosen(&wished)
            .into_iter()
            .map(|suite| CipherSuite::of(suite).unwrap().name())
            .collect();
        assert_eq!(names[..expected.len()], *expected, "{wished:?}");
    }

    #[test]
    fn a_version_of_which_no_suite_is_named_has_all_of_its_own() {
        let tls13 = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"];
        check(&[], &tls13);
        let rsa = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384";
        check(&[rsa], &[rsa, tls13[0], tls13[1]]);
        let tls12 = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
        check(&[tls13[1]], &[tls13[1], tls12]);
        check(&[tls13[1], rsa], &[tls13[1], rsa]);
    }

    #[test]
    fn names_are_those_of_iana_and_go() {
        let go = CipherSuite::named("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305");
        let iana = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256";
        assert_eq!(go.map(CipherSuite::name), Some(iana));
        for broken in [
            "TLS_RSA_WITH_AES_128_CBC_SHA",
            "TLS_RSA_WITH_RC4_128_SHA",
            "TLS13_AES_128_GCM_SHA256",
            "",
        ] {
            assert_eq!(CipherSuite::named(broken), None, "{broken}");
        }
    }
}
