//! One route: what it asks of a request, and what a request lacks for it.

use std::fmt;

use balance_core::RouteId;

use crate::facts::Facts;
use crate::pattern::{HOST_BYTES_MAX, HostPattern, PathMatch};

/// A route as control describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    pub id: RouteId,
    /// Higher is asked first.
    pub priority: i64,
    /// One of them must match; none means any host.
    pub hosts: Vec<HostPattern>,
    pub path: PathMatch,
    /// One of them must be the method, in this case; none means any.
    pub methods: Vec<String>,
    /// All of them must match.
    pub headers: Vec<HeaderMatch>,
}

impl RouteSpec {
    /// The route that takes everything, to be narrowed.
    pub fn any(id: RouteId) -> Self {
        Self {
            id,
            priority: 0,
            hosts: Vec::new(),
            path: PathMatch::Any,
            methods: Vec::new(),
            headers: Vec::new(),
        }
    }
}

/// One field line of this name must have exactly this value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// In lower case.
    pub name: String,
    pub value: String,
}

/// The first thing that a request lacks for a route, in the order host, path, method, headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    Host,
    Path,
    Method,
    /// The position in [`RouteSpec::headers`].
    Header(usize),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Path => "path",
            Self::Method => "method",
            Self::Header(_) => "header",
        })
    }
}

/// A route that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct RouteError {
    pub route: RouteId,
    pub kind: RouteErrorKind,
}

/// What is wrong with a route, in words for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteErrorKind {
    #[error("`{0}` is not a host in lower case of at most 253 characters")]
    HostInvalid(String),
    #[error("a path begins with `/`, `{0}` does not")]
    PathInvalid(String),
    #[error("`{0}` is not a method name")]
    MethodInvalid(String),
    #[error("`{0}` is not a field name in lower case")]
    HeaderNameInvalid(String),
    #[error("the listener names this route, but it does not exist")]
    Unknown,
    #[error("the listener names this route twice")]
    ListedTwice,
}

/// A route in its table.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) spec: RouteSpec,
}

impl Route {
    /// Checks what the index relies on.
    pub(crate) fn compile(spec: RouteSpec, errors: &mut Vec<RouteError>) -> Self {
        let mut refuse = |kind| {
            errors.push(RouteError {
                route: spec.id,
                kind,
            });
        };
        for host in &spec.hosts {
            if let HostPattern::Exact(text) | HostPattern::Suffix(text) = host
                && !is_indexable_host(text)
            {
                refuse(RouteErrorKind::HostInvalid(text.clone()));
            }
        }
        match &spec.path {
            PathMatch::BytePrefix(path)
            | PathMatch::SegmentPrefix(path)
            | PathMatch::Exact(path)
                if !path.starts_with('/') =>
            {
                refuse(RouteErrorKind::PathInvalid(path.clone()));
            }
            _ => {}
        }
        for method in &spec.methods {
            if !is_token(method) {
                refuse(RouteErrorKind::MethodInvalid(method.clone()));
            }
        }
        for header in &spec.headers {
            let has_upper = header.name.bytes().any(|byte| byte.is_ascii_uppercase());
            if has_upper || !is_token(&header.name) {
                refuse(RouteErrorKind::HeaderNameInvalid(header.name.clone()));
            }
        }
        Self { spec }
    }

    /// The whole question. The index answers its first two parts by itself, see [`Route::rest_mismatch`]. `host` and
    /// `path` are those of `facts`: they may have to be searched for, so who asks several routes does it once.
    pub(crate) fn mismatch<F: Facts>(
        &self,
        host: &[u8],
        path: &[u8],
        facts: &F,
    ) -> Option<Mismatch> {
        let hosts = &self.spec.hosts;
        if !hosts.is_empty() && !hosts.iter().any(|pattern| pattern.is_match(host)) {
            return Some(Mismatch::Host);
        }
        if !self.spec.path.is_match(path) {
            return Some(Mismatch::Path);
        }
        self.rest_mismatch(facts)
    }

    /// What is left to ask once host and path are known to match.
    pub(crate) fn rest_mismatch<F: Facts>(&self, facts: &F) -> Option<Mismatch> {
        let methods = &self.spec.methods;
        if !methods.is_empty() && !methods.iter().any(|name| name.as_bytes() == facts.method()) {
            return Some(Mismatch::Method);
        }
        let lacks = |header: &HeaderMatch| {
            !facts
                .header_values(header.name.as_bytes())
                .any(|value| value == header.value.as_bytes())
        };
        self.spec
            .headers
            .iter()
            .position(lacks)
            .map(Mismatch::Header)
    }
}

fn is_indexable_host(host: &str) -> bool {
    (1..=HOST_BYTES_MAX).contains(&host.len())
        && host.bytes().all(|byte| !byte.is_ascii_uppercase())
        && !host.starts_with('.')
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
