//! Certificates for tests.

use balance_testkit::TempDir;
use rcgen::{CertificateParams, KeyPair};

use crate::{Backend, BackendOptions, IdentityFiles};

/// A certificate for localhost, in files.
pub(crate) struct Identity {
    folder: TempDir,
}

impl Identity {
    pub(crate) fn new() -> Self {
        let identity = Self {
            folder: TempDir::new("bench-identity").unwrap(),
        };
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key);
        let files = identity.files();
        std::fs::write(&files.certificate, certificate.unwrap().pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        identity
    }

    pub(crate) fn files(&self) -> IdentityFiles {
        IdentityFiles {
            certificate: self.folder.path().join("cert.pem"),
            key: self.folder.path().join("key.pem"),
        }
    }

    /// The path of the certificate, for those who are to trust it.
    pub(crate) fn trusted(&self) -> String {
        self.files().certificate.display().to_string()
    }

    pub(crate) fn backend(&self, options: BackendOptions) -> Backend {
        let tls = Some(self.files());
        Backend::start(&BackendOptions { tls, ..options }).unwrap()
    }
}
