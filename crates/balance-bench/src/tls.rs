//! TLS on both sides of a measurement: what the command line says about it, and connections under it.

mod client;
mod stream;
mod tally;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use client::Client;
pub(crate) use stream::{Received, Records, TlsStream};
pub(crate) use tally::Handshakes;

use std::path::PathBuf;

use balance_core::TlsVersion;
use balance_tls::CipherSuite;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::ALL_KX_GROUPS;

/// What is said about TLS to an https target.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "TLS, for https")]
pub struct TlsArgs {
    /// Take any certificate
    #[arg(long)]
    pub insecure: bool,

    /// Certificates to trust, PEM [default: those of the system]
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,

    /// The name to ask for and to verify [default: the host]
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,

    /// This version and no other: 1.2 or 1.3
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    pub tls_version: Option<TlsVersion>,

    /// Cipher suites by their IANA names, in the order they are offered
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = parse_suite)]
    ciphers: Vec<CipherSuite>,

    /// Groups of the key exchange, such as X25519, in the order they are offered
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = parse_group)]
    groups: Vec<&'static dyn SupportedKxGroup>,

    /// Resume sessions: of what a connection was told, the next one in its place makes use. Without it every
    /// handshake is a full one
    #[arg(long)]
    pub resumption: bool,
}

impl TlsArgs {
    pub(crate) fn is_given(&self) -> bool {
        self.insecure
            || self.resumption
            || self.ca.is_some()
            || self.server_name.is_some()
            || self.tls_version.is_some()
            || !self.ciphers.is_empty()
            || !self.groups.is_empty()
    }
}

fn parse_version(text: &str) -> Result<TlsVersion, String> {
    let known = TlsVersion::ALL.into_iter().find(|each| each.name() == text);
    known.ok_or_else(|| "1.2 or 1.3".to_owned())
}

fn parse_suite(text: &str) -> Result<CipherSuite, String> {
    CipherSuite::named(text).ok_or_else(|| {
        let names: Vec<_> = CipherSuite::names().collect();
        format!("one of {}", names.join(", "))
    })
}

fn parse_group(text: &str) -> Result<&'static dyn SupportedKxGroup, String> {
    let name = |group: &&dyn SupportedKxGroup| format!("{:?}", group.name());
    let found = ALL_KX_GROUPS
        .iter()
        .find(|group| name(group).eq_ignore_ascii_case(text));
    found.copied().ok_or_else(|| {
        let names: Vec<_> = ALL_KX_GROUPS.iter().map(name).collect();
        format!("one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::{parse_group, parse_suite, parse_version};

    #[test]
    fn what_is_unknown_is_refused_with_what_is_known() {
        assert!(parse_version("1.1").unwrap_err().contains("1.3"));
        assert!(parse_suite("AES").unwrap_err().contains("TLS_AES_128"));
        assert!(parse_group("X448").unwrap_err().contains("X25519"));
        assert!(parse_version("1.3").is_ok() && parse_group("x25519").is_ok());
    }
}
