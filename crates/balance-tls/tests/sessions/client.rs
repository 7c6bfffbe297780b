//! Whom a policy towards a backend takes, and what it resumes.

use balance_core::TlsVersion;
use balance_tls::{
    ClientAuth, ClientPolicy, ClientSettings, PeerName, ServerPolicy, TlsFault, Trust,
};

use crate::pair::{Authority, Pair, connect_session, settings};

const ECDSA: &rcgen::SignatureAlgorithm = &rcgen::PKCS_ECDSA_P256_SHA256;

fn trusting(authority: &Authority) -> ClientSettings {
    ClientSettings {
        trust: Trust::Authorities(authority.trusted()),
        certificate: None,
        min_version: TlsVersion::Tls12,
        max_version: TlsVersion::Tls13,
        cipher_suites: Vec::new(),
        alpn_protocols: Vec::new(),
        resumes_sessions: true,
    }
}

fn server(authority: &Authority) -> ServerPolicy {
    let issued = authority.issue(&["a.test"], ECDSA);
    ServerPolicy::new(settings(&[issued.entry(&[], false)])).unwrap()
}

fn client(name: &str, settings: ClientSettings) -> ClientPolicy {
    ClientPolicy::new(PeerName::parse(name).unwrap(), settings).unwrap()
}

fn attempt(server: &ServerPolicy, client: &ClientPolicy) -> Result<Pair, TlsFault> {
    let (session, _) = client.connect().unwrap();
    connect_session(server, session, usize::MAX).map_err(|error| error.fault())
}

fn is_resumed(pair: &Pair) -> bool {
    pair.client.session.agreement().unwrap().is_resumed
}

#[test]
fn who_cannot_be_verified_is_not_talked_to() {
    // Both have one name, as an authority that was made anew.
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = server(&authority);
    let anybody = ClientSettings {
        trust: Trust::Anybody,
        ..trusting(&stranger)
    };
    for (name, settings, fault) in [
        ("a.test", trusting(&authority), None),
        ("b.test", trusting(&authority), Some(TlsFault::OtherName)),
        ("127.0.0.1", trusting(&authority), Some(TlsFault::OtherName)),
        ("a.test", trusting(&stranger), Some(TlsFault::BadSignature)),
        ("b.test", anybody, None),
    ] {
        let seen = attempt(&server, &client(name, settings)).err();
        assert_eq!(seen, fault, "{name}");
        assert!(fault.is_none_or(TlsFault::is_certificate));
    }
    // What `openssl req -x509` makes: an authority that shows its own certificate.
    let itself = ServerPolicy::new(settings(&[authority.itself().entry(&[], false)])).unwrap();
    let seen = attempt(&itself, &client("a.test", trusting(&authority))).err();
    assert!(seen.is_some_and(TlsFault::is_certificate), "{seen:?}");
}

#[test]
fn who_wants_a_certificate_gets_ours() {
    let authority = Authority::new();
    let issued = authority.issue(&["a.test"], ECDSA);
    let mut asks = settings(&[issued.entry(&[], false)]);
    asks.client_auth = ClientAuth::RequireAndVerify(authority.trusted());
    let server = ServerPolicy::new(asks).unwrap();
    let us = authority.issue(&["us.test"], ECDSA);
    let shows = ClientSettings {
        certificate: Some(us.entry(&[], false).certificate),
        ..trusting(&authority)
    };
    assert!(attempt(&server, &client("a.test", shows)).is_ok());
    assert!(attempt(&server, &client("a.test", trusting(&authority))).is_err());
}

#[test]
fn replaced_settings_resume_nothing_and_are_another_identity() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = server(&authority);
    let policy = client("a.test", trusting(&authority));
    let first = policy.identity();
    let seen = [(); 2].map(|()| is_resumed(&attempt(&server, &policy).unwrap()));
    assert_eq!(seen, [false, true]);
    policy.replace(trusting(&authority)).unwrap();
    assert_ne!(policy.identity(), first);
    assert!(!is_resumed(&attempt(&server, &policy).unwrap()));
    policy.replace(trusting(&stranger)).unwrap();
    let refused = attempt(&server, &policy).err();
    assert_eq!(refused, Some(TlsFault::BadSignature));
    let off = ClientSettings {
        resumes_sessions: false,
        ..trusting(&authority)
    };
    policy.replace(off).unwrap();
    let seen = [(); 2].map(|()| is_resumed(&attempt(&server, &policy).unwrap()));
    assert_eq!(seen, [false, false]);
}
