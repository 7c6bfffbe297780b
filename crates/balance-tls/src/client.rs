//! How we make handshakes with a backend: whom we trust, what we show, what we ask for.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use balance_core::TlsVersion;
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;

use crate::authorities::Authorities;
use crate::certificates::Certificate;
use crate::policy::{PolicyError, versions};
use crate::session::{Session, SessionError};
use crate::suites::{CipherSuite, chosen};
use crate::unverified::any_server;

/// What a policy towards a backend is made of.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    pub trust: Trust,
    /// What we show to a backend that asks for a certificate.
    pub certificate: Option<Certificate>,
    pub min_version: TlsVersion,
    pub max_version: TlsVersion,
    /// Empty: all, AES-128 first.
    pub cipher_suites: Vec<CipherSuite>,
    /// In the order they are preferred. Empty: none is asked for.
    pub alpn_protocols: Vec<Vec<u8>>,
    pub resumes_sessions: bool,
}

/// Whose certificates are taken.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those that one of these signed, for the name that is asked for.
    Authorities(Authorities),
    /// **Anybody's**: only that a backend has the key of what it shows is checked.
    Anybody,
}

/// The name that a backend's certificate must have, and that it is asked for unless it is an address
/// (RFC 6066 §3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerName(ServerName<'static>);

/// What handshakes with one backend look at. Its settings can be replaced while they run.
pub struct ClientPolicy {
    name: PeerName,
    current: ArcSwap<Current>,
}

/// Which settings a connection was made under, among all of the process: connections that differ in it must not stand
/// in for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TlsIdentity(u64);

struct Current {
    identity: TlsIdentity,
    config: Arc<ClientConfig>,
}

impl PeerName {
    /// `None` for what is neither a DNS name nor an address.
    pub fn parse(name: &str) -> Option<Self> {
        let name = ServerName::try_from(name).ok()?;
        Some(Self(name.to_owned()))
    }
}

impl ClientPolicy {
    /// # Errors
    /// When the settings contradict each other.
    pub fn new(name: PeerName, settings: ClientSettings) -> Result<Self, PolicyError> {
        let current = ArcSwap::from_pointee(Current::new(settings)?);
        Ok(Self { name, current })
    }

    /// Handshakes that begin from now on follow these. What was negotiated before is not resumed: it may rest on an
    /// authority that is not trusted any more.
    ///
    /// # Errors
    /// When the settings contradict each other. The old ones stay.
    pub fn replace(&self, settings: ClientSettings) -> Result<(), PolicyError> {
        self.current.store(Arc::new(Current::new(settings)?));
        Ok(())
    }

    pub fn name(&self) -> &PeerName {
        &self.name
    }

    /// Of the settings that are in force.
    pub fn identity(&self) -> TlsIdentity {
        self.current.load().identity
    }

    /// A session that begins, and what it is made under.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn connect(&self) -> Result<(Session, TlsIdentity), SessionError> {
        let current = self.current.load_full();
        let session = Session::client(Arc::clone(&current.config), self.name.0.clone())?;
        Ok((session, current.identity))
    }
}

impl fmt::Debug for ClientPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientPolicy")
            .field("name", &self.name)
            .field("identity", &self.identity())
            .finish_non_exhaustive()
    }
}

impl Current {
    fn new(settings: ClientSettings) -> Result<Self, PolicyError> {
        Ok(Self {
            identity: TlsIdentity(IDENTITIES.fetch_add(1, Ordering::Relaxed)),
            config: Arc::new(config(settings)?),
        })
    }
}

fn config(settings: ClientSettings) -> Result<ClientConfig, PolicyError> {
    let provider = Arc::new(CryptoProvider {
        cipher_suites: chosen(&settings.cipher_suites),
        ..aws_lc_rs::default_provider()
    });
    let verifier = settings.trust.verifier(&provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(settings.min_version, settings.max_version))
        .map_err(|error| PolicyError(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match settings.certificate {
        Some(certificate) => {
            let shown = SingleCertAndKey::from(certificate.certified());
            builder.with_client_cert_resolver(Arc::new(shown))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = settings.alpn_protocols;
    config.resumption = match settings.resumes_sessions {
        true => Resumption::in_memory_sessions(SESSIONS_MAX),
        false => Resumption::disabled(),
    };
    Ok(config)
}

impl Trust {
    /// What a handshake asks about the chain that a server shows.
    ///
    /// # Errors
    /// There is no authority.
    pub fn verifier(
        self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, PolicyError> {
        match self {
            Self::Authorities(authorities) => {
                let roots = authorities.into_roots();
                let built =
                    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider));
                match built.build() {
                    Ok(verifier) => Ok(verifier),
                    Err(error) => Err(PolicyError(error.to_string())),
                }
            }
            Self::Anybody => Ok(any_server(provider)),
        }
    }
}

/// A policy is for one name, so this is no more than a place to keep its tickets.
const SESSIONS_MAX: usize = 8;
/// What the next settings of the process are known by.
static IDENTITIES: AtomicU64 = AtomicU64::new(0);
