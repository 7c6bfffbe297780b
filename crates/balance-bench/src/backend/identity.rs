//! The certificate of a built-in backend that speaks TLS.

use std::path::{Path, PathBuf};

use balance_core::TlsVersion;
use balance_tls::{
    Certificate, CertificateStore, Certificates, Chain, ClientAuth, Entry, PrivateKey,
    ServerPolicy, ServerSettings, TicketKeys,
};

/// Files in PEM; `balance cert self-signed` makes a pair.
#[derive(Clone, Debug)]
pub struct IdentityFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("cannot read {path}: {reason}")]
    Read {
        path: PathBuf,
        reason: std::io::Error,
    },
    #[error("{path}: {reason}")]
    Certificate {
        path: PathBuf,
        reason: balance_tls::CertificateError,
    },
    #[error("{path}: {reason}")]
    Key {
        path: PathBuf,
        reason: balance_tls::KeyError,
    },
    #[error("the key does not belong to the certificate")]
    Mismatch,
    #[error(transparent)]
    Policy(#[from] balance_tls::PolicyError),
}

impl IdentityFiles {
    /// TLS 1.2 and 1.3, with tickets, for any client.
    pub(super) fn policy(&self) -> Result<ServerPolicy, IdentityError> {
        let chain = Chain::parse(&read(&self.certificate)?).map_err(|reason| {
            IdentityError::Certificate {
                path: self.certificate.clone(),
                reason,
            }
        })?;
        let key = PrivateKey::parse(&read(&self.key)?).map_err(|reason| IdentityError::Key {
            path: self.key.clone(),
            reason,
        })?;
        let certificate = Certificate::new(&chain, &key).ok_or(IdentityError::Mismatch)?;
        let entry = Entry {
            certificate,
            domains: Vec::new(),
            is_default: true,
        };
        let store = CertificateStore::new(&[entry]).ok_or(IdentityError::Mismatch)?;
        Ok(ServerPolicy::new(ServerSettings {
            certificates: Certificates::new(store),
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
            cipher_suites: Vec::new(),
            prefers_server_order: true,
            alpn_protocols: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            tickets: Some(TicketKeys::new()?),
            client_auth: ClientAuth::None,
        })?)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    std::fs::read(path).map_err(|reason| IdentityError::Read {
        path: path.to_owned(),
        reason,
    })
}
