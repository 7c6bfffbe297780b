//! Whose signatures under certificates count.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use crate::chain::Chain;

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

    /// Those of the system's list that can be used; among the some hundred there, an odd one is nobody's mistake here.
    /// `None` without any.
    pub fn of_system(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates);
        (added > 0).then(|| Self {
            roots: Arc::new(roots),
        })
    }

    pub(crate) fn into_roots(self) -> Arc<RootCertStore> {
        self.roots
    }
}
