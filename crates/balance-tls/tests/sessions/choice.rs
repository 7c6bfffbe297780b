//! What is agreed on: certificate, version, suite, protocol, resumption.

use std::sync::Arc;

use balance_core::TlsVersion;
use balance_tls::{CertificateStore, CipherSuite, ServerPolicy, TicketKeys};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, NamedGroup, SignatureAlgorithm};

use crate::pair::{Authority, ClientOptions, Issued, Pair, client_config, connect, settings};

const ECDSA: &rcgen::SignatureAlgorithm = &rcgen::PKCS_ECDSA_P256_SHA256;
const RSA: &rcgen::SignatureAlgorithm = &rcgen::PKCS_RSA_SHA256;

fn policy(authority: &Authority) -> ServerPolicy {
    let issued = authority.issue(&["a.test"], ECDSA);
    ServerPolicy::new(settings(&[issued.entry(&[], false)])).unwrap()
}

fn agree(policy: &ServerPolicy, config: ClientConfig) -> Pair {
    connect(policy, Arc::new(config), "a.test", usize::MAX).unwrap()
}

/// The certificate that a client was shown. It verifies names, so each of these is for what is asked.
fn shown(
    policy: &ServerPolicy,
    config: &Arc<ClientConfig>,
    name: &'static str,
) -> CertificateDer<'static> {
    let seen = Arc::new(Seen::default());
    let mut config = ClientConfig::clone(config);
    config
        .dangerous()
        .set_certificate_verifier(Arc::clone(&seen) as Arc<_>);
    connect(policy, Arc::new(config), name, usize::MAX).unwrap();
    seen.certificate.lock().unwrap().take().unwrap()
}

/// Remembers the certificate, whatever it is.
#[derive(Debug, Default)]
struct Seen {
    certificate: std::sync::Mutex<Option<CertificateDer<'static>>>,
}

impl rustls::client::danger::ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        *self.certificate.lock().unwrap() = Some(certificate.clone().into_owned());
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

#[test]
fn certificates_are_chosen_by_name() {
    let authority = Authority::new();
    let issue = |name: &str| authority.issue(&[name], ECDSA);
    let (first, exact, under, own) = (
        issue("first.test"),
        issue("a.test"),
        issue("*.a.test"),
        issue("own.test"),
    );
    let entries = [
        first.entry(&[], false),
        exact.entry(&["A.test"], false),
        under.entry(&["*.a.test"], false),
        own.entry(&[], false),
    ];
    let config = Arc::new(client_config(&authority, ClientOptions::default()));
    let check = |policy: &ServerPolicy, name, expected: &Issued| {
        assert_eq!(shown(policy, &config, name), expected.der(), "{name}");
    };
    let policy = ServerPolicy::new(settings(&entries)).unwrap();
    check(&policy, "a.test", &exact);
    check(&policy, "b.a.test", &under);
    check(&policy, "c.b.a.test", &under);
    check(&policy, "own.test", &own);
    check(&policy, "other.test", &first);
    check(&policy, "192.0.2.1", &first); // names no server (RFC 6066 §3)

    let mut entries = entries;
    entries[3].is_default = true;
    let policy = ServerPolicy::new(settings(&entries)).unwrap();
    check(&policy, "other.test", &own);
    check(&policy, "first.test", &first);
}

#[test]
fn a_client_is_shown_the_kind_of_key_that_it_can_check() {
    let authority = Authority::new();
    let (rsa, ecdsa) = (
        authority.issue(&["a.test"], RSA),
        authority.issue(&["a.test"], ECDSA),
    );
    let policy = ServerPolicy::new(settings(&[rsa.entry(&[], false), ecdsa.entry(&[], false)]));
    let policy = policy.unwrap();
    let only = |kind: SignatureAlgorithm| {
        let mut provider = aws_lc_rs::default_provider();
        let suites = &mut provider.cipher_suites;
        suites
            .retain(|suite| suite.usable_for_signature_algorithm(kind) && suite.tls13().is_none());
        Some(provider)
    };
    for (provider, expected) in [
        (None, &ecdsa),
        (only(SignatureAlgorithm::ECDSA), &ecdsa),
        (only(SignatureAlgorithm::RSA), &rsa),
    ] {
        let max_tls12 = provider.is_some();
        let options = ClientOptions {
            provider,
            max_tls12,
            ..ClientOptions::default()
        };
        let config = Arc::new(client_config(&authority, options));
        for name in ["a.test", "other.test"] {
            assert_eq!(shown(&policy, &config, name), expected.der(), "{name}");
        }
    }
}

