//! What is asked: a request in the words of a command line, the bytes it stands for, and the listener that it reaches.

use std::fmt::{self, Write};
use std::net::IpAddr;

use balance_core::ListenAddress;
use balance_proxy::explain::NotOneHead;
use balance_proxy::{ListenerRules, Mode};
use serde::{Deserialize, Serialize};

use crate::authority::without_port;

/// A question, as the admin API takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Absent: GET.
    pub method: Option<String>,
    /// `http://host:port/path?query`, `tcp://host:port`, or what stands in a request line. It is taken as it is: nothing
    /// is decoded, encoded or normalized. Absent: a session, which needs the name of a listener.
    pub url: Option<String>,
    /// Field lines without their line ends, in order.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Where it comes from. Absent: 127.0.0.1.
    pub from: Option<IpAddr>,
    /// The name of the listener. Absent: found by the URL.
    pub listener: Option<String>,
    /// The server that a TLS client names. Absent: the host of the URL, where TLS is ended.
    #[serde(default)]
    pub server_name: Option<String>,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    #[error("there is no listener `{name}`{listeners}")]
    ListenerUnknown { name: String, listeners: Choice },
    #[error("no listener {what}: name one with `--listener`{listeners}")]
    ListenerMissing { what: String, listeners: Choice },
    #[error("several listeners could be meant: name one with `--listener`{listeners}")]
    ListenerAmbiguous { listeners: Choice },
    #[error(
        "no listener speaks TLS: ask for http://, or name the listener behind whoever ends TLS with `--listener`{listeners}"
    )]
    TlsMissing { listeners: Choice },
    #[error("listener `{name}` takes HTTP requests: say which one, METHOD and URL")]
    RequestMissing { name: String },
    #[error("listener `{name}` takes TCP sessions, which have no method, URL path or headers")]
    RequestInTcpMode { name: String },
    #[error("listener `{name}` has no TLS: its clients name no server")]
    ServerNameWithoutTls { name: String },
    #[error("`{0}` is not a URL with a host")]
    UrlInvalid(String),
    #[error("{0}")]
    NotOneHead(#[from] NotOneHead),
    #[error("say what to explain: METHOD URL, tcp://HOST:PORT, or the name of a listener")]
    Empty,
    #[error("Balance is ending")]
    Ending,
}

/// The listeners that there are, a line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice(Vec<String>);

/// A question about a listener that takes such questions.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Request {
        /// The bytes of its head.
        head: Vec<u8>,
        /// As it is compared.
        server_name: Option<String>,
    },
    /// With the server's name as it is compared.
    Session(Option<String>),
}

/// A URL in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Url<'q> {
    scheme: Scheme,
    authority: &'q str,
    /// Empty where the URL ends with its authority.
    path_and_query: &'q str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
    Tcp,
}

impl Scheme {
    fn reaches(self, rules: &ListenerRules) -> bool {
        match self {
            Self::Http => rules.mode == Mode::Http && !is_secured(rules),
            Self::Https => rules.mode == Mode::Http && is_secured(rules),
            Self::Tcp => rules.mode == Mode::Tcp,
        }
    }

    /// RFC 9110 §4.2.1, §4.2.2.
    fn default_port(self) -> Option<u16> {
        match self {
            Self::Http => Some(80),
            Self::Https => Some(443),
            Self::Tcp => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
        }
    }
}

fn is_secured(rules: &ListenerRules) -> bool {
    rules.scheme == balance_proto::Scheme::Https
}

fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.parse::<IpAddr>().is_ok()
}

/// A server's name as handshakes have it.
fn compared(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase()
}

impl Question {
    /// The listener that is meant, as its position in `listeners`, and what it is asked.
    pub(super) fn resolve(
        &self,
        listeners: &[ListenerRules],
    ) -> Result<(usize, Asked), QuestionError> {
        let url = self.url.as_deref().map(Url::parse).transpose()?.flatten();
        let index = self.listener(url, listeners)?;
        let rules = &listeners[index];
        let name = || rules.name.clone();
        match rules.mode {
            Mode::Http if self.server_name.is_some() && !is_secured(rules) => {
                Err(QuestionError::ServerNameWithoutTls { name: name() })
            }
            Mode::Http => match &self.url {
                Some(text) if url.is_none_or(|url| url.scheme != Scheme::Tcp) => {
                    let method = self.method.as_deref().unwrap_or("GET");
                    let head = head(method, text, &self.headers, "HTTP/1.1")?;
                    // As clients do: they name the host of the URL, and no address (RFC 6066 §3).
                    let host = url.map(|url| without_port(url.authority));
                    let host = host.filter(|host| is_secured(rules) && !is_address(host));
                    let server_name = self.server_name.as_deref().or(host).map(compared);
                    Ok((index, Asked::Request { head, server_name }))
                }
                _ => Err(QuestionError::RequestMissing { name: name() }),
            },
            Mode::Tcp => {
                let has_path = match (url, &self.url) {
                    (Some(url), _) => !matches!(url.path_and_query, "" | "/"),
                    (None, text) => text.is_some(),
                };
                if has_path || self.method.is_some() || !self.headers.is_empty() {
                    return Err(QuestionError::RequestInTcpMode { name: name() });
                }
                let server_name = self.server_name.as_deref().map(compared);
                Ok((index, Asked::Session(server_name)))
            }
        }
    }

