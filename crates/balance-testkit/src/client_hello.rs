//! What a TLS client says first, for tests that then say nothing, or something else.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// A whole ClientHello of rustls, as records, that asks for `server_name`.
///
/// # Errors
/// No client can ask for that name.
pub fn client_hello(server_name: &str) -> anyhow::Result<Vec<u8>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(server_name.to_owned())?;
    let mut client = ClientConnection::new(Arc::new(config), name)?;
    let mut records = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut records)?;
    }
    Ok(records)
}
