//! The certificates and keys that the configuration names: whether a handshake could be made with them.
//!
//! What no handshake can be made with is an error. What clients would refuse (expired, another name) is a
//! warning: it must not keep an operator from taking a change of something else into use.

mod expiry;
mod watch;

use std::time::SystemTime;

use balance_config::{
    CertificateFiles, Diagnostic, Place, Severity, Sources, Spanned, TlsMaterial,
};
use balance_tls::{Authorities, Certificate, CertificateError, Chain, KeyError, PrivateKey};

pub(crate) use expiry::{ExpiryGauges, Warned};
pub(crate) use watch::{Files, expiring, look};

/// Reads and judges all of them.
pub(crate) fn check(
    sources: &dyn Sources,
    material: &TlsMaterial,
    now: SystemTime,
) -> Vec<Diagnostic> {
    let mut judge = Judge::new(sources, now);
    for pair in &material.certificates {
        judge.pair(pair);
    }
    for authority in &material.authorities {
        judge.authorities(authority);
    }
    if let Some(place) = &material.system_authorities {
        judge.system_authorities(place);
    }
    judge.diagnostics
}

/// Reads files, and collects what there is to say about them.
pub(crate) struct Judge<'a> {
    sources: &'a dyn Sources,
    now: SystemTime,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Some hundred, read when they are first needed.
    system_authorities: Option<Authorities>,
}

