//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`; sections below are its): who is really
//! connected to whom, told by the proxy in front before the first byte of the connection, and by us to a backend.
//!
//! Strict: what it accepts has one meaning, and nobody but a proxy sends it. Whom it is accepted from is the caller's
//! business, and so is how long one waits for it.

mod crc32c;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use balance_core::ProxyVersion;

/// The two ends of a TCP connection.
///
/// Never an IPv4-mapped IPv6 address, a flow or a scope: two that are the same connection are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionEnds {
    source: SocketAddr,
    destination: SocketAddr,
}

impl ConnectionEnds {
    /// From the client's address and the one that it connected to.
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            source: plain(source),
            destination: plain(destination),
        }
    }

    /// The client's.
    pub fn source(&self) -> SocketAddr {
        self.source
    }

    /// The one that the client connected to.
    pub fn destination(&self) -> SocketAddr {
        self.destination
    }
}

/// Whom a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The proxy itself, for a health check: its own addresses count (`LOCAL`).
    Local,
    /// Somebody whose addresses the proxy does not tell (`UNKNOWN`, `UNSPEC`, a unix socket): those of the connection
    /// count.
    Unknown,
    /// A client of the proxy.
    Client(ConnectionEnds),
}

/// How far [`parse`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Good so far; more is needed.
    Partial,
    /// A whole header.
    Complete {
        /// What it says.
        origin: Origin,
        /// Its bytes; the connection's own begin behind them.
        consumed: usize,
    },
}

/// Why a connection does not begin with a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    /// Its first bytes are those of neither version.
    #[error("it does not begin with a PROXY header")]
    Absent,
    /// Longer than [`HEADER_BYTES_MAX`], or 107 bytes in version 1.
    #[error("the PROXY header is too long")]
    TooLong,
    /// The line of version 1 breaks its grammar.
    #[error("the line of the PROXY header is malformed")]
    Line,
    /// Another version of the binary form, or an unknown command.
    #[error("the version or command of the PROXY header is unknown")]
    Command,
    /// An unknown address family or transport.
    #[error("the address family of the PROXY header is unknown")]
    Family,
    /// Datagrams do not come over a connection.
    #[error("the PROXY header is one of datagrams")]
    Datagram,
    /// Its length leaves no room for the addresses it announces.
    #[error("the PROXY header is too short for its addresses")]
    TooShort,
    /// A TLV that reaches over the end, or one that may be there once and is there twice.
    #[error("the PROXY header has a malformed TLV")]
    Tlv,
    /// The checksum is there and wrong (§2.2.4).
    #[error("the checksum of the PROXY header is wrong")]
    Checksum,
}

/// Reads a header of either version from the first bytes of a connection. Give all of them again when it was partial.
///
/// # Errors
/// There is none, or it is malformed: the connection is to be closed, whatever follows.
pub fn parse(input: &[u8]) -> Result<Progress, ProxyHeaderError> {
    match input.first() {
        None => Ok(Progress::Partial),
        Some(b'P') => v1::parse(input),
        Some(_) => v2::parse(input),
    }
}

/// Appends a header. `None` says that somebody is relayed whose addresses are not known.
pub fn encode(version: ProxyVersion, ends: Option<&ConnectionEnds>, out: &mut Vec<u8>) {
    match version {
        ProxyVersion::V1 => v1::encode(ends, out),
        ProxyVersion::V2 => v2::encode(ends, out),
    }
}

/// What of a binary header is read: the largest addresses and some KiB of TLVs (nginx has the same limit).
pub const HEADER_BYTES_MAX: usize = 4096;

fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Both ends in one family, as a header wants them: a mixed pair in IPv6.
fn of_one_family(ends: &ConnectionEnds) -> (IpAddr, IpAddr) {
    match (ends.source.ip(), ends.destination.ip()) {
        (IpAddr::V4(source), destination @ IpAddr::V6(_)) => {
            (source.to_ipv6_mapped().into(), destination)
        }
        (source @ IpAddr::V6(_), IpAddr::V4(destination)) => {
            (source, destination.to_ipv6_mapped().into())
        }
        same => same,
    }
}
