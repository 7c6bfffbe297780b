//! Whether clients show certificates, and what is made of them.

use std::sync::Arc;

use rustls::Error;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};

use crate::authorities::Authorities;
use crate::unverified::Unverified;

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

impl ClientAuth {
    /// # Errors
    /// When webpki cannot work with the authorities.
    pub(crate) fn verifier(
        self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let webpki = |authorities: Authorities| {
            WebPkiClientVerifier::builder_with_provider(
                authorities.into_roots(),
                Arc::clone(provider),
            )
        };
        let unverified = |is_mandatory| Arc::new(Unverified::clients(provider, is_mandatory));
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
