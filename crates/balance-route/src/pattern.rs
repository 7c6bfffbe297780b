//! Patterns for hosts and paths: what they accept, one comparison each.

use std::fmt;

use crate::regex::Regex;

/// Why a text is no host pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    #[error("the host is empty: write `*` for any host")]
    Empty,
    #[error("`{0}`: `*` may only stand alone or as the first label, as in `*.example.com`")]
    WildcardMisplaced(String),
    #[error("`{0}`: a route matches the host without its port; remove `:{1}`")]
    PortPresent(String, String),
    #[error("`{0}` is not a host name or IP address")]
    Invalid(String),
    #[error("`{0}` is longer than the 253 characters that a host name may have")]
    TooLong(String),
}

/// Which hosts a route takes. All comparisons ignore case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `*`: any host, and requests without one.
    Any,
    /// This host only.
    Exact(String),
    /// Every host below this one, at any depth, but not the host itself: `*.example.com` is `example.com` here.
    Suffix(String),
}

impl HostPattern {
    /// Parses `example.com`, `*.example.com`, `*`, `192.0.2.1`, `[2001:db8::1]`. A trailing dot is dropped, the rest is
    /// turned to lower case.
    ///
    /// # Errors
    /// What is wrong with it, in words for the user.
    pub fn parse(text: &str) -> Result<Self, HostPatternError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let (suffix, pattern): (&str, fn(String) -> Self) = match host.strip_prefix("*.") {
            Some(suffix) => (suffix, Self::Suffix),
            None => (&host, Self::Exact),
        };
        check_host(suffix, text)?;
        if suffix.len() < host.len() && suffix.starts_with('[') {
            return Err(HostPatternError::Invalid(text.to_owned())); // nothing is below an address
        }
        Ok(pattern(suffix.to_owned()))
    }

    /// Whether it takes this host, as [`Facts::host`](crate::Facts::host) describes it.
    pub fn is_match(&self, host: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => is_same_host(host, exact.as_bytes()),
            Self::Suffix(suffix) => host
                .len()
                .checked_sub(suffix.len())
                .and_then(|at| host.split_at_checked(at))
                .is_some_and(|(labels, end)| {
                    // At least one octet before the dot: `.example.com` is not below `example.com`.
                    labels.len() > 1
                        && labels.ends_with(b".")
                        && is_same_host(end, suffix.as_bytes())
                }),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(host) => f.write_str(host),
            Self::Suffix(host) => write!(f, "*.{host}"),
        }
    }
}

/// Which paths a route takes. Octet for octet: no decoding, no case folding; normalising would make us disagree with
/// the backend about what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathMatch {
    Any,
    /// Every path that begins with these octets: `/v1` takes `/v10`.
    BytePrefix(String),
    /// Every path that begins with these segments: `/v1` takes `/v1` and `/v1/x`, not `/v10`. A trailing slash in the
    /// pattern makes no difference (as in the Kubernetes Gateway API): `/v1/` takes `/v1` too.
    SegmentPrefix(String),
    /// This path only.
    Exact(String),
    /// Every path that matches as a whole: the same octets that are forwarded.
    Regex(Regex),
}

impl PathMatch {
    /// Whether it takes this path, as [`Facts::path`](crate::Facts::path) describes it.
    pub fn is_match(&self, path: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::BytePrefix(prefix) => path.starts_with(prefix.as_bytes()),
            Self::SegmentPrefix(prefix) => {
                let segments = without_trailing_slash(prefix).as_bytes();
                path.starts_with(segments) && is_segment_end(path, segments.len())
            }
            Self::Exact(exact) => path == exact.as_bytes(),
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any path"),
            Self::BytePrefix(prefix) => write!(f, "{prefix}* (octets)"),
            Self::SegmentPrefix(prefix) => write!(f, "{prefix}* (segments)"),
            Self::Exact(path) => f.write_str(path),
            Self::Regex(regex) => write!(f, "{regex} (regular expression)"),
        }
    }
}

/// Whether `path` ends, or a segment of it does, at `at`.
pub(crate) fn is_segment_end(path: &[u8], at: usize) -> bool {
    path.get(at).is_none_or(|byte| *byte == b'/')
}

/// Nearly all clients write hosts in lower case, and comparing octets is much cheaper than folding them.
fn is_same_host(host: &[u8], lower: &[u8]) -> bool {
    host.len() == lower.len() && (host == lower || host.eq_ignore_ascii_case(lower))
}

