//! A request's field block (RFC 9113 §8.3.1).

use super::{Scratch, check_regular};
use crate::field::FieldClass;
use crate::grammar::is_token;
use crate::head::Scheme;
use crate::http1::facts::HeadFacts;
use crate::http1::lines::{Span, drops_underscore, has_underscore};
use crate::http1::request::METHOD_BYTES_MAX;
use crate::http1::{HeadSettings, RequestError, RequestHead};
use crate::http2::error::Malformed;
use crate::http2::hpack::{DecodedField, DecodedList, FieldSink, NameKind, Pseudo};
use balance_core::{Limits, Method};

/// Why a request is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http2) enum RequestFault {
    /// The stream is reset.
    Malformed(Malformed),
    /// It is answered as in HTTP/1.
    Refused(RequestError),
}

/// Puts a head together, field by field.
///
/// ```text
///   :method :scheme :path :authority ──▶ scratch ──first regular field, or the end──▶ first line, host
///   cookie (any number, RFC 9113 §8.2.3) ──▶ scratch ──end──▶ one line
///   all others ──▶ one line each
/// ```
pub(in crate::http2) struct RequestAssembly<'a> {
    head: &'a mut RequestHead,
    scratch: &'a mut Scratch,
    settings: &'a HeadSettings,
    facts: HeadFacts,
    pseudo: PseudoFields,
    /// Method and target, once the first line is written.
    first_line: Option<(Span, Span)>,
    has_cookie: bool,
    /// The first thing that was wrong.
    fault: Option<RequestFault>,
}

/// Where in the scratch each of them is.
#[derive(Clone, Copy, Default)]
struct PseudoFields {
    method: Option<Span>,
    scheme: Option<Span>,
    path: Option<Span>,
    authority: Option<Span>,
}

impl<'a> RequestAssembly<'a> {
    pub(in crate::http2) fn new(
        head: &'a mut RequestHead,
        scratch: &'a mut Scratch,
        settings: &'a HeadSettings,
    ) -> Self {
        head.clear();
        scratch.clear();
        Self {
            head,
            scratch,
            settings,
            facts: HeadFacts::default(),
            pseudo: PseudoFields::default(),
            first_line: None,
            has_cookie: false,
            fault: None,
        }
    }

    /// As far as it is known: also of a request that is refused.
    pub(in crate::http2) fn method(&self) -> Method {
        let method = self.pseudo.method;
        method.map_or(Method::Other, |method| {
            Method::parse(method.get(&self.scratch.pseudo))
        })
    }

    /// Judges the head; `ends` says that the stream ends with it.
    pub(in crate::http2) fn finish(
        mut self,
        list: DecodedList,
        ends: bool,
    ) -> Result<(), RequestFault> {
        let result = self.accept(list, ends);
        if result.is_err() {
            self.head.clear();
        }
        result
    }