    /// By its name, else by what the URL says.
    fn listener(
        &self,
        url: Option<Url<'_>>,
        listeners: &[ListenerRules],
    ) -> Result<usize, QuestionError> {
        match (&self.listener, url.map(|url| url.scheme)) {
            (Some(name), _) => named(name, url.and_then(Url::port), listeners),
            (None, Some(Scheme::Https))
                if listeners.iter().all(|rules| !Scheme::Https.reaches(rules)) =>
            {
                Err(QuestionError::TlsMissing {
                    listeners: Choice::of(listeners),
                })
            }
            (None, Some(_)) => reached(url, listeners),
            (None, None) if self.url.is_some() => reached(None, listeners),
            (None, None) => Err(QuestionError::Empty),
        }
    }
}

impl<'q> Url<'q> {
    /// `None` for what is no URL: a path, `*`, or anything else for the parser to judge.
    fn parse(text: &'q str) -> Result<Option<Self>, QuestionError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(None);
        };
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "tcp" => Scheme::Tcp,
            _ => return Ok(None),
        };
        // RFC 3986 §3.5: the fragment is for the client.
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path_and_query) = rest.split_at(end);
        if authority.is_empty() {
            return Err(QuestionError::UrlInvalid(text.to_owned()));
        }
        Ok(Some(Self {
            scheme,
            authority,
            path_and_query,
        }))
    }

    fn port(self) -> Option<u16> {
        let (_, port) = self.authority.rsplit_once(':')?;
        port.parse().ok()
    }

    fn ip(self) -> Option<IpAddr> {
        without_port(self.authority)
            .trim_matches(['[', ']'])
            .parse()
            .ok()
    }
}

impl Choice {
    fn of(listeners: &[ListenerRules]) -> Self {
        let width = listeners.iter().map(|one| one.name.len()).max();
        let width = width.unwrap_or_default();
        let show = |one: &ListenerRules| {
            let mode = one.mode.name();
            format!("{:width$}  {mode:4}  {}", one.name, one.key.address)
        };
        Self(listeners.iter().map(show).collect())
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// A request as curl would send it: Host from the URL unless a field says otherwise, then the fields. Nothing is checked
/// or mended: that is the parser's business. `hostless`: the version of a request that names no host.
///
/// # Errors
/// The URL has no host.
pub(crate) fn head(
    method: &str,
    text: &str,
    headers: &[String],
    hostless: &str,
) -> Result<Vec<u8>, QuestionError> {
    let url = Url::parse(text)?;
    let target = match url {
        None => text,
        Some(url) if url.path_and_query.is_empty() => "/",
        Some(url) => url.path_and_query,
    };
    let slash = if target.starts_with('?') { "/" } else { "" };
    let names_host = headers.iter().any(|line| {
        line.split_once(':')
            .is_some_and(|(name, _)| name.eq_ignore_ascii_case("host"))
    });
    let version = if url.is_some() || names_host {
        "HTTP/1.1"
    } else {
        hostless
    };
    let mut head = format!("{method} {slash}{target} {version}\r\n");
    if let Some(url) = url.filter(|_| !names_host) {
        let _ = write!(head, "Host: {}\r\n", url.authority);
    }
    for line in headers {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    Ok(head.into_bytes())
}

/// A listener may have several addresses: the one with this port, if it has one.
fn named(
    name: &str,
    port: Option<u16>,
    listeners: &[ListenerRules],
) -> Result<usize, QuestionError> {
    let named = positions(listeners, |rules| rules.name == name);
    let is_there = |index: &&usize| port.is_some() && listeners[**index].key.address.port() == port;
    let found = named.iter().find(is_there).or(named.first());
    found
        .copied()
        .ok_or_else(|| QuestionError::ListenerUnknown {
            name: name.to_owned(),
            listeners: Choice::of(listeners),
        })
}

/// The listener at the port of the URL. A URL without a port reaches the only one that speaks its scheme, too.
fn reached(url: Option<Url<'_>>, listeners: &[ListenerRules]) -> Result<usize, QuestionError> {
    let speaking = positions(listeners, |rules| match url {
        Some(url) => url.scheme.reaches(rules),
        None => rules.mode == Mode::Http,
    });
    let written = url.and_then(Url::port);
    let scheme = url.map_or(Scheme::Http, |url| url.scheme);
    let port = written.or(scheme.default_port());
    let mut found = speaking.clone();
    found.retain(|index| listeners[*index].key.address.port() == port);
    if let Some(ip) = url.and_then(Url::ip)
        && found.len() > 1
    {
        let is_at =
            |address: &ListenAddress| matches!(address, ListenAddress::Ip(at) if at.ip() == ip);
        found.retain(|index| is_at(&listeners[*index].key.address));
    }
    if found.is_empty() && written.is_none() {
        found = speaking;
    }
    let is_one = |found: &[usize]| {
        found
            .windows(2)
            .all(|two| listeners[two[0]].name == listeners[two[1]].name)
    };
    match found.first() {
        Some(first) if is_one(&found) => Ok(*first),
        Some(_) => Err(QuestionError::ListenerAmbiguous {
            listeners: Choice::of(listeners),
        }),
        None => Err(QuestionError::ListenerMissing {
            what: match written {
                Some(port) => format!("at port {port} speaks {}", scheme.name()),
                None => format!("speaks {}", scheme.name()),
            },
            listeners: Choice::of(listeners),
        }),
    }
}

fn positions(listeners: &[ListenerRules], keep: impl Fn(&ListenerRules) -> bool) -> Vec<usize> {
    (0..listeners.len())
        .filter(|index| keep(&listeners[*index]))
        .collect()
}
