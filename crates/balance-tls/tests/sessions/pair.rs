//! A server and a client in one place, and the certificates they show.

use std::sync::Arc;

use balance_core::TlsVersion;
use balance_tls::{
    Authorities, Certificate, CertificateStore, Certificates, Chain, ClientAuth, Entry, Opened,
    Output, PrivateKey, RECORD_PLAINTEXT_MAX, ServerPolicy, ServerSettings, Session, SessionError,
    TicketKeys, sealed_bytes_max,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// Who signs certificates here.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Certificate and key in PEM.
    pub(crate) fn issue(
        &self,
        names: &[&str],
        algorithm: &'static rcgen::SignatureAlgorithm,
    ) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(names).unwrap();
        Issued {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// Its own certificate, as a server would show it.
    pub(crate) fn itself(&self) -> Issued {
        Issued {
            certificate: self.0.pem(),
            key: self.0.key().serialize_pem(),
        }
    }

    pub(crate) fn trusted(&self) -> Authorities {
        Authorities::new(&Chain::parse(self.0.pem().as_bytes()).unwrap()).unwrap()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let der = CertificateDer::from_pem_slice(self.0.pem().as_bytes()).unwrap();
        roots.add(der).unwrap();
        Arc::new(roots)
    }
}

pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Issued {
    pub(crate) fn entry(&self, domains: &[&str], is_default: bool) -> Entry {
        let chain = Chain::parse(self.certificate.as_bytes()).unwrap();
        let key = PrivateKey::parse(self.key.as_bytes()).unwrap();
        Entry {
            certificate: Certificate::new(&chain, &key).unwrap(),
            domains: domains.iter().map(|name| (*name).to_owned()).collect(),
            is_default,
        }
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

/// Settings as the configuration has them by default, for these certificates.
pub(crate) fn settings(entries: &[Entry]) -> ServerSettings {
    ServerSettings {
        certificates: Certificates::new(CertificateStore::new(entries).unwrap()),
        min_version: TlsVersion::Tls12,
        max_version: TlsVersion::Tls13,
        cipher_suites: Vec::new(),
        prefers_server_order: true,
        alpn_protocols: Vec::new(),
        tickets: Some(TicketKeys::new().unwrap()),
        client_auth: ClientAuth::None,
    }
}

/// What a client of a test is like.
#[derive(Default)]
pub(crate) struct ClientOptions<'a> {
    pub(crate) provider: Option<CryptoProvider>,
    pub(crate) shows: Option<&'a Issued>,
    pub(crate) alpn_protocols: Vec<Vec<u8>>,
    pub(crate) max_tls12: bool,
}

pub(crate) fn client_config(authority: &Authority, options: ClientOptions<'_>) -> ClientConfig {
    let provider = Arc::new(options.provider.unwrap_or_else(aws_lc_rs::default_provider));
    let verifier =
        WebPkiServerVerifier::builder_with_provider(authority.roots(), Arc::clone(&provider));
    let versions: &[_] = match options.max_tls12 {
        true => &[&rustls::version::TLS12],
        false => rustls::ALL_VERSIONS,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_webpki_verifier(verifier.build().unwrap());
    let mut config = match options.shows {
        Some(shown) => {
            let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
            builder
                .with_client_auth_cert(vec![shown.der()], key)
                .unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = options.alpn_protocols;
    config
}

/// One side with the bytes that wait for it.
pub(crate) struct End {
    pub(crate) session: Session,
    pub(crate) unread: Vec<u8>,
}

impl End {
    fn new(session: Session) -> Self {
        Self {
            session,
            unread: Vec::new(),
        }
    }

    /// Takes `arrived` and what waited; replies and plaintext.
    pub(crate) fn take(
        &mut self,
        arrived: &[u8],
        room: usize,
    ) -> (Result<Vec<u8>, SessionError>, Vec<u8>) {
        self.unread.extend_from_slice(arrived);
        let mut plaintext = vec![0; room];
        let mut replies = Vec::new();
        let opened = self
            .session
            .open(&mut self.unread, &mut plaintext, &mut replies);
        let opened = opened.map(
            |Opened {
                 consumed,
                 plaintext: bytes,
             }| {
                self.unread.drain(..consumed);
                plaintext.truncate(bytes);
                plaintext
            },
        );
        (opened, replies)
    }

    pub(crate) fn seal(&mut self, parts: &[&[u8]]) -> Vec<u8> {
        let bytes = parts.iter().map(|part| part.len()).sum();
        let mut records = vec![0; sealed_bytes_max(bytes)];
        let output = Output {
            records: &mut records,
            filled: 0,
            stage: &mut [0; RECORD_PLAINTEXT_MAX],
        };
        let parts = parts.iter().copied();
        let filled = self.session.seal(parts, &mut self.unread, output).unwrap();
        records.truncate(filled);
        records
    }
}

/// Both ends after a handshake.
pub(crate) struct Pair {
    pub(crate) server: End,
    pub(crate) client: End,
}

/// Makes a handshake, `step` bytes at a time. The error is that of whoever refused first.
pub(crate) fn connect(
    policy: &ServerPolicy,
    config: Arc<ClientConfig>,
    name: &'static str,
    step: usize,
) -> Result<Pair, SessionError> {
    let name = ServerName::try_from(name).unwrap();
    connect_session(policy, Session::client(config, name)?, step)
}

/// The same for a client's session that has not begun.
pub(crate) fn connect_session(
    policy: &ServerPolicy,
    session: Session,
    step: usize,
) -> Result<Pair, SessionError> {
    let mut client = End::new(session);
    let (opened, mut to_server) = client.take(&[], 0);
    opened?;
    let mut server = End::new(policy.accept(&to_server)?);
    let mut to_client = Vec::new();
    while !to_server.is_empty() || !to_client.is_empty() {
        pass(&mut server, &mut to_server, &mut to_client, step)?;
        pass(&mut client, &mut to_client, &mut to_server, step)?;
    }
    assert!(!server.session.is_handshaking() && !client.session.is_handshaking());
    Ok(Pair { server, client })
}

fn pass(
    end: &mut End,
    arriving: &mut Vec<u8>,
    leaving: &mut Vec<u8>,
    step: usize,
) -> Result<(), SessionError> {
    let bytes = step.min(arriving.len());
    let arrived: Vec<u8> = arriving.drain(..bytes).collect();
    let room = match end.session.is_handshaking() {
        true => 0,
        false => RECORD_PLAINTEXT_MAX,
    };
    let (opened, replies) = end.take(&arrived, room);
    assert!(opened?.is_empty(), "nobody has said anything yet");
    leaving.extend_from_slice(&replies);
    Ok(())
}
