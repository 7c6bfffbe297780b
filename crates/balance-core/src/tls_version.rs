//! Versions of TLS.

/// A version of TLS. Older ones are broken (RFC 8996) and not implemented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

impl TlsVersion {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    /// As in the configuration and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}