#[test]
fn replaced_certificates_are_those_of_the_next_handshake() {
    let authority = Authority::new();
    let (old, new) = (
        authority.issue(&["a.test"], ECDSA),
        authority.issue(&["a.test"], ECDSA),
    );
    let settings = settings(&[old.entry(&[], false)]);
    let certificates = Arc::clone(&settings.certificates);
    let policy = ServerPolicy::new(settings).unwrap();
    let config = Arc::new(client_config(&authority, ClientOptions::default()));
    assert_eq!(shown(&policy, &config, "a.test"), old.der());
    certificates.replace(CertificateStore::new(&[new.entry(&[], false)]).unwrap());
    assert_eq!(shown(&policy, &config, "a.test"), new.der());
}

#[test]
fn aes_128_is_preferred_unless_the_client_has_no_instructions_for_it() {
    let authority = Authority::new();
    let issued = authority.issue(&["a.test"], ECDSA);
    let named = |name: &str| CipherSuite::named(name).unwrap();
    let (aes_128, aes_256, chacha) = (
        named("TLS_AES_128_GCM_SHA256"),
        named("TLS_AES_256_GCM_SHA384"),
        named("TLS_CHACHA20_POLY1305_SHA256"),
    );
    // A client of rustls lists AES-256 first.
    let lists_chacha_first = || {
        let mut provider = aws_lc_rs::default_provider();
        provider
            .cipher_suites
            .sort_by_key(|suite| !format!("{:?}", suite.suite()).contains("CHACHA20"));
        provider
    };
    let check = |provider: Option<CryptoProvider>,
                 wished: &[CipherSuite],
                 prefers,
                 expected: CipherSuite| {
        let mut settings = settings(&[issued.entry(&[], false)]);
        settings.cipher_suites = wished.to_vec();
        settings.prefers_server_order = prefers;
        let options = ClientOptions {
            provider,
            ..ClientOptions::default()
        };
        let config = client_config(&authority, options);
        let pair = agree(&ServerPolicy::new(settings).unwrap(), config);
        let agreement = pair.server.session.agreement().unwrap();
        assert_eq!(agreement.cipher_suite, expected);
        assert_eq!(agreement.version, TlsVersion::Tls13);
    };
    check(None, &[], true, aes_128);
    check(Some(lists_chacha_first()), &[], true, chacha);
    check(
        Some(lists_chacha_first()),
        &[aes_128, chacha],
        true,
        aes_128,
    );
    check(None, &[aes_256, aes_128], true, aes_256);
    check(None, &[], false, aes_256);
}

#[test]
fn key_exchange_is_post_quantum_by_default() {
    let groups = aws_lc_rs::default_provider().kx_groups;
    assert_eq!(groups[0].name(), NamedGroup::X25519MLKEM768);
}

#[test]
fn versions_outside_the_bounds_are_refused() {
    let authority = Authority::new();
    let issued = authority.issue(&["a.test"], ECDSA);
    for (min, max, max_tls12, expected) in [
        (
            TlsVersion::Tls12,
            TlsVersion::Tls13,
            false,
            Some(TlsVersion::Tls13),
        ),
        (
            TlsVersion::Tls12,
            TlsVersion::Tls13,
            true,
            Some(TlsVersion::Tls12),
        ),
        (
            TlsVersion::Tls12,
            TlsVersion::Tls12,
            false,
            Some(TlsVersion::Tls12),
        ),
        (TlsVersion::Tls13, TlsVersion::Tls13, true, None),
    ] {
        let mut settings = settings(&[issued.entry(&[], false)]);
        (settings.min_version, settings.max_version) = (min, max);
        let options = ClientOptions {
            max_tls12,
            ..ClientOptions::default()
        };
        let config = Arc::new(client_config(&authority, options));
        let pair = connect(
            &ServerPolicy::new(settings).unwrap(),
            config,
            "a.test",
            usize::MAX,
        );
        let version = pair
            .ok()
            .map(|pair| pair.server.session.agreement().unwrap().version);
        assert_eq!(version, expected);
    }
    let mut settings = settings(&[issued.entry(&[], false)]);
    (settings.min_version, settings.max_version) = (TlsVersion::Tls13, TlsVersion::Tls12);
    assert!(ServerPolicy::new(settings).is_err());
}

