//! What a session ended with, in few words: for logs, and for what clients are told.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// Why there is no session with a peer. It reads on after "the backend: ".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TlsFault {
    #[error("its certificate has expired")]
    Expired,
    #[error("its certificate is not valid yet")]
    NotYetValid,
    #[error("its certificate is for another name")]
    OtherName,
    #[error("its certificate is of an authority that is not trusted")]
    UnknownAuthority,
    /// A certificate by an authority whose name is known and whose key is another, or a handshake without the key.
    #[error(
        "a signature does not match: is its certificate of another authority of the same name?"
    )]
    BadSignature,
    #[error("its certificate was revoked")]
    Revoked,
    #[error("its certificate cannot be used")]
    Certificate,
    /// An alert about a certificate.
    #[error("it wants a certificate from us, or refuses ours")]
    RefusesUs,
    #[error("no version or cipher suite of TLS in common")]
    NothingInCommon,
    #[error("no application protocol (ALPN) in common")]
    NoProtocol,
    #[error("it does not know the server name it was asked for")]
    UnknownName,
    #[error("it does not speak TLS")]
    NotTls,
    #[error("it violates the TLS protocol")]
    Protocol,
    #[error("it ended the TLS session with an alert")]
    Alert,
    /// The connection ended, without TLS saying so.
    #[error("it broke off the TLS handshake")]
    BrokenOff,
    /// Ours to blame: no randomness, no time.
    #[error("TLS failed on our side")]
    Ours,
}

impl TlsFault {
    /// Whether a certificate is at fault, and not the protocol.
    pub fn is_certificate(self) -> bool {
        matches!(
            self,
            Self::Expired
                | Self::NotYetValid
                | Self::OtherName
                | Self::UnknownAuthority
                | Self::BadSignature
                | Self::Revoked
                | Self::Certificate
                | Self::RefusesUs
        )
    }

    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::NoCertificatesPresented | Error::InvalidCertRevocationList(_) => {
                Self::Certificate
            }
            Error::AlertReceived(alert) => Self::of_alert(*alert),
            Error::NoApplicationProtocol => Self::NoProtocol,
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Self::NothingInCommon,
            Error::InvalidMessage(_) => Self::NotTls,
            Error::FailedToGetCurrentTime | Error::FailedToGetRandomBytes | Error::General(_) => {
                Self::Ours
            }
            _ => Self::Protocol,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::OtherName
            }
            CertificateError::UnknownIssuer => Self::UnknownAuthority,
            CertificateError::BadSignature => Self::BadSignature,
            CertificateError::Revoked => Self::Revoked,
            _ => Self::Certificate,
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => Self::RefusesUs,
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity => Self::NothingInCommon,
            AlertDescription::NoApplicationProtocol => Self::NoProtocol,
            AlertDescription::UnrecognisedName => Self::UnknownName,
            _ => Self::Alert,
        }
    }
}
