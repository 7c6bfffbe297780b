//! The five modes against clients that show nothing, a good certificate, and one of a stranger.

use std::sync::Arc;

use balance_tls::{ClientAuth, ServerPolicy};

use crate::pair::{Authority, ClientOptions, Issued, Pair, client_config, connect, settings};

const ECDSA: &rcgen::SignatureAlgorithm = &rcgen::PKCS_ECDSA_P256_SHA256;

#[test]
fn each_mode_lets_in_whom_it_should() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = authority.issue(&["a.test"], ECDSA);
    let good = authority.issue(&["client.test"], ECDSA);
    let strange = stranger.issue(&["client.test"], ECDSA);
    let trusted = authority.trusted();
    for (mode, [nothing, of_ours, of_a_stranger]) in [
        (ClientAuth::None, [true, true, true]),
        (ClientAuth::Request, [true, true, true]),
        (ClientAuth::Require, [false, true, true]),
        (ClientAuth::Verify(trusted.clone()), [true, true, false]),
        (ClientAuth::RequireAndVerify(trusted), [false, true, false]),
    ] {
        for (shows, expected) in [
            (None, nothing),
            (Some(&good), of_ours),
            (Some(&strange), of_a_stranger),
        ] {
            for max_tls12 in [false, true] {
                let mut settings = settings(&[server.entry(&[], false)]);
                settings.client_auth = mode.clone();
                let policy = ServerPolicy::new(settings).unwrap();
                let pair = attempt(&policy, &authority, shows, max_tls12);
                assert_eq!(
                    pair.is_some(),
                    expected,
                    "{mode:?}, shows {}, {max_tls12}",
                    shows.is_some()
                );
            }
        }
    }
}

#[test]
fn a_certificate_without_its_key_is_refused_though_nobody_verifies_the_chain() {
    let authority = Authority::new();
    let server = authority.issue(&["a.test"], ECDSA);
    let stolen = Issued {
        certificate: authority.issue(&["client.test"], ECDSA).certificate,
        key: authority.issue(&["thief.test"], ECDSA).key,
    };
    for mode in [ClientAuth::Request, ClientAuth::Require] {
        for max_tls12 in [false, true] {
            let mut settings = settings(&[server.entry(&[], false)]);
            settings.client_auth = mode.clone();
            let policy = ServerPolicy::new(settings).unwrap();
            let config = stolen_config(&authority, &stolen, max_tls12);
            let pair = connect(&policy, Arc::new(config), "a.test", usize::MAX);
            assert!(pair.is_err(), "{mode:?}");
        }
    }
}

/// rustls' own builder refuses a pair that does not match.
fn stolen_config(authority: &Authority, stolen: &Issued, max_tls12: bool) -> rustls::ClientConfig {
    use rustls::crypto::aws_lc_rs::sign::any_supported_type;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::sign::{CertifiedKey, SingleCertAndKey};

    let options = ClientOptions {
        max_tls12,
        ..ClientOptions::default()
    };
    let mut config = client_config(authority, options);
    let key = PrivateKeyDer::from_pem_slice(stolen.key.as_bytes()).unwrap();
    let key = any_supported_type(&key).unwrap();
    let pair = CertifiedKey::new(vec![stolen.der()], key);
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(pair));
    config
}

fn attempt(
    policy: &ServerPolicy,
    authority: &Authority,
    shows: Option<&Issued>,
    max_tls12: bool,
) -> Option<Pair> {
    let options = ClientOptions {
        shows,
        max_tls12,
        ..ClientOptions::default()
    };
    let config = Arc::new(client_config(authority, options));
    connect(policy, config, "a.test", usize::MAX).ok()
}