/// A certificate with its key, and until when clients take it.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: Certificate,
    pub(crate) not_after: SystemTime,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(sources: &'a dyn Sources, now: SystemTime) -> Self {
        Self {
            sources,
            now,
            diagnostics: Vec::new(),
            system_authorities: None,
        }
    }

    /// `None`: an error is among the diagnostics.
    pub(crate) fn pair(&mut self, pair: &CertificateFiles) -> Option<Pair> {
        let chain = self.chain(&pair.certificate);
        let key = self.key(&pair.key);
        let chain = chain?;
        let certificate = key.as_ref().map(|key| Certificate::new(&chain, key));
        if let Some(None) = certificate {
            let message = format!(
                "the key `{}` does not belong to the certificate `{}`",
                pair.key.value, pair.certificate.value
            );
            self.diagnostics.push(
                Diagnostic::new(Severity::Error, &pair.key.place, message)
                    .with_related(&pair.certificate.place, "the certificate is named here")
                    .with_help("name the key that the certificate was requested with; when both are in the file, the server's own certificate comes first"),
            );
        }
        self.remarks(pair, &chain);
        Some(Pair {
            certificate: certificate.flatten()?,
            not_after: chain.not_after(),
        })
    }

    /// Who may sign certificates. `None`: an error is among the diagnostics.
    pub(crate) fn authorities(&mut self, file: &Spanned<String>) -> Option<Authorities> {
        let chain = self.chain(file)?;
        self.expiry(file, &chain);
        match Authorities::new(&chain) {
            Ok(authorities) => Some(authorities),
            Err(error) => {
                self.refuse(
                    file,
                    format!("`{}`: {error}", file.value),
                    "`openssl x509 -noout -text -in FILE` shows what is in it",
                );
                None
            }
        }
    }

    /// The authorities that the system knows, for the section at `place`. `None`: an error is among the diagnostics.
    pub(crate) fn system_authorities(&mut self, place: &Place) -> Option<Authorities> {
        if self.system_authorities.is_none() {
            let found = rustls_native_certs::load_native_certs();
            self.system_authorities = Authorities::of_system(found.certs);
        }
        if self.system_authorities.is_none() {
            let message = "this system has no list of authorities to verify backends with";
            self.diagnostics.push(
                Diagnostic::new(Severity::Error, place, message)
                    .with_help("add `ca_file`, or install the package ca-certificates"),
            );
        }
        self.system_authorities.clone()
    }

    /// What clients would refuse.
    fn remarks(&mut self, pair: &CertificateFiles, chain: &Chain) {
        self.expiry(&pair.certificate, chain);
        if let Some(number) = chain.gap() {
            let message = format!(
                "in `{}`, certificate {} did not issue certificate {number}",
                pair.certificate.value,
                number + 1
            );
            self.warn(&pair.certificate, message, "put the server's own certificate first, then each one that issued the one before it");
        }
        for domain in pair
            .domains
            .iter()
            .filter(|domain| !chain.is_for(&domain.value))
        {
            let message = format!(
                "the certificate `{}` is not for `{}`: clients that ask for it refuse it",
                pair.certificate.value, domain.value
            );
            let names = chain.names().iter().take(NAMES_SHOWN_MAX);
            let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
            let help = match names.len() {
                0 => "it has no names at all (subjectAltName)".to_owned(),
                shown if shown < chain.names().len() => {
                    format!(
                        "its names are {} and {} more",
                        names.join(", "),
                        chain.names().len() - shown
                    )
                }
                _ => format!("its names are {}", names.join(", ")),
            };
            self.warn(domain, message, &help);
        }
    }

    fn chain(&mut self, file: &Spanned<String>) -> Option<Chain> {
        let bytes = self.read(file)?;
        match Chain::parse(&bytes) {
            Ok(chain) => Some(chain),
            Err(error) => {
                let help = match error {
                    CertificateError::IsKey => "are the certificate and the key swapped?",
                    CertificateError::Missing => {
                        "a certificate in DER becomes PEM by `openssl x509 -inform der -in FILE`"
                    }
                    CertificateError::BrokenPem(_) | CertificateError::Malformed { .. } => {
                        "`openssl x509 -noout -text -in FILE` shows what is in it"
                    }
                };
                self.refuse(
                    file,
                    format!("`{}` is no certificate: {error}", file.value),
                    help,
                );
                None
            }
        }
    }

    fn key(&mut self, file: &Spanned<String>) -> Option<PrivateKey> {
        let bytes = self.read(file)?;
        match PrivateKey::parse(&bytes) {
            Ok(key) => Some(key),
            Err(error) => {
                let help = match error {
                    KeyError::IsCertificate => "are the certificate and the key swapped?",
                    KeyError::Encrypted => {
                        "store it without passphrase, readable for Balance alone: `openssl pkey -in FILE -out FILE.plain`"
                    }
                    KeyError::Missing => {
                        "a key in DER becomes PEM by `openssl pkey -inform der -in FILE`"
                    }
                    KeyError::BrokenPem(_) | KeyError::Unsupported => {
                        "`openssl pkey -noout -text_pub -in FILE` shows what is in it"
                    }
                };
                self.refuse(
                    file,
                    format!("`{}` is no private key: {error}", file.value),
                    help,
                );
                None
            }
        }
    }

    fn expiry(&mut self, file: &Spanned<String>, chain: &Chain) {
        let Some(expiry) = chain.expiry(self.now) else {
            return;
        };
        let which = match expiry.number {
            1 => "the certificate".to_owned(),
            number => format!("certificate {number}"),
        };
        let message = format!("{which} in `{}` {expiry}", file.value);
        self.warn(
            file,
            message,
            "whoever is shown it refuses it: renew it, or set the clock of this machine right",
        );
    }

    pub(crate) fn read(&mut self, file: &Spanned<String>) -> Option<Vec<u8>> {
        match self.sources.read(&file.value, FILE_BYTES_MAX) {
            Ok(bytes) if bytes.len() > FILE_BYTES_MAX => {
                let message = format!(
                    "`{}` has more than {} KiB",
                    file.value,
                    FILE_BYTES_MAX >> 10
                );
                self.refuse(file, message, "it should hold certificates or a key in PEM");
                None
            }
            Ok(bytes) => Some(bytes),
            Err(error) => {
                let message = format!("`{}` cannot be read: {error}", file.value);
                self.refuse(
                    file,
                    message,
                    "it must be there, readable for the user Balance runs as",
                );
                None
            }
        }
    }

    fn refuse(&mut self, file: &Spanned<String>, message: String, help: &str) {
        let diagnostic = Diagnostic::new(Severity::Error, &file.place, message);
        self.diagnostics.push(diagnostic.with_help(help));
    }

    fn warn(&mut self, file: &Spanned<String>, message: String, help: &str) {
        let diagnostic = Diagnostic::new(Severity::Warning, &file.place, message);
        self.diagnostics.push(diagnostic.with_help(help));
    }
}

/// A list of authorities of a whole system has some 200 KiB.
const FILE_BYTES_MAX: usize = 1 << 20;
const NAMES_SHOWN_MAX: usize = 5;

#[cfg(test)]
mod tests;
