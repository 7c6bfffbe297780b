//! Host and authority: one strict grammar (robustness SM-20) and what is read from it.
//!
//! Stricter than RFC 3986 §3.2: no userinfo, no sub-delims, no percent-encoding, no empty host or
//! port. A backend that reads more into an authority than we do could be sent to another tenant.

use crate::grammar::is_label_byte;
use std::net::Ipv6Addr;

/// A checked `host[:port]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    bytes: &'a [u8],
    host: &'a [u8],
}

/// Why bytes are not an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an authority is a host name or address with an optional port, nothing else")]
pub struct AuthorityError;

impl<'a> Authority<'a> {
    /// Checks `host`, `host:port`, `[v6]` or `[v6]:port`.
    ///
    /// # Errors
    /// Anything else: empty host, userinfo, path, list, empty labels, port 0 or above 65535.
    pub fn new(bytes: &'a [u8]) -> Result<Self, AuthorityError> {
        // A name ends before the first byte that cannot be in one; then only a port may follow.
        let (host, port) = match bytes {
            [b'[', ..] => split_port(bytes).ok_or(AuthorityError)?,
            _ => match bytes.split_at(reg_name_len(bytes).ok_or(AuthorityError)?) {
                (host, []) => (host, None),
                (host, [b':', port @ ..]) => (host, Some(port)),
                _ => return Err(AuthorityError),
            },
        };
        let host_fits = match host {
            [b'[', inner @ .., b']'] => is_ipv6(inner),
            _ => !host.is_empty() && host.len() <= HOST_BYTES_MAX,
        };
        if host_fits && port.is_none_or(is_port) {
            Ok(Self {
                bytes,
                host: without_trailing_dot(host),
            })
        } else {
            Err(AuthorityError)
        }
    }

    /// The bytes, as they were given.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// What [`host_of`] finds, known from checking.
    pub const fn host(self) -> &'a [u8] {
        self.host
    }
}

/// The host of a checked authority, without the port and without a trailing dot. The case is as
/// received: compare with `eq_ignore_ascii_case`.
pub fn host_of(authority: &[u8]) -> &[u8] {
    let host = match split_port(authority) {
        Some((host, _)) => host,
        None => authority,
    };
    without_trailing_dot(host)
}

/// The port of a checked authority, where it names one.
pub fn port_of(authority: &[u8]) -> Option<u16> {
    let (_, port) = split_port(authority)?;
    std::str::from_utf8(port?).ok()?.parse().ok()
}

/// Splits at the colon after the host. `None` when brackets do not match.
fn split_port(authority: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let host_end = match authority {
        [b'[', ..] => authority
            .iter()
            .position(|byte| *byte == b']')?
            .checked_add(1)?,
        _ => authority
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or(authority.len()),
    };
    match authority.split_at_checked(host_end)? {
        (host, []) => Some((host, None)),
        (host, [b':', port @ ..]) => Some((host, Some(port))),
        _ => None,
    }
}

fn without_trailing_dot(host: &[u8]) -> &[u8] {
    host.strip_suffix(b".").unwrap_or(host)
}

/// How many bytes of a host name `bytes` begins with. `None` when one of its labels is empty (`a..b`,
/// `.a`), which is no name; one trailing dot is the root.
fn reg_name_len(bytes: &[u8]) -> Option<usize> {
    let mut end = 0_usize;
    loop {
        let rest = bytes.get(end..)?;
        let label_len = rest.iter().position(|byte| !is_label_byte(*byte));
        let label_len = label_len.unwrap_or(rest.len());
        end = end.saturating_add(label_len);
        match (bytes.get(end), label_len) {
            (Some(b'.'), 0) => return None,
            (Some(b'.'), _) => end = end.saturating_add(1),
            _ => return Some(end),
        }
    }
}

fn is_ipv6(inner: &[u8]) -> bool {
    // No zone identifier: it means something only on the host that wrote it (RFC 6874 §1).
    std::str::from_utf8(inner).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

fn is_port(port: &[u8]) -> bool {
    if port.is_empty() || port.len() > 5 || !port.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let number = port.iter().fold(0_u32, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u32::from(digit.wrapping_sub(b'0')))
    });
    (1..=65_535).contains(&number)
}

/// The longest name in the DNS, with a trailing dot (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 254;

#[cfg(test)]
mod tests {
    use super::{Authority, host_of, port_of};

    #[test]
    fn accepts_hosts_and_ports_only() {
        for good in [
            "a",
            "example.com",
            "example.com.",
            "a:80",
            "1.2.3.4:8080",
            "[::1]",
            "[2001:db8::1]:443",
            "my_host",
            "A-b.C:65535",
        ] {
            assert!(Authority::new(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            "",
            ":80",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a:8a",
            "a:80:80",
            "a,b",
            "a b",
            "u@a",
            "a/b",
            "a?b",
            "a#b",
            "[::1",
            "[::1]x",
            "[zz]",
            "[]",
            "[fe80::1%25eth0]",
            "::1",
            "a..b",
            ".a",
            ".",
            "a%2eb",
            "a\\b",
            "ä",
            "a:000080",
            "a\t",
        ] {
            assert!(Authority::new(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Authority::new(&[b'a'; 255]).is_err());
    }

    #[test]
    fn hosts_lose_port_and_trailing_dot() {
        for authority in ["a", "a.", "Example.com.:8080", "[::1]:80", "[::1]", "a.b:1"] {
            let checked = Authority::new(authority.as_bytes()).unwrap();
            assert_eq!(checked.host(), host_of(authority.as_bytes()));
        }
        assert_eq!(host_of(b"Example.com.:8080"), b"Example.com");
        assert_eq!(host_of(b"a"), b"a");
        assert_eq!(host_of(b"[::1]:80"), b"[::1]");
        assert_eq!(port_of(b"[::1]:80"), Some(80));
        assert_eq!(port_of(b"a"), None);
    }
}
