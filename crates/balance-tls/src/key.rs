//! A private key, and whether it belongs to a certificate.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::sign::{CertifiedKey, SigningKey};

use crate::chain::Chain;

/// A key that handshakes can be signed with.
#[derive(Clone)]
pub struct PrivateKey {
    signer: Arc<dyn SigningKey>,
}

/// Why a file is no private key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("no private key is in it: PEM begins with `-----BEGIN PRIVATE KEY-----`")]
    Missing,
    #[error("a certificate is in it and no private key")]
    IsCertificate,
    #[error("its key is encrypted, and there is nobody to ask for the passphrase")]
    Encrypted,
    #[error("its PEM is broken: {0}")]
    BrokenPem(String),
    #[error(
        "its key is of no kind that TLS uses: RSA of 2048 bits or more, ECDSA P-256, P-384 or P-521, Ed25519"
    )]
    Unsupported,
}

impl PrivateKey {
    /// Reads the first key of a PEM file (PKCS #8, PKCS #1 or SEC 1). What else is in it is passed over.
    ///
    /// # Errors
    /// When there is no key in it that can be used.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        let key = PrivateKeyDer::from_pem_slice(bytes);
        if is_encrypted(bytes) {
            return Err(KeyError::Encrypted);
        }
        let key = key.map_err(|error| match error {
            pem::Error::NoItemsFound if contains(bytes, "-----BEGIN CERTIFICATE-----") => {
                KeyError::IsCertificate
            }
            pem::Error::NoItemsFound => KeyError::Missing,
            error => KeyError::BrokenPem(error.to_string()),
        })?;
        let signer = any_supported_type(&key).map_err(|_| KeyError::Unsupported)?;
        Ok(Self { signer })
    }

    /// Whether it is the key of the first certificate.
    pub fn belongs_to(&self, chain: &Chain) -> bool {
        self.certified(chain).keys_match().is_ok()
    }

    /// What a handshake is signed with, and what it shows.
    pub(crate) fn certified(&self, chain: &Chain) -> CertifiedKey {
        CertifiedKey::new(chain.certificates().to_vec(), Arc::clone(&self.signer))
    }
}

impl fmt::Debug for PrivateKey {
    /// Never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").finish_non_exhaustive()
    }
}

/// PKCS #8 says so in its label (RFC 7468 §11), the older forms in a header (RFC 1421 §4.6.1.1).
fn is_encrypted(bytes: &[u8]) -> bool {
    contains(bytes, "-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || contains(bytes, "Proc-Type: 4,ENCRYPTED")
}

pub(crate) fn names_private_key(bytes: &[u8]) -> bool {
    contains(bytes, "PRIVATE KEY-----")
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}
