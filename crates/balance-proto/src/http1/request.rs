//! A request head: found, checked against every rule of robustness §1, and kept until its exchange
//! has ended.
//!
//! ```text
//!   input ──skip one empty line──▶ scan ──not ordinary──▶ httparse ──error──▶ explain ──▶ RequestError
//!                                   │                       │ └ partial ──▶ within limits? ──▶ Partial
//!                                   ▼ complete              ▼ complete
//!            fields → HeadLines + HeadFacts ──▶ target, Host, framing, Expect ──▶ Complete
//! ```

use super::facts::{Expect, HeadFacts, Upgrade};
use super::lines::{HeadLines, HeaderSlots, Span};
use super::request_error::{RequestError, explain};
use super::scan::{self, RequestLine};
use super::{HeadSettings, Progress, version_of};
use crate::authority::Authority;
use crate::field::FieldClass;
use crate::framing::{self, BodyLength};
use crate::head::{Field, HeadView, RequestView, Scheme, Version};
use crate::path;
use balance_core::Method;
use std::mem::MaybeUninit;

/// The head of one request.
///
/// It owns its bytes, and its memory serves the next request: parsing does not allocate once it has
/// grown. Field lines are kept in the form `Name: value`, with other white space removed.
#[derive(Clone, Debug)]
pub struct RequestHead {
    lines: HeadLines,
    method: Span,
    method_kind: Method,
    version: Version,
    scheme: Scheme,
    authority: Authorship,
    /// Of the authority; found while it was checked, as the length of the path.
    host: Span,
    path_and_query: Span,
    path_len: usize,
    body: BodyLength,
    is_keep_alive: bool,
    expects_continue: bool,
    upgrade: Option<usize>,
}

/// Where the authority comes from.
#[derive(Clone, Copy, Debug, Default)]
enum Authorship {
    /// HTTP/1.0 without Host.
    #[default]
    Nowhere,
    /// The value of the Host field at this index.
    Host(usize),
    /// The target in absolute form, without Host.
    Target(Span),
}

impl RequestHead {
    /// Parses the head at the start of `input`. Nothing is kept while it is partial: call again
    /// with the same bytes and more (see [`super::worth_parsing`]).
    ///
    /// # Errors
    /// The rule that is broken. Garbage is an error as soon as it is one, not when the head is
    /// complete.
    pub fn parse(
        &mut self,
        input: &[u8],
        settings: &HeadSettings,
    ) -> Result<Progress, RequestError> {
        self.clear();
        let Some(message) = skip_empty_line(input)? else {
            return Ok(Progress::Partial);
        };
        let mut facts = HeadFacts::default();
        let scanned = scan::request(message, settings.bounds(), &mut self.lines, &mut facts);
        let accepted = match scanned {
            Some((line, length)) => self.accept(line, &facts, settings).map(|()| length),
            None => match self.read_unusual(message, settings) {
                Ok(None) => return Ok(Progress::Partial),
                Ok(Some(length)) => Ok(length),
                Err(error) => Err(error),
            },
        };
        if accepted.is_err() {
            self.clear();
        }
        let skipped = input.len().saturating_sub(message.len());
        accepted.map(|length| Progress::Complete {
            consumed: skipped.saturating_add(length),
        })
    }

    /// Reads a head that is not an ordinary one, or none at all: its length, or `None` when it is not complete.
    pub(super) fn read_unusual(
        &mut self,
        message: &[u8],
        settings: &HeadSettings,
    ) -> Result<Option<usize>, RequestError> {
        self.lines.clear();
        let mut slots: HeaderSlots<'_> = [const { MaybeUninit::uninit() }; _];
        let fields_max = settings.fields_max.min(slots.len());
        let mut parsed = httparse::Request::new(&mut []);
        let status = parsed
            .parse_with_uninit_headers(message, slots.get_mut(..fields_max).unwrap_or_default());
        match status {
            Err(error) => Err(explain(message, error)),
            Ok(httparse::Status::Partial) => {
                check_partial(message, settings)?;
                Ok(None)
            }
            Ok(httparse::Status::Complete(length)) => {
                let head = message.get(..length).unwrap_or_default();
                self.accept_unusual(head, &parsed, settings)?;
                Ok(Some(length))
            }
        }
    }

