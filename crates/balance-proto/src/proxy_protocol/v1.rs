//! Version 1 (§2.1): `PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n`.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::{ConnectionEnds, Origin, Progress, ProxyHeaderError, of_one_family};

pub(super) fn parse(input: &[u8]) -> Result<Progress, ProxyHeaderError> {
    let known = input.len().min(NAME.len());
    if input.get(..known) != NAME.get(..known) {
        return Err(ProxyHeaderError::Absent);
    }
    let window = input.get(..LINE_BYTES_MAX).unwrap_or(input);
    let Some(end) = window.iter().position(|byte| !is_text(*byte)) else {
        return if window.len() < LINE_BYTES_MAX {
            Ok(Progress::Partial)
        } else {
            Err(ProxyHeaderError::TooLong)
        };
    };
    let (line, rest) = window.split_at(end);
    match rest {
        [b'\r', b'\n', ..] => Ok(Progress::Complete {
            origin: origin(line).ok_or(ProxyHeaderError::Line)?,
            consumed: end.saturating_add(2),
        }),
        [b'\r'] if window.len() < LINE_BYTES_MAX => Ok(Progress::Partial),
        [b'\r'] => Err(ProxyHeaderError::TooLong),
        _ => Err(ProxyHeaderError::Line),
    }
}

pub(super) fn encode(ends: Option<&ConnectionEnds>, out: &mut Vec<u8>) {
    let Some(ends) = ends else {
        out.extend_from_slice(b"PROXY UNKNOWN\r\n");
        return;
    };
    let (source, destination) = of_one_family(ends);
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (ends.source.port(), ends.destination.port());
    // Writing to a vector does not fail.
    let _ = write!(out, "PROXY {family} {source} {destination} {from} {to}\r\n");
}

/// What a line without its end says.
fn origin(line: &[u8]) -> Option<Origin> {
    let line = str::from_utf8(line).ok()?;
    let words = line.strip_prefix("PROXY ")?;
    // "The receiver must ignore anything presented before the CRLF": what stands behind it means nothing.
    if words == "UNKNOWN" || words.starts_with("UNKNOWN ") {
        return Some(Origin::Unknown);
    }
    let mut words = words.split(' ');
    let is_v4 = match words.next()? {
        "TCP4" => true,
        "TCP6" => false,
        _ => return None,
    };
    let mut address = || -> Option<IpAddr> {
        let address = IpAddr::from_str(words.next()?).ok()?;
        (address.is_ipv4() == is_v4).then_some(address)
    };
    let (source, destination) = (address()?, address()?);
    let (from, to) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then(|| {
        let source = SocketAddr::new(source, from);
        Origin::Client(ConnectionEnds::new(
            source,
            SocketAddr::new(destination, to),
        ))
    })
}

/// "Heading zeroes are not permitted"; Rust would also take a sign.
fn port(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit());
    let has_zeros = word.len() > 1 && word.starts_with('0');
    (is_plain && !has_zeros).then(|| word.parse().ok())?
}

/// Beyond the specification, which lets anything stand behind `UNKNOWN`.
fn is_text(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_graphic()
}

/// What tells it from version 2 and from everything else.
const NAME: &[u8] = b"PROXY ";
/// §2.1: the longest line with its CRLF.
const LINE_BYTES_MAX: usize = 107;