pub(crate) fn without_trailing_slash(prefix: &str) -> &str {
    prefix.strip_suffix('/').unwrap_or(prefix)
}

fn check_host(host: &str, text: &str) -> Result<(), HostPatternError> {
    if host.is_empty() {
        return Err(HostPatternError::Empty);
    }
    if host.contains('*') {
        return Err(HostPatternError::WildcardMisplaced(text.to_owned()));
    }
    if host.len() > HOST_BYTES_MAX {
        return Err(HostPatternError::TooLong(text.to_owned()));
    }
    if let Some(inner) = host.strip_prefix('[') {
        return match inner.split_once(']') {
            Some((ip, "")) if ip.parse::<std::net::Ipv6Addr>().is_ok() => Ok(()),
            Some((_, rest)) if rest.starts_with(':') => Err(port_present(text, rest)),
            _ => Err(HostPatternError::Invalid(text.to_owned())),
        };
    }
    if let Some((_, port)) = host.split_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(port_present(text, port));
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if host.split('.').all(is_label) {
        Ok(())
    } else {
        Err(HostPatternError::Invalid(text.to_owned()))
    }
}

fn port_present(text: &str, port: &str) -> HostPatternError {
    let port = port.trim_start_matches(':').to_owned();
    HostPatternError::PortPresent(text.to_owned(), port)
}

/// RFC 1035 §2.3.4: 255 octets on the wire, which are 253 as text.
pub(crate) const HOST_BYTES_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::{HostPattern, PathMatch};

    fn check_host(pattern: &str, takes: &[&str], leaves: &[&str]) {
        let pattern = HostPattern::parse(pattern).unwrap();
        for host in takes {
            assert!(pattern.is_match(host.as_bytes()), "{pattern} {host}");
        }
        for host in leaves {
            assert!(!pattern.is_match(host.as_bytes()), "{pattern} {host}");
        }
    }

    #[test]
    fn hosts() {
        check_host("*", &["", "a", "a.b"], &[]);
        check_host(
            "A.example.COM.",
            &["a.example.com", "A.EXAMPLE.com"],
            &["b.a.example.com", ""],
        );
        check_host(
            "*.example.com",
            &["a.example.com", "a.b.Example.com"],
            &[
                "example.com",
                ".example.com",
                "aexample.com",
                "a.example.org",
                "",
            ],
        );
        check_host("[2001:DB8::1]", &["[2001:db8::1]"], &["2001:db8::1"]);
    }

    fn check_host_error(text: &str, expected: &str) {
        let error = HostPattern::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }

    #[test]
    fn host_errors_say_what_to_do() {
        check_host_error("", "is empty");
        check_host_error("*.", "stand alone");
        check_host_error("*.*.com", "stand alone");
        check_host_error("a.*.com", "stand alone");
        check_host_error("*a.com", "stand alone");
        check_host_error("a.com:80", "remove `:80`");
        check_host_error("[::1]:80", "remove `:80`");
        check_host_error("[::g]", "not a host");
        check_host_error("*.[::1]", "not a host");
        check_host_error("a..b", "not a host");
        check_host_error("a b", "not a host");
        check_host_error("https://a", "not a host");
        check_host_error(&"a".repeat(254), "longer");
    }

    fn check_path(pattern: &PathMatch, takes: &[&str], leaves: &[&str]) {
        for path in takes {
            assert!(pattern.is_match(path.as_bytes()), "{pattern} {path}");
        }
        for path in leaves {
            assert!(!pattern.is_match(path.as_bytes()), "{pattern} {path}");
        }
    }

    #[test]
    fn paths() {
        let text = str::to_owned;
        check_path(&PathMatch::Any, &["/", "*", "/x"], &[]);
        check_path(
            &PathMatch::BytePrefix(text("/v1")),
            &["/v1", "/v1/x", "/v10"],
            &["/v", "/V1"],
        );
        check_path(
            &PathMatch::BytePrefix(text("/v1/")),
            &["/v1/", "/v1/x"],
            &["/v1"],
        );
        for pattern in ["/v1", "/v1/"] {
            check_path(
                &PathMatch::SegmentPrefix(text(pattern)),
                &["/v1", "/v1/", "/v1/x"],
                &["/v10", "/v", "/v1%2fx"],
            );
        }
        check_path(&PathMatch::SegmentPrefix(text("/")), &["/", "/x"], &["*"]);
        check_path(&PathMatch::Exact(text("/v1")), &["/v1"], &["/v1/", "/v"]);
    }
}