    /// Forgets the request, keeps the memory.
    pub fn clear(&mut self) {
        self.lines.clear();
        self.method = Span::default();
        self.method_kind = Method::Other;
        self.authority = Authorship::Nowhere;
        self.host = Span::default();
        self.path_and_query = Span::default();
        self.path_len = 0;
        self.body = BodyLength::Exact(0);
        self.is_keep_alive = false;
        self.expects_continue = false;
        self.upgrade = None;
    }

    /// Gives memory above `bytes_max` back, after a [`clear`](Self::clear): one large head must not stay.
    pub fn shrink(&mut self, bytes_max: usize) {
        self.lines.shrink(bytes_max);
    }

    /// How long the body is.
    pub fn body(&self) -> BodyLength {
        self.body
    }

    /// Whether the client wants to send another request on this connection (RFC 9112 §9.3).
    pub fn keep_alive(&self) -> bool {
        self.is_keep_alive
    }

    /// Whether the client waits for a 100 before it sends the body (RFC 9110 §10.1.1). Never in
    /// HTTP/1.0.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// What the client offers to upgrade to: HTTP/1.1, named by Connection, not `h2c`, and without
    /// a body, because a tunnel that begins behind a body is a place to hide a request.
    pub fn upgrade(&self) -> Option<&[u8]> {
        self.upgrade.map(|index| self.lines.field(index).value)
    }

    /// The declared Content-Length, if any.
    pub fn content_length(&self) -> Option<u64> {
        match self.body {
            BodyLength::Exact(bytes) if self.find(FieldClass::ContentLength).is_some() => {
                Some(bytes)
            }
            _ => None,
        }
    }

    /// The head as bytes, for logs: request line and fields, without the empty line.
    pub fn bytes(&self) -> &[u8] {
        self.lines.bytes()
    }

    /// Where a head of another version is put together: first line, then fields. [`RequestHead::accept_stream`] then
    /// judges it as any other.
    pub(crate) fn lines_mut(&mut self) -> &mut HeadLines {
        &mut self.lines
    }

    /// Takes over a head that came as the fields of a stream, whose lines are in place; `ends` says that nothing
    /// follows it there.
    pub(crate) fn accept_stream(
        &mut self,
        method: Span,
        target: Span,
        facts: &HeadFacts,
        ends: bool,
        settings: &HeadSettings,
    ) -> Result<(), RequestError> {
        if target.len() > settings.target_bytes_max {
            return Err(RequestError::TargetTooLong);
        }
        let line = RequestLine {
            method,
            method_kind: Method::parse(method.get(self.lines.bytes())),
            target,
            version: Version::Http2,
        };
        self.accept(line, facts, settings)?;
        self.body = framing::stream_request_body(facts.framing, ends)?;
        Ok(())
    }

    /// Checks a complete head that httparse found, and takes it over.
    fn accept_unusual(
        &mut self,
        head: &[u8],
        parsed: &httparse::Request<'_, '_>,
        settings: &HeadSettings,
    ) -> Result<(), RequestError> {
        if head.len() > settings.bounds().head_bytes_max {
            return Err(RequestError::HeadTooLarge);
        }
        let method = parsed.method.unwrap_or_default().as_bytes();
        let target = parsed.path.unwrap_or_default().as_bytes();
        if method.len() > METHOD_BYTES_MAX {
            return Err(RequestError::MethodTooLong);
        }
        // Before the fields are looked at: of two mistakes the target's is told.
        if target.len() > settings.target_bytes_max {
            return Err(RequestError::TargetTooLong);
        }
        let line = RequestLine {
            method: Span::of(method, head),
            method_kind: Method::parse(method),
            target: Span::of(target, head),
            version: version_of(parsed.version),
        };
        let mut facts = HeadFacts::default();
        self.lines
            .load(head, parsed.headers, settings.underscores, &mut facts)?;
        self.accept(line, &facts, settings)
    }

    /// What every head must fulfil once its lines are known.
    fn accept(
        &mut self,
        line: RequestLine,
        facts: &HeadFacts,
        settings: &HeadSettings,
    ) -> Result<(), RequestError> {
        self.method = line.method;
        self.method_kind = line.method_kind;
        self.version = line.version;
        self.scheme = settings.scheme;
        self.accept_host(facts)?;
        self.accept_target(line.target, settings)?;
        self.accept_facts(facts)
    }