#[test]
fn the_first_of_our_protocols_that_the_client_has_is_taken() {
    let authority = Authority::new();
    let issued = authority.issue(&["a.test"], ECDSA);
    for (ours, theirs, expected) in [
        (
            &["h2", "http/1.1"][..],
            &["http/1.1", "h2"][..],
            Some(Some("h2")),
        ),
        (&["http/1.1"], &["h2", "http/1.1"], Some(Some("http/1.1"))),
        (&["http/1.1"], &[], Some(None)),
        (&[], &["h2"], Some(None)),
        (&["http/1.1"], &["h2"], None), // RFC 7301 §3.2
    ] {
        let bytes = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let mut settings = settings(&[issued.entry(&[], false)]);
        settings.alpn_protocols = bytes(ours);
        let options = ClientOptions {
            alpn_protocols: bytes(theirs),
            ..ClientOptions::default()
        };
        let config = Arc::new(client_config(&authority, options));
        let pair = connect(
            &ServerPolicy::new(settings).unwrap(),
            config,
            "a.test",
            usize::MAX,
        );
        let protocol = pair.ok().map(|pair| {
            let protocol = pair.server.session.alpn_protocol();
            protocol.map(|name| String::from_utf8(name.to_vec()).unwrap())
        });
        assert_eq!(
            protocol,
            expected.map(|name| name.map(str::to_owned)),
            "{ours:?} {theirs:?}"
        );
    }
}

#[test]
fn sessions_are_resumed_by_those_who_share_keys_alone() {
    let authority = Authority::new();
    for max_tls12 in [false, true] {
        let issued = authority.issue(&["a.test"], ECDSA);
        let keys = TicketKeys::new().unwrap();
        let with = |keys: Option<TicketKeys>| {
            let mut settings = settings(&[issued.entry(&[], false)]);
            settings.tickets = keys;
            ServerPolicy::new(settings).unwrap()
        };
        let options = ClientOptions {
            max_tls12,
            ..ClientOptions::default()
        };
        let config = Arc::new(client_config(&authority, options));
        let is_resumed = |policy: &ServerPolicy| {
            let pair = connect(policy, Arc::clone(&config), "a.test", usize::MAX).unwrap();
            pair.server.session.agreement().unwrap().is_resumed
        };
        let (one, other) = (with(Some(keys.clone())), with(Some(keys)));
        assert!(!is_resumed(&one));
        assert!(is_resumed(&other));
        assert!(!is_resumed(&with(Some(TicketKeys::new().unwrap()))));
        assert!(!is_resumed(&with(None)));
        assert!(
            !is_resumed(&with(None)),
            "there are no tickets to resume by"
        );
    }
}

#[test]
fn one_ticket_is_given() {
    let authority = Authority::new();
    let counted = Arc::new(Counted::default());
    let mut config = client_config(&authority, ClientOptions::default());
    let resumption = rustls::client::Resumption::store(Arc::clone(&counted) as Arc<_>);
    config.resumption = resumption;
    agree(&policy(&authority), config);
    let tickets = counted.tickets.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(tickets, 1);
}

#[derive(Debug, Default)]
struct Counted {
    tickets: std::sync::atomic::AtomicUsize,
}

impl rustls::client::ClientSessionStore for Counted {
    fn set_kx_hint(&self, _: rustls::pki_types::ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &rustls::pki_types::ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(
        &self,
        _: rustls::pki_types::ServerName<'static>,
        _: rustls::client::Tls12ClientSessionValue,
    ) {
    }

    fn tls12_session(
        &self,
        _: &rustls::pki_types::ServerName<'_>,
    ) -> Option<rustls::client::Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &rustls::pki_types::ServerName<'static>) {}

    fn insert_tls13_ticket(
        &self,
        _: rustls::pki_types::ServerName<'static>,
        _: rustls::client::Tls13ClientSessionValue,
    ) {
        self.tickets
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    fn take_tls13_ticket(
        &self,
        _: &rustls::pki_types::ServerName<'static>,
    ) -> Option<rustls::client::Tls13ClientSessionValue> {
        None
    }
}
