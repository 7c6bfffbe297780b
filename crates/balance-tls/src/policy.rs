//! How a listener makes handshakes: everything that is decided before a client comes.

use std::fmt;
use std::sync::Arc;

use balance_core::TlsVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use crate::certificates::Certificates;
use crate::client_auth::ClientAuth;
use crate::hello;
use crate::session::{Session, SessionError};
use crate::suites::{CipherSuite, chosen};

/// What a policy is made of.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    pub certificates: Arc<Certificates>,
    pub min_version: TlsVersion,
    pub max_version: TlsVersion,
    /// Empty: all, AES-128 first.
    pub cipher_suites: Vec<CipherSuite>,
    /// Whose order of suites counts: ours, or the client's.
    pub prefers_server_order: bool,
    /// In the order they are preferred. Empty: none is negotiated.
    pub alpn_protocols: Vec<Vec<u8>>,
    /// `None`: sessions are not resumed.
    pub tickets: Option<TicketKeys>,
    pub client_auth: ClientAuth,
}

/// The keys that session tickets are encrypted with. Clones are the same keys: listeners that share them resume
/// each other's sessions, so they must agree on whom they let in.
#[derive(Clone)]
pub struct TicketKeys {
    ticketer: Arc<dyn ProducesTickets>,
}

/// A listener's policy, compiled.
pub struct ServerPolicy {
    /// The order of suites is ours.
    own_order: Arc<ServerConfig>,
    /// The order of suites is the client's.
    client_order: Arc<ServerConfig>,
    order: SuiteOrder,
    certificates: Arc<Certificates>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SuiteOrder {
    Own,
    Client,
    /// Ours, but a client that lists ChaCha20 first has no instructions for AES, and gets what it can compute.
    OwnUnlessChaCha20,
}

/// Why a policy cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyError(pub(crate) String);

impl ServerPolicy {
    /// # Errors
    /// When the settings contradict each other.
    pub fn new(settings: ServerSettings) -> Result<Self, PolicyError> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: chosen(&settings.cipher_suites),
            ..aws_lc_rs::default_provider()
        });
        let order = match (
            settings.prefers_server_order,
            settings.cipher_suites.is_empty(),
        ) {
            (false, _) => SuiteOrder::Client,
            (true, true) => SuiteOrder::OwnUnlessChaCha20,
            (true, false) => SuiteOrder::Own,
        };
        let versions = versions(settings.min_version, settings.max_version);
        let verifier = settings.client_auth.verifier(&provider);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| PolicyError(error.to_string()))?
            .with_client_cert_verifier(verifier.map_err(|error| PolicyError(error.to_string()))?)
            .with_cert_resolver(Arc::clone(&settings.certificates) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = settings.alpn_protocols;
        // Sessions live in tickets alone: a table of them would be a lock that all workers take.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if let Some(keys) = settings.tickets {
            config.ticketer = keys.ticketer;
        }
        // Each costs a handshake some 5 µs (179, 175 and 169 µs with 2, 1 and 0, measured).
        config.send_tls13_tickets = 1;
        config.ignore_client_order = true;
        let mut client_order = config.clone();
        client_order.ignore_client_order = false;
        Ok(Self {
            own_order: Arc::new(config),
            client_order: Arc::new(client_order),
            order,
            certificates: settings.certificates,
        })
    }

    /// Which certificates clients are shown.
    pub fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// A session for a client whose first bytes these are. They are only looked at, and may be incomplete.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn accept(&self, first_bytes: &[u8]) -> Result<Session, SessionError> {
        let takes_client_order = match self.order {
            SuiteOrder::Own => false,
            SuiteOrder::Client => true,
            SuiteOrder::OwnUnlessChaCha20 => hello::prefers_chacha20(first_bytes),
        };
        let config = if takes_client_order {
            &self.client_order
        } else {
            &self.own_order
        };
        Session::server(Arc::clone(config))
    }
}

impl fmt::Debug for ServerPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerPolicy")
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

impl TicketKeys {
    /// New random keys. They are replaced every six hours; a ticket is taken for at most twelve.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new() -> Result<Self, PolicyError> {
        let ticketer =
            aws_lc_rs::Ticketer::new().map_err(|error| PolicyError(error.to_string()))?;
        Ok(Self { ticketer })
    }
}

impl fmt::Debug for TicketKeys {
    /// Never the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").finish_non_exhaustive()
    }
}

pub(crate) fn versions(min: TlsVersion, max: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    let known = [(TlsVersion::Tls13, &TLS13), (TlsVersion::Tls12, &TLS12)];
    let wanted = known
        .into_iter()
        .filter(|(version, _)| (min..=max).contains(version));
    wanted.map(|(_, version)| version).collect()
}