    /// RFC 9112 §3.2: exactly one valid Host in HTTP/1.1, at most one before.
    fn accept_host(&mut self, facts: &HeadFacts) -> Result<(), RequestError> {
        match facts.host {
            Some(index) => {
                let authority = Authority::new(self.lines.field(index).value)
                    .map_err(|_| RequestError::HostInvalid)?;
                self.host = Span::of(authority.host(), self.lines.bytes());
                self.authority = Authorship::Host(index);
                Ok(())
            }
            None if self.version == Version::Http10 => Ok(()),
            None => Err(RequestError::HostMissing),
        }
    }

    /// RFC 9112 §3.2: the four forms of a target.
    fn accept_target(&mut self, target: Span, settings: &HeadSettings) -> Result<(), RequestError> {
        if self.method_kind == Method::Connect {
            return Err(RequestError::ConnectUnsupported);
        }
        let bytes = target.get(self.lines.bytes());
        match bytes {
            [b'/', ..] => {
                self.path_len = path::path_len(bytes, settings.paths)?;
                self.path_and_query = target;
                Ok(())
            }
            b"*" if self.method_kind == Method::Options => {
                self.path_len = bytes.len();
                self.path_and_query = target;
                Ok(())
            }
            _ => self.accept_absolute_form(target, settings),
        }
    }

    /// RFC 9112 §3.2.2: `http://authority/path`. What is forwarded is the origin form of it.
    #[cold]
    fn accept_absolute_form(
        &mut self,
        target: Span,
        settings: &HeadSettings,
    ) -> Result<(), RequestError> {
        let bytes = target.get(self.lines.bytes());
        let (scheme, after_scheme) = split_scheme(bytes).ok_or(RequestError::TargetInvalid)?;
        if scheme != settings.scheme {
            return Err(RequestError::SchemeMismatch);
        }
        let authority_len = after_scheme
            .iter()
            .position(|byte| matches!(byte, b'/' | b'?'))
            .unwrap_or(after_scheme.len());
        let (authority, rest) = after_scheme
            .split_at_checked(authority_len)
            .unwrap_or_default();
        let checked = Authority::new(authority).map_err(|_| RequestError::TargetInvalid)?;
        let host = Span::of(checked.host(), self.lines.bytes());
        let authority = Span::of(authority, self.lines.bytes());
        let rest = Span::of(rest, self.lines.bytes());

        match self.authority {
            Authorship::Host(index) => {
                let host = self.lines.field(index).value;
                if !host.eq_ignore_ascii_case(authority.get(self.lines.bytes())) {
                    return Err(RequestError::AuthorityMismatch);
                }
            }
            _ => {
                self.authority = Authorship::Target(authority);
                self.host = host;
            }
        }
        self.path_and_query = self.origin_form(rest);
        self.path_len = match self.path_and_query() {
            b"*" => 1,
            target => path::path_len(target, settings.paths)?,
        };
        Ok(())
    }

    /// The origin form of what follows an authority (RFC 9112 §3.2.1; §3.2.4 for OPTIONS without a
    /// path).
    fn origin_form(&mut self, rest: Span) -> Span {
        match rest.get(self.lines.bytes()) {
            [b'/', ..] => rest,
            [] if self.method_kind == Method::Options => self.lines.push_extra(&[b"*"]),
            query => {
                let query = query.to_vec();
                self.lines.push_extra(&[b"/", &query])
            }
        }
    }

    fn accept_facts(&mut self, facts: &HeadFacts) -> Result<(), RequestError> {
        let connection = facts.connection;
        if connection.invalid {
            return Err(RequestError::ConnectionInvalid);
        }
        let is_http11 = self.version == Version::Http11;
        let is_stream = self.version == Version::Http2;
        self.body = framing::request_body(self.version, facts.framing)?;
        self.is_keep_alive = is_stream || !connection.close && (is_http11 || connection.keep_alive);
        self.expects_continue = match facts.expect {
            // RFC 9110 §10.1.1: ignored in HTTP/1.0.
            Expect::Continue => is_http11 || is_stream,
            Expect::Unknown if is_http11 || is_stream => {
                return Err(RequestError::ExpectationUnknown);
            }
            Expect::Unknown | Expect::Absent => false,
        };
        self.upgrade = match facts.upgrade {
            Upgrade::Field(index)
                if is_http11 && connection.upgrade && self.body == BodyLength::Exact(0) =>
            {
                Some(index)
            }
            _ => None,
        };
        Ok(())
    }
}

