//! Version 2 (§2.2).
//!
//! ```text
//!   signature (12) │ version and command │ family and transport │ length (2) │ addresses │ TLVs …
//!                                                                             └──── length ────┘
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::crc32c::Crc32c;
use super::{ConnectionEnds, HEADER_BYTES_MAX, Origin, Progress, ProxyHeaderError, of_one_family};

pub(super) fn parse(input: &[u8]) -> Result<Progress, ProxyHeaderError> {
    let known = input.len().min(SIGNATURE.len());
    if input.get(..known) != SIGNATURE.get(..known) {
        return Err(ProxyHeaderError::Absent);
    }
    // What is known to be wrong is refused before the rest is waited for.
    let is_local = match input.get(12) {
        None => return Ok(Progress::Partial),
        Some(&LOCAL) => true,
        Some(&PROXY) => false,
        Some(_) => return Err(ProxyHeaderError::Command),
    };
    let block = match input.get(13) {
        None => return Ok(Progress::Partial),
        // §2.2: the receiver skips the whole block, whatever family is named.
        Some(_) if is_local => Block::Skipped(Origin::Local),
        Some(family) => Block::of(*family)?,
    };
    let Some((prefix, rest)) = input.split_first_chunk::<PREFIX_LEN>() else {
        return Ok(Progress::Partial);
    };
    let [.., high, low] = *prefix;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > HEADER_BYTES_MAX.saturating_sub(PREFIX_LEN) {
        return Err(ProxyHeaderError::TooLong);
    }
    if length < block.address_len() {
        return Err(ProxyHeaderError::TooShort);
    }
    let Some(body) = rest.get(..length) else {
        return Ok(Progress::Partial);
    };
    Ok(Progress::Complete {
        origin: block.read(prefix, body)?,
        consumed: PREFIX_LEN.saturating_add(length),
    })
}

pub(super) fn encode(ends: Option<&ConnectionEnds>, out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    out.push(PROXY);
    let Some(ends) = ends else {
        out.extend_from_slice(&[UNSPEC, 0, 0]);
        return;
    };
    match of_one_family(ends) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            out.extend_from_slice(&[TCP4, 0, 12]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
        }
        (source, destination) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            out.extend_from_slice(&[TCP6, 0, 36]);
            out.extend_from_slice(&octets(source));
            out.extend_from_slice(&octets(destination));
        }
    }
    out.extend_from_slice(&ends.source.port().to_be_bytes());
    out.extend_from_slice(&ends.destination.port().to_be_bytes());
}

/// What stands behind the prefix.
#[derive(Clone, Copy)]
enum Block {
    /// Nothing of it is looked at.
    Skipped(Origin),
    V4,
    V6,
    /// Two paths, which say nothing about a client.
    Unix,
}

impl Block {
    fn of(family: u8) -> Result<Self, ProxyHeaderError> {
        match family {
            UNSPEC => Ok(Self::Skipped(Origin::Unknown)),
            TCP4 => Ok(Self::V4),
            TCP6 => Ok(Self::V6),
            UNIX_STREAM => Ok(Self::Unix),
            0x12 | 0x22 | 0x32 => Err(ProxyHeaderError::Datagram),
            _ => Err(ProxyHeaderError::Family),
        }
    }

    fn address_len(self) -> usize {
        match self {
            Self::Skipped(_) => 0,
            Self::V4 => 12,
            Self::V6 => 36,
            Self::Unix => 216,
        }
    }

    fn read(self, prefix: &[u8], body: &[u8]) -> Result<Origin, ProxyHeaderError> {
        let (addresses, tlvs) = body
            .split_at_checked(self.address_len())
            .ok_or(ProxyHeaderError::TooShort)?;
        let origin = match self {
            Self::Skipped(origin) => return Ok(origin),
            Self::V4 => client::<4, Ipv4Addr>(addresses),
            Self::V6 => client::<16, Ipv6Addr>(addresses),
            Self::Unix => Some(Origin::Unknown),
        };
        check_tlvs(prefix, addresses, tlvs)?;
        origin.ok_or(ProxyHeaderError::TooShort)
    }
}

/// Two addresses of `N` bytes, two ports.
fn client<const N: usize, A: From<[u8; N]> + Into<IpAddr>>(addresses: &[u8]) -> Option<Origin> {
    let (source, rest) = addresses.split_first_chunk::<N>()?;
    let (destination, ports) = rest.split_first_chunk::<N>()?;
    let &[a, b, c, d] = ports else { return None };
    let end = |octets: &[u8; N], port: [u8; 2]| {
        SocketAddr::new(A::from(*octets).into(), u16::from_be_bytes(port))
    };
    let ends = ConnectionEnds::new(end(source, [a, b]), end(destination, [c, d]));
    Some(Origin::Client(ends))
}

/// Walks the TLVs (§2.2) and checks the checksum among them. The others are nothing to us: unknown ones are skipped.
fn check_tlvs(prefix: &[u8], addresses: &[u8], tlvs: &[u8]) -> Result<(), ProxyHeaderError> {
    let mut rest = tlvs;
    let mut checksum = None;
    while !rest.is_empty() {
        let &[kind, high, low, ref after @ ..] = rest else {
            return Err(ProxyHeaderError::Tlv);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, next) = after
            .split_at_checked(length)
            .ok_or(ProxyHeaderError::Tlv)?;
        if kind == CRC32C {
            let value: [u8; 4] = value.try_into().map_err(|_| ProxyHeaderError::Tlv)?;
            let before = tlvs
                .len()
                .saturating_sub(next.len().saturating_add(value.len()));
            if checksum.replace((value, before, next)).is_some() {
                return Err(ProxyHeaderError::Tlv);
            }
        }
        rest = next;
    }
    let Some((value, before, next)) = checksum else {
        return Ok(());
    };
    // §2.2.4: over the whole header, with the checksum itself as zeros.
    let found = Crc32c::new()
        .update(prefix)
        .update(addresses)
        .update(tlvs.get(..before).unwrap_or_default())
        .update(&[0; 4])
        .update(next)
        .finish();
    if found == u32::from_be_bytes(value) {
        Ok(())
    } else {
        Err(ProxyHeaderError::Checksum)
    }
}

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Everything before the addresses.
const PREFIX_LEN: usize = 16;

/// Version 2, and the command.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// Address family and transport.
const UNSPEC: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;

/// PP2_TYPE_CRC32C.
const CRC32C: u8 = 0x03;
