//! A certificate and those that lead from it to its authority, in the order of a file.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::key::names_private_key;

/// The certificates of a file: at least one.
#[derive(Clone, Debug)]
pub struct Chain {
    certificates: Vec<CertificateDer<'static>>,
    facts: Vec<Facts>,
}

/// What is said about one certificate.
#[derive(Clone, Debug)]
struct Facts {
    /// DNS names and addresses that it is for. The common name is none: no client looks at it
    /// (RFC 9525 §2).
    names: Vec<String>,
    /// As bytes: two names of one authority are the same when they are encoded the same (RFC 5280 §6.1).
    subject: Vec<u8>,
    issuer: Vec<u8>,
    not_before: ASN1Time,
    not_after: ASN1Time,
}

/// Why a file is no certificate chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("no certificate is in it: PEM begins with `-----BEGIN CERTIFICATE-----`")]
    Missing,
    #[error("a private key is in it and no certificate")]
    IsKey,
    #[error("its PEM is broken: {0}")]
    BrokenPem(String),
    /// Counted from 1, in the order of the file.
    #[error("certificate {number} in it is not X.509")]
    Malformed { number: usize },
}

/// A certificate that clients refuse at this time. Shown as what is wrong with it: `expired on …`.
#[derive(Clone, Debug)]
pub struct Expiry {
    /// Counted from 1, in the order of the file.
    pub number: usize,
    bound: Bound,
}

/// The end of its time that the clock is beyond.
#[derive(Clone, Debug)]
enum Bound {
    NotBefore(ASN1Time),
    NotAfter(ASN1Time),
}

impl Chain {
    /// Reads a PEM file. What else is in it (a key, comments) is passed over.
    ///
    /// # Errors
    /// When there is no certificate in it, or one that is not X.509.
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        let certificates = CertificateDer::pem_slice_iter(bytes)
            .collect::<Result<Vec<_>, pem::Error>>()
            .map_err(|error| CertificateError::BrokenPem(error.to_string()))?;
        if certificates.is_empty() {
            return Err(if names_private_key(bytes) {
                CertificateError::IsKey
            } else {
                CertificateError::Missing
            });
        }
        let facts = certificates
            .iter()
            .zip(1..)
            .map(|(der, number)| Facts::parse(der).ok_or(CertificateError::Malformed { number }))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            certificates,
            facts,
        })
    }

    /// The certificates as they go over the wire.
    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// The names that the first certificate is for.
    pub fn names(&self) -> &[String] {
        &self.facts[0].names
    }

    /// Whether clients that ask for `host` take the first certificate; a pattern `*.x` when it is for all
    /// names that the pattern can mean in a certificate, which are those of one more label (RFC 9525 §6.3).
    pub fn is_for(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names().iter().any(|name| {
            name.eq_ignore_ascii_case(host)
                || name
                    .strip_prefix("*.")
                    .zip(parent)
                    .is_some_and(|(name, parent)| name.eq_ignore_ascii_case(parent))
        })
    }

    /// The end of the first certificate's time.
    pub fn not_after(&self) -> SystemTime {
        let seconds = u64::try_from(self.facts[0].not_after.timestamp()).unwrap_or(0);
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// The first certificate that is not valid at `now`.
    pub fn expiry(&self, now: SystemTime) -> Option<Expiry> {
        let seconds = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        self.facts.iter().zip(1..).find_map(|(facts, number)| {
            let bound = if facts.not_after.timestamp() < seconds {
                Bound::NotAfter(facts.not_after)
            } else if facts.not_before.timestamp() > seconds {
                Bound::NotBefore(facts.not_before)
            } else {
                return None;
            };
            Some(Expiry { number, bound })
        })
    }

    /// The first certificate, counted from 1, that the next one did not issue: the order is wrong, or one is
    /// missing in between (RFC 8446 §4.4.2 lets clients refuse that).
    pub fn gap(&self) -> Option<usize> {
        let mut pairs = self.facts.windows(2).zip(1..);
        let (_, number) = pairs.find(|(pair, _)| pair[0].issuer != pair[1].subject)?;
        Some(number)
    }
}

impl Facts {
    fn parse(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        Some(Self {
            names: names(&certificate)?,
            subject: certificate.subject().as_raw().to_vec(),
            issuer: certificate.issuer().as_raw().to_vec(),
            not_before: validity.not_before,
            not_after: validity.not_after,
        })
    }
}

/// Of the extension subjectAltName (RFC 5280 §4.2.1.6); `None` when it is malformed.
fn names(certificate: &X509Certificate<'_>) -> Option<Vec<String>> {
    let Some(extension) = certificate.subject_alternative_name().ok()? else {
        return Some(Vec::new());
    };
    let names = extension.value.general_names.iter();
    Some(names.filter_map(name).collect())
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from);
            v4.or_else(|_| v6()).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.bound {
            Bound::NotAfter(at) => write!(f, "expired on {at}"),
            Bound::NotBefore(at) => write!(f, "is not valid before {at}"),
        }
    }
}