impl Default for RequestHead {
    fn default() -> Self {
        Self {
            lines: HeadLines::default(),
            method: Span::default(),
            method_kind: Method::Other,
            version: Version::Http11,
            scheme: Scheme::Http,
            authority: Authorship::Nowhere,
            host: Span::default(),
            path_and_query: Span::default(),
            path_len: 0,
            body: BodyLength::Exact(0),
            is_keep_alive: false,
            expects_continue: false,
            upgrade: None,
        }
    }
}

impl HeadView for RequestHead {
    fn field_count(&self) -> usize {
        self.lines.field_count()
    }

    fn field(&self, index: usize) -> Field<'_> {
        self.lines.field(index)
    }

    fn find(&self, class: FieldClass) -> Option<usize> {
        self.lines.find(class)
    }

    fn classes(&self) -> u64 {
        self.lines.classes()
    }

    fn run(&self, first: usize, last_exclusive: usize) -> Option<&[u8]> {
        self.lines.run(first, last_exclusive)
    }

    fn encoder_owned(&self) -> u128 {
        self.lines.encoder_owned()
    }
}

impl RequestView for RequestHead {
    fn method(&self) -> &[u8] {
        self.method.get(self.lines.bytes())
    }

    fn method_kind(&self) -> Method {
        self.method_kind
    }

    fn version(&self) -> Version {
        self.version
    }

    fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn authority(&self) -> &[u8] {
        match self.authority {
            Authorship::Nowhere => b"",
            Authorship::Host(index) => self.lines.field(index).value,
            Authorship::Target(span) => span.get(self.lines.bytes()),
        }
    }

    fn path_and_query(&self) -> &[u8] {
        self.path_and_query.get(self.lines.bytes())
    }

    fn host(&self) -> &[u8] {
        self.host.get(self.lines.bytes())
    }

    fn path(&self) -> &[u8] {
        self.path_and_query()
            .get(..self.path_len)
            .unwrap_or_default()
    }
}

/// RFC 9112 §2.2: one empty line before a request line is skipped. `None` while nothing else has
/// arrived.
fn skip_empty_line(input: &[u8]) -> Result<Option<&[u8]>, RequestError> {
    let message = match input {
        [b'\r', b'\n', rest @ ..] => rest,
        [b'\r'] => return Ok(None),
        [b'\r', ..] => return Err(RequestError::BareCarriageReturn),
        _ => input,
    };
    match message {
        [] => Ok(None),
        [b'\n', ..] => Err(RequestError::BareLineFeed),
        [b'\r', ..] => Err(RequestError::EmptyLines),
        _ => Ok(Some(message)),
    }
}

/// A head that is not complete may already be too much.
fn check_partial(message: &[u8], settings: &HeadSettings) -> Result<(), RequestError> {
    if message.len() >= settings.bounds().head_bytes_max {
        // Which limit? The target's own status tells the client more.
        check_first_line(message, settings)?;
        return Err(RequestError::HeadTooLarge);
    }
    check_first_line(message, settings)
}

fn check_first_line(message: &[u8], settings: &HeadSettings) -> Result<(), RequestError> {
    let method_len = message.iter().take(METHOD_BYTES_MAX.saturating_add(1));
    let Some(method_len) = method_len.into_iter().position(|byte| *byte == b' ') else {
        return match message.len() {
            0..=METHOD_BYTES_MAX => Ok(()),
            _ => Err(RequestError::MethodTooLong),
        };
    };
    let after_method = method_len.saturating_add(1);
    let target_len = message
        .get(after_method..)
        .unwrap_or_default()
        .iter()
        .take(settings.target_bytes_max.saturating_add(1))
        .take_while(|byte| byte.is_ascii_graphic())
        .count();
    if target_len > settings.target_bytes_max {
        return Err(RequestError::TargetTooLong);
    }
    Ok(())
}

fn split_scheme(target: &[u8]) -> Option<(Scheme, &[u8])> {
    for scheme in [Scheme::Http, Scheme::Https] {
        let name = scheme.name().as_bytes();
        if let Some((start, rest)) = target.split_at_checked(name.len())
            && start.eq_ignore_ascii_case(name)
            && let Some(rest) = rest.strip_prefix(b"://")
        {
            return Some((scheme, rest));
        }
    }
    None
}

/// The longest registered method has 17 letters (UPDATEREDIRECTREF).
pub(crate) const METHOD_BYTES_MAX: usize = 32;
