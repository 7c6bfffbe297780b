//! The URL of a measurement, taken apart.

use std::fmt;

/// `http://HOST[:PORT][/PATH][?QUERY]`, or the same with https.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// https.
    pub(crate) is_tls: bool,
    /// What the Host field says: the port only where it was written.
    pub(crate) authority: String,
    /// `host:port`, to be resolved.
    pub(crate) target: String,
    /// Path and query, as they are sent.
    pub(crate) path: String,
}

impl Url {
    /// Parses it for clap.
    ///
    /// # Errors
    /// What is wrong with it, and what would do.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (is_tls, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, _)) => return Err(format!("no scheme `{scheme}`: http or https")),
            None => return Err("a URL such as http://localhost:8080/".to_owned()),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err("no user in the URL: give --header 'Authorization: …'".to_owned());
        }
        // A fragment is the client's own (RFC 9110 §4.2.5).
        let path = path.split('#').next().unwrap_or_default();
        let path = match path.as_bytes().first() {
            Some(b'/') => path.to_owned(),
            _ => format!("/{path}"),
        };
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("spaces and non-ASCII characters must be written as %XX".to_owned());
        }
        let target = with_port(authority, if is_tls { "443" } else { "80" })?;
        Ok(Self {
            is_tls,
            authority: authority.to_owned(),
            target,
            path,
        })
    }

    /// Without the port, and without the brackets of an IPv6 address.
    pub(crate) fn host(&self) -> &str {
        let host = self.target.rsplit_once(':').map_or("", |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// `host:port`, with the scheme's port where none is written (RFC 9110 §4.2.1, §4.2.2).
fn with_port(authority: &str, default: &str) -> Result<String, String> {
    let (host, port) = match authority.rsplit_once(':') {
        // The colons within [::1] are not in front of a port.
        Some((_, behind)) if behind.ends_with(']') => (authority, default),
        Some((host, port)) => (host, port),
        None => (authority, default),
    };
    let is_host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').is_some_and(|ip| ip.contains(':')),
        None => {
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !host.is_empty() && host.bytes().all(is_allowed)
        }
    };
    if !is_host {
        return Err(format!("`{host}` is no host"));
    }
    match port.parse::<u16>() {
        Ok(number) if number > 0 => Ok(format!("{host}:{number}")),
        _ => Err(format!("`{port}` is no port")),
    }
}

#[cfg(test)]
mod tests {
    use super::Url;

    fn check(text: &str, target: &str, authority: &str, path: &str) {
        let expected = Url {
            is_tls: text.starts_with("https"),
            authority: authority.to_owned(),
            target: target.to_owned(),
            path: path.to_owned(),
        };
        assert_eq!(Url::parse(text), Ok(expected), "{text}");
    }

    #[test]
    fn host_port_and_path() {
        check("http://a", "a:80", "a", "/");
        check("HTTP://a:8080/x?y=1#z", "a:8080", "a:8080", "/x?y=1");
        check("http://a?q", "a:80", "a", "/?q");
        check("http://[::1]/", "[::1]:80", "[::1]", "/");
        check("https://a/", "a:443", "a", "/");
        check("https://a:8443/", "a:8443", "a:8443", "/");
        check("http://[::1]:81/", "[::1]:81", "[::1]:81", "/");
    }

    #[test]
    fn the_host_is_what_a_certificate_is_for() {
        for (text, host) in [
            ("https://a.example/x", "a.example"),
            ("https://a:8443/", "a"),
            ("https://[::1]:81/", "::1"),
        ] {
            assert_eq!(Url::parse(text).unwrap().host(), host);
        }
    }

    #[test]
    fn what_cannot_be_measured_is_refused_with_a_remedy() {
        for (text, part) in [
            ("localhost:8080", "http://localhost"),
            ("ftp://a/", "`ftp`"),
            ("http://", "no host"),
            ("http://a b/", "no host"),
            ("http://::1/", "no host"),
            ("http://a:0/", "no port"),
            ("http://a:x/", "no port"),
            ("http://u@a/", "Authorization"),
            ("http://a/ü", "%XX"),
        ] {
            let error = Url::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
