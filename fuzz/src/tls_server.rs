//! What a client sends first, to the server's side of TLS: the same end however it is cut, replies that are records, and
//! nobody who is let in without the keys.

use std::sync::OnceLock;

use balance_core::TlsVersion;
use balance_tls::{
    Certificate, CertificateStore, Certificates, Chain, ClientAuth, Entry, PrivateKey,
    ServerPolicy, ServerSettings,
};

use crate::tls_peer::{End, feed};

/// The bytes of a connection.
pub fn check(input: &[u8]) {
    let whole = end(input, input.len().max(1));
    let ragged = end(input, 7);
    assert_eq!(whole, ragged);
}

/// The table of balance-proto.
pub fn seeds() -> Vec<Vec<u8>> {
    crate::client_hello::seeds()
}

fn end(input: &[u8], piece_bytes: usize) -> End {
    // All of it, as the choice of the suites' order must not depend on how it is cut here.
    let mut session = policy().accept(input).expect("there is randomness");
    feed(&mut session, input, piece_bytes)
}

fn policy() -> &'static ServerPolicy {
    static POLICY: OnceLock<ServerPolicy> = OnceLock::new();
    POLICY.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()])
            .expect("a certificate can be made");
        let chain = Chain::parse(made.cert.pem().as_bytes()).expect("it is one");
        let key = PrivateKey::parse(made.signing_key.serialize_pem().as_bytes());
        let certificate = Certificate::new(&chain, &key.expect("it is one"));
        let entry = Entry {
            certificate: certificate.expect("they belong together"),
            domains: Vec::new(),
            is_default: true,
        };
        let store = CertificateStore::new(&[entry]).expect("it has an entry");
        let settings = ServerSettings {
            certificates: Certificates::new(store),
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
            cipher_suites: Vec::new(),
            prefers_server_order: true,
            alpn_protocols: vec![b"http/1.1".to_vec()],
            tickets: None,
            client_auth: ClientAuth::None,
        };
        ServerPolicy::new(settings).expect("nothing contradicts")
    })
}