    fn accept(&mut self, list: DecodedList, ends: bool) -> Result<(), RequestFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if list == DecodedList::TooLarge {
            return Err(RequestFault::Refused(RequestError::HeadTooLarge));
        }
        let (method, target) = self.begin()?;
        if self.has_cookie {
            self.check_count()?;
            let lines = self.head.lines_mut();
            lines.append(b"cookie", &self.scratch.cookie, FieldClass::Cookie);
        }
        self.head
            .accept_stream(method, target, &self.facts, ends, self.settings)
            .map_err(RequestFault::Refused)
    }

    fn push_pseudo(&mut self, pseudo: Pseudo, field: &DecodedField<'_>) -> Result<(), Malformed> {
        if self.first_line.is_some() {
            return Err(Malformed::PseudoMisplaced);
        }
        if !field.is_value_valid {
            return Err(Malformed::ValueInvalid);
        }
        let place = match pseudo {
            Pseudo::Method => &mut self.pseudo.method,
            Pseudo::Scheme => &mut self.pseudo.scheme,
            Pseudo::Path => &mut self.pseudo.path,
            Pseudo::Authority => &mut self.pseudo.authority,
            Pseudo::Status | Pseudo::Unknown => return Err(Malformed::PseudoUnknown),
        };
        let start = self.scratch.pseudo.len();
        self.scratch.pseudo.extend_from_slice(field.value);
        let span = Span::new(start, self.scratch.pseudo.len());
        match place.replace(span) {
            None => Ok(()),
            Some(_) => Err(Malformed::PseudoDuplicate),
        }
    }

    /// Writes the first line and Host, once: all pseudo-header fields are known.
    fn begin(&mut self) -> Result<(Span, Span), RequestFault> {
        if let Some(first_line) = self.first_line {
            return Ok(first_line);
        }
        let target = self.check_pseudo()?;
        let get = |span: Option<Span>| span.map(|span| span.get(&self.scratch.pseudo));
        let lines = self.head.lines_mut();
        let method = lines.push_extra(&[get(self.pseudo.method).unwrap_or_default()]);
        lines.push_extra(&[b" "]);
        let target = lines.push_extra(&[target.get(&self.scratch.pseudo)]);
        lines.push_extra(&[b" HTTP/2.0\r\n"]);
        if let Some(authority) = get(self.pseudo.authority) {
            lines.append(b"host", authority, FieldClass::Host);
            self.facts
                .on_field(FieldClass::Host, 0, authority)
                .map_err(|error| RequestFault::Refused(error.into()))?;
        }
        self.first_line = Some((method, target));
        Ok((method, target))
    }

    /// RFC 9113 §8.3.1: what there must be; the target.
    fn check_pseudo(&self) -> Result<Span, RequestFault> {
        let get = |span: Option<Span>| span.map(|span| span.get(&self.scratch.pseudo));
        let missing = RequestFault::Malformed(Malformed::PseudoMissing);
        let invalid = RequestFault::Malformed(Malformed::PseudoInvalid);
        let method = get(self.pseudo.method).ok_or(missing)?;
        let method_kind = Method::parse(method);
        if method_kind == Method::Other {
            if !is_token(method) {
                return Err(invalid);
            }
            if method.len() > METHOD_BYTES_MAX {
                return Err(RequestFault::Refused(RequestError::MethodTooLong));
            }
        }
        if method_kind == Method::Connect {
            // RFC 9113 §8.5: neither of them. What is left is well-formed, and not supported.
            return Err(match (self.pseudo.scheme, self.pseudo.path) {
                (None, None) => RequestFault::Refused(RequestError::ConnectUnsupported),
                _ => invalid,
            });
        }
        let scheme = get(self.pseudo.scheme).ok_or(missing)?;
        let target = self.pseudo.path.ok_or(missing)?;
        match target.get(&self.scratch.pseudo) {
            [b'/', ..] => {}
            b"*" if method_kind == Method::Options => {}
            _ => return Err(invalid),
        }
        let own = self.settings.scheme.name().as_bytes();
        let known = [Scheme::Http, Scheme::Https];
        match scheme {
            _ if scheme == own || scheme.eq_ignore_ascii_case(own) => Ok(target),
            _ if known
                .iter()
                .any(|known| scheme.eq_ignore_ascii_case(known.name().as_bytes())) =>
            {
                Err(RequestFault::Refused(RequestError::SchemeMismatch))
            }
            _ => Err(invalid),
        }
    }

    fn push_regular(
        &mut self,
        class: FieldClass,
        field: &DecodedField<'_>,
    ) -> Result<(), RequestFault> {
        check_regular(field, class).map_err(RequestFault::Malformed)?;
        self.begin()?;
        match class {
            FieldClass::Cookie => {
                self.push_cookie(field.value);
                return Ok(());
            }
            FieldClass::Host if self.pseudo.authority.is_some() => {
                return self.check_host(field.value);
            }
            FieldClass::Other if has_underscore(field.name) => {
                let is_dropped = drops_underscore(field.name, self.settings.underscores)
                    .map_err(|error| RequestFault::Refused(error.into()))?;
                if is_dropped {
                    return Ok(());
                }
            }
            _ => {}
        }
        self.check_count()?;
        let lines = self.head.lines_mut();
        if HeadFacts::is_about(class) {
            self.facts
                .on_field(class, lines.field_count(), field.value)
                .map_err(|error| RequestFault::Refused(error.into()))?;
        }
        lines.append(field.name, field.value, class);
        Ok(())
    }

    /// RFC 9113 §8.2.3: the crumbs of a cookie are joined before anyone reads them as fields of HTTP/1.
    fn push_cookie(&mut self, crumb: &[u8]) {
        if self.has_cookie {
            self.scratch.cookie.extend_from_slice(b"; ");
        }
        self.scratch.cookie.extend_from_slice(crumb);
        self.has_cookie = true;
    }

    /// RFC 9113 §8.3.1: Host may be there too, when it says the same.
    fn check_host(&self, host: &[u8]) -> Result<(), RequestFault> {
        let authority = self.pseudo.authority.unwrap_or_default();
        match host.eq_ignore_ascii_case(authority.get(&self.scratch.pseudo)) {
            true => Ok(()),
            false => Err(RequestFault::Malformed(Malformed::AuthorityMismatch)),
        }
    }

    fn check_count(&mut self) -> Result<(), RequestFault> {
        let fields_max = self.settings.fields_max.min(Limits::FIELDS_CEILING);
        match self.head.lines_mut().field_count() < fields_max {
            true => Ok(()),
            false => Err(RequestFault::Refused(RequestError::TooManyFields)),
        }
    }
}

impl FieldSink for RequestAssembly<'_> {
    fn on_field(&mut self, field: DecodedField<'_>) {
        if self.fault.is_some() {
            return;
        }
        let result = match field.kind {
            NameKind::Pseudo(pseudo) => self
                .push_pseudo(pseudo, &field)
                .map_err(RequestFault::Malformed),
            NameKind::Regular(class) => self.push_regular(class, &field),
            NameKind::Invalid => Err(RequestFault::Malformed(Malformed::NameInvalid)),
        };
        self.fault = result.err();
    }
}
