//! Whether clients show certificates, and what is made of them.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use crate::chain::Chain;

/// What is asked of clients. The names are those of the configuration, the meanings those of Go.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// Nothing.
    None,
    /// A certificate, if they have one. Its chain is **not verified**, only that the client has its key.
    Request,
    /// Some certificate. Its chain is **not verified**, only that the client has its key.
    Require,
    /// A certificate, if they have one; then it must be of one of these authorities.
    Verify(Authorities),
    /// A certificate of one of these authorities.
    RequireAndVerify(Authorities),
}

/// Authorities whose certificates are trusted.
#[derive(Clone, Debug)]
pub struct Authorities {
    roots: Arc<RootCertStore>,
}

/// A certificate that cannot be an authority: not X.509 as webpki knows it. Counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("certificate {number} in it cannot be used as an authority")]
pub struct AuthorityError {
    pub number: usize,
}

impl ClientAuth {
    /// # Errors
    /// When webpki cannot work with the authorities.
    pub(crate) fn verifier(
        self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let webpki = |authorities: Authorities| {
            WebPkiClientVerifier::builder_with_provider(authorities.roots, Arc::clone(provider))
        };
        let unverified = |is_mandatory| {
            Arc::new(Unverified {
                is_mandatory,
                algorithms: provider.signature_verification_algorithms,
            })
        };
        let built = match self {
            Self::None => return Ok(Arc::new(NoClientAuth)),
            Self::Request => return Ok(unverified(false)),
            Self::Require => return Ok(unverified(true)),
            Self::Verify(authorities) => webpki(authorities).allow_unauthenticated().build(),
            Self::RequireAndVerify(authorities) => webpki(authorities).build(),
        };
        built.map_err(|error| Error::General(error.to_string()))
    }
}

impl Authorities {
    /// All certificates of a file.
    ///
    /// # Errors
    /// The first one that cannot be an authority.
    pub fn new(chain: &Chain) -> Result<Self, AuthorityError> {
        let mut roots = RootCertStore::empty();
        for (certificate, number) in chain.certificates().iter().zip(1..) {
            let added = roots.add(certificate.clone());
            added.map_err(|_| AuthorityError { number })?;
        }
        Ok(Self {
            roots: Arc::new(roots),
        })
    }
}

/// Takes any chain. Whoever uses the identity must not treat it as verified: anybody can write any name into a
/// certificate of his own.
#[derive(Debug)]
struct Unverified {
    is_mandatory: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Unverified {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[] // RFC 8446 §4.2.4: without hints a client may send what it has.
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
