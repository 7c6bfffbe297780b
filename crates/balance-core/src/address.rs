//! Addresses as a configuration writes them, before anything is resolved.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Why an address cannot be used. The loader adds the place and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("the address is empty")]
    Empty,
    #[error("the port is missing: write host:port")]
    PortMissing,
    #[error("`{0}` is not a port: a number from 1 to 65535")]
    PortInvalid(String),
    #[error("`{0}` is not a host name or IP address")]
    HostInvalid(String),
    #[error("an IPv6 address with a port needs brackets: [{0}]:port")]
    BracketsMissing(String),
    #[error("the path of a unix socket is empty")]
    PathEmpty,
}

/// Where a listener accepts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// `":8080"`: one dual-stack wildcard socket (0.0.0.0 where IPv6 is off).
    Wildcard {
        port: u16,
    },
    Ip(SocketAddr),
    /// `unix:/run/x.sock`.
    Unix(String),
}

/// Where a backend is. A name is resolved by control, again and again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BackendAddress {
    Ip(SocketAddr),
    Name {
        host: String,
        port: u16,
    },
    /// `unix:/run/x.sock`.
    Unix(String),
}

impl ListenAddress {
    /// Parses `":8080"`, `"127.0.0.1:80"`, `"[::1]:80"`, `"localhost:80"`, `"*:80"`, `"unix:/path"`.
    /// Port 0 is allowed and means any free port.
    ///
    /// # Errors
    /// What is wrong with it, in words for the user. A host name other than `localhost` is refused:
    /// which of its addresses would be meant?
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(AddressError::PathEmpty)
            } else {
                Ok(Self::Unix(path.to_owned()))
            };
        }
        let (host, port) = split_host_port(text, 0)?;
        match host {
            "" | "*" => Ok(Self::Wildcard { port }),
            "localhost" => Ok(Self::Ip(SocketAddr::new(
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                port,
            ))),
            _ => match parse_ip(host) {
                Some(ip) => Ok(Self::Ip(SocketAddr::new(ip, port))),
                None => Err(AddressError::HostInvalid(host.to_owned())),
            },
        }
    }

    /// The port, where there is one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Wildcard { port } => Some(*port),
            Self::Ip(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }
}

impl BackendAddress {
    /// The port, where it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Ip(address) => Some(address.port()),
            Self::Name { port, .. } => Some(*port),
            Self::Unix(_) => None,
        }
    }

    /// Parses `"127.0.0.1:9001"`, `"[::1]:9001"`, `"name.example:9001"`, `"unix:/path"`.
    ///
    /// # Errors
    /// What is wrong with it, in words for the user.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(AddressError::PathEmpty)
            } else {
                Ok(Self::Unix(path.to_owned()))
            };
        }
        let (host, port) = split_host_port(text, 1)?;
        if let Some(ip) = parse_ip(host) {
            return Ok(Self::Ip(SocketAddr::new(ip, port)));
        }
        if is_host_name(host) {
            Ok(Self::Name {
                host: host.to_ascii_lowercase(),
                port,
            })
        } else {
            Err(AddressError::HostInvalid(host.to_owned()))
        }
    }

    /// What a request to this backend carries as its authority when the client named none
    /// (HTTP/1.0 without Host).
    pub fn authority(&self) -> String {
        match self {
            Self::Ip(address) => address.to_string(),
            Self::Name { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wildcard { port } => write!(f, ":{port}"),
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

impl fmt::Display for BackendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

fn split_host_port(text: &str, port_min: u16) -> Result<(&str, u16), AddressError> {
    if text.is_empty() {
        return Err(AddressError::Empty);
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(AddressError::BracketsMissing(text.to_owned()));
    }
    let (host, port) = text.rsplit_once(':').ok_or(AddressError::PortMissing)?;
    if port.is_empty() {
        return Err(AddressError::PortMissing);
    }
    let invalid = || AddressError::PortInvalid(port.to_owned());
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid());
    }
    let number: u16 = port.parse().map_err(|_| invalid())?;
    if number < port_min {
        return Err(invalid());
    }
    Ok((host, number))
}

fn parse_ip(host: &str) -> Option<IpAddr> {
    if let Some(inner) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    host.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

/// Letters, digits, `-`, `_` and dots: what resolvers and container networks really use.
fn is_host_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    // A name of digits and dots only is a mistyped IPv4 address, not a name.
    let numeric = name
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    (1..=253).contains(&name.len()) && !numeric && name.split('.').all(label_fits)
}

#[cfg(test)]
mod tests {
    use super::{BackendAddress, ListenAddress};

    fn check_backend(text: &str, expected: &str) {
        let seen = match BackendAddress::parse(text) {
            Ok(address) => format!("ok {address}"),
            Err(error) => format!("error {error}"),
        };
        assert!(seen.starts_with(expected), "{text}: {seen}");
    }

    #[test]
    fn backend_addresses() {
        check_backend("127.0.0.1:9001", "ok 127.0.0.1:9001");
        check_backend("[::1]:9001", "ok [::1]:9001");
        check_backend("Api-1.internal:80", "ok api-1.internal:80");
        check_backend("unix:/run/a.sock", "ok unix:/run/a.sock");
        check_backend("::1", "error an IPv6 address");
        check_backend("a", "error the port is missing");
        check_backend("a:", "error the port is missing");
        check_backend("a:0", "error `0` is not a port");
        check_backend("a:65536", "error `65536` is not a port");
        check_backend("a:+1", "error `+1` is not a port");
        check_backend("300.1.1.1:80", "error `300.1.1.1` is not a host");
        check_backend("a b:80", "error `a b` is not a host");
        check_backend(":80", "error `` is not a host");
        check_backend("", "error the address is empty");
    }

    #[test]
    fn listen_addresses() {
        assert_eq!(
            ListenAddress::parse(":0"),
            Ok(ListenAddress::Wildcard { port: 0 })
        );
        assert_eq!(
            ListenAddress::parse("*:80"),
            Ok(ListenAddress::Wildcard { port: 80 })
        );
        assert!(ListenAddress::parse("localhost:80").is_ok());
        assert!(ListenAddress::parse("example.com:80").is_err());
    }
}
