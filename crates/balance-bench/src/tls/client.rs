//! How connections to an https target are made.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use anyhow::Context;
use balance_core::TlsVersion;
use balance_tls::{Authorities, Chain, CipherSuite, Session, Trust};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};

use super::{TlsArgs, TlsStream};

/// A client of one target.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    resumes: bool,
}

impl Client {
    /// `host` is verified unless the arguments have another name; `protocol` as ALPN names it.
    ///
    /// # Errors
    /// The name is none, the certificates cannot be read, or the ciphers are those of another version.
    pub(crate) fn new(args: &TlsArgs, host: &str, protocol: &[u8]) -> anyhow::Result<Self> {
        let name = args.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .with_context(|| format!("`{name}` is no name of a server: give --server-name"))?;
        let provider = Arc::new(provider(args));
        let verifier = trust(args)?.verifier(&provider)?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions(args.tls_version))
            .context("--tls-version, --ciphers and --groups leave nothing to agree on")?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
            name,
            resumes: args.resumption,
        })
    }

    /// The same client with sessions of its own to resume, where that was asked for.
    pub(crate) fn separate(&self) -> Self {
        if !self.resumes {
            return self.clone();
        }
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::in_memory_sessions(1);
        Self {
            config: Arc::new(config),
            ..self.clone()
        }
    }

    /// A session on a connected socket, in which nothing was said yet.
    ///
    /// # Errors
    /// There is no randomness.
    pub(crate) fn connect(&self, stream: TcpStream) -> io::Result<TlsStream> {
        let session = Session::client(Arc::clone(&self.config), self.name.clone());
        let mut stream = TlsStream::new(stream, session.map_err(io::Error::other)?);
        stream.start()?;
        Ok(stream)
    }
}

fn provider(args: &TlsArgs) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if !args.ciphers.is_empty() {
        provider.cipher_suites = args
            .ciphers
            .iter()
            .copied()
            .map(CipherSuite::suite)
            .collect();
    }
    if !args.groups.is_empty() {
        provider.kx_groups.clone_from(&args.groups);
    }
    provider
}

fn versions(only: Option<TlsVersion>) -> Vec<&'static SupportedProtocolVersion> {
    match only {
        None => rustls::ALL_VERSIONS.to_vec(),
        Some(TlsVersion::Tls12) => vec![&TLS12],
        Some(TlsVersion::Tls13) => vec![&TLS13],
    }
}

/// Whom it believes: as the proxy does its backends.
fn trust(args: &TlsArgs) -> anyhow::Result<Trust> {
    if args.insecure {
        return Ok(Trust::Anybody);
    }
    let Some(path) = &args.ca else {
        let found = rustls_native_certs::load_native_certs().certs;
        let authorities = Authorities::of_system(found)
            .context("this system has no list of authorities: give --ca FILE or --insecure")?;
        return Ok(Trust::Authorities(authorities));
    };
    let shown = path.display();
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    let chain = Chain::parse(&bytes).with_context(|| shown.to_string())?;
    let authorities = Authorities::new(&chain).with_context(|| shown.to_string())?;
    Ok(Trust::Authorities(authorities))
}
