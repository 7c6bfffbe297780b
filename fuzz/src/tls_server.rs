//! What a client sends first, to the server's side of TLS: the same end however it is cut, replies that are records, and
//! nobody who is let in without the keys.

use std::sync::OnceLock;

use balance_core::TlsVersion;
use balance_tls::{
    Certificate, CertificateStore, Certificates, Chain, ClientAuth, Entry, PrivateKey,
    ServerPolicy, ServerSettings,
};

/// The bytes of a connection.
pub fn check(input: &[u8]) {
    let whole = feed(input, input.len().max(1));
    let ragged = feed(input, 7);
    assert_eq!(whole, ragged);
}

/// The table of balance-proto.
pub fn seeds() -> Vec<Vec<u8>> {
    crate::client_hello::seeds()
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Refused(String),
    /// How much of it waits for more.
    Waiting(usize),
}

fn feed(input: &[u8], piece_bytes: usize) -> End {
    // All of it, as the choice of the suites' order must not depend on how it is cut here.
    let mut session = policy().accept(input).expect("there is randomness");
    let mut held = Vec::new();
    let mut replies = Vec::new();
    for piece in input.chunks(piece_bytes) {
        held.extend_from_slice(piece);
        while session.has_record(&held) {
            let opened = session.open(&mut held, &mut [], &mut replies);
            are_records(&replies);
            match opened {
                Ok(opened) => {
                    assert_eq!(opened.plaintext, 0, "nobody has the keys");
                    held.drain(..opened.consumed);
                }
                Err(error) => return End::Refused(error.to_string()),
            }
        }
        assert!(
            session.is_handshaking(),
            "nobody can finish without the keys"
        );
    }
    End::Waiting(held.len())
}

/// RFC 8446 §5.1: whole ones, of a type that there is, none longer than it may be.
fn are_records(mut bytes: &[u8]) {
    while let [kind, major, _, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        assert!((20..=23).contains(kind) && *major == 3, "{bytes:?}");
        assert!(length <= rest.len() && length <= (1 << 14) + 256);
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "half a record");
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
