//! One route: what it asks of a request, and what a request lacks for it.

use std::fmt;

use balance_core::RouteId;

use crate::condition::{Got, NamedMatch, Unmet};
use crate::facts::Facts;
use crate::params::{cookie_value, query_value};
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
    /// All of them must hold. Of several field lines with the name one must have the value; their values are not joined.
    pub headers: Vec<NamedMatch>,
    /// All of them must hold. Of several parameters with the name the first counts; nothing is decoded.
    pub query: Vec<NamedMatch>,
    /// All of them must hold. Of several cookies with the name the first counts.
    pub cookies: Vec<NamedMatch>,
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
            query: Vec::new(),
            cookies: Vec::new(),
        }
    }
}

/// The first thing that a request lacks for a route, in the order host, path, method, headers, query, cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    Host,
    Path,
    Method,
    Header(Unmet),
    Query(Unmet),
    Cookie(Unmet),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Path => "path",
            Self::Method => "method",
            Self::Header(_) => "header",
            Self::Query(_) => "query",
            Self::Cookie(_) => "cookie",
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
    /// A regular expression that matches nothing that begins with `/`, nor `*`.
    #[error("no path matches `{0}`: a path begins with `/`, and all of it must match")]
    PathNeverMatches(String),
    #[error("`{0}` is not a method name")]
    MethodInvalid(String),
    #[error("`{0}` is not a field name in lower case")]
    HeaderNameInvalid(String),
    #[error(
        "`{0}` is not the name of a parameter: it is empty or has `&`, `=` or what no query contains"
    )]
    QueryNameInvalid(String),
    #[error("`{0}` is not a cookie name")]
    CookieNameInvalid(String),
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
            // `*` is the path of `OPTIONS *`.
            PathMatch::Regex(regex) if !regex.can_begin_with(b'/') && !regex.is_match(b"*") => {
                refuse(RouteErrorKind::PathNeverMatches(regex.pattern().to_owned()));
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
        for parameter in &spec.query {
            if !is_parameter_name(&parameter.name) {
                refuse(RouteErrorKind::QueryNameInvalid(parameter.name.clone()));
            }
        }
        for cookie in &spec.cookies {
            if !is_token(&cookie.name) {
                refuse(RouteErrorKind::CookieNameInvalid(cookie.name.clone()));
            }
        }
        Self { spec }
    }

    /// The whole question. The index answers most of its first two parts, see [`Route::unindexed_mismatch`]. `host` and
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
        self.mismatch_after_path(facts)
    }

    /// Whether [`Route::unindexed_mismatch`] can be anything.
    pub(crate) fn asks_more(&self) -> bool {
        let spec = &self.spec;
        matches!(spec.path, PathMatch::Regex(_))
            || !spec.methods.is_empty()
            || ![&spec.headers, &spec.query, &spec.cookies]
                .iter()
                .all(|conditions| conditions.is_empty())
    }

    /// What is left to ask once the index has found a route by the host and the text of its path, which for a regular
    /// expression is its prefix.
    pub(crate) fn unindexed_mismatch<F: Facts>(&self, path: &[u8], facts: &F) -> Option<Mismatch> {
        if let PathMatch::Regex(regex) = &self.spec.path
            && !regex.is_match_after_prefix(&path[regex.prefix().len()..])
        {
            return Some(Mismatch::Path);
        }
        self.mismatch_after_path(facts)
    }

    fn mismatch_after_path<F: Facts>(&self, facts: &F) -> Option<Mismatch> {
        let methods = &self.spec.methods;
        if !methods.is_empty() && !methods.iter().any(|name| name.as_bytes() == facts.method()) {
            return Some(Mismatch::Method);
        }
        let header = |header: &NamedMatch| {
            let values = facts.header_values(header.name.as_bytes());
            header.value.mismatch(values)
        };
        let parameter = |parameter: &NamedMatch| {
            let value = query_value(facts.query(), parameter.name.as_bytes());
            parameter.value.mismatch(value)
        };
        let cookie = |cookie: &NamedMatch| {
            let lines = facts.header_values(b"cookie");
            let value = cookie_value(lines, cookie.name.as_bytes());
            cookie.value.mismatch(value)
        };
        let spec = &self.spec;
        first_unmet(&spec.headers, header)
            .map(Mismatch::Header)
            .or_else(|| first_unmet(&spec.query, parameter).map(Mismatch::Query))
            .or_else(|| first_unmet(&spec.cookies, cookie).map(Mismatch::Cookie))
    }
}

fn first_unmet(
    conditions: &[NamedMatch],
    mismatch: impl Fn(&NamedMatch) -> Option<Got>,
) -> Option<Unmet> {
    let mut conditions = conditions.iter().enumerate();
    conditions.find_map(|(position, condition)| {
        let got = mismatch(condition)?;
        Some(Unmet { position, got })
    })
}

fn is_indexable_host(host: &str) -> bool {
    (1..=HOST_BYTES_MAX).contains(&host.len())
        && host.bytes().all(|byte| !byte.is_ascii_uppercase())
        && !host.starts_with('.')
}

/// What a query can contain (visible ASCII; the parser refuses the rest and `#`) and no separator.
fn is_parameter_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"&=#".contains(&byte))
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
