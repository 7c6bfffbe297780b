//! A response head from a backend. As strict as a request's (robustness SM-25): what a backend
//! sends may be chosen by whoever can write to it, and a response that two parsers read differently
//! poisons the next one.

use super::facts::{FieldError, HeadFacts};
use super::lines::{HeadLines, HeaderSlots};
use super::scan::{self, STATUS_MIN, StatusLine};
use super::{HeadSettings, Progress, version_of};
use crate::field::FieldClass;
use crate::framing::{self, FramingError, ResponseBody};
use crate::grammar::elements;
use crate::head::{Field, HeadView, ResponseView, Version};
use balance_core::{Cause, Method, UnderscorePolicy};
use std::mem::MaybeUninit;
use std::time::Duration;

/// What the request was, as far as it decides how to read the response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseContext {
    /// Answers to HEAD have no body.
    pub request_method: Method,
    /// Whether the request sent to the backend offered an upgrade: only then may it switch.
    pub upgrade_offered: bool,
}

/// The head of one response. As [`super::RequestHead`], it owns its bytes and its memory serves the
/// next one.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    lines: HeadLines,
    status: u16,
    version: Version,
    body: ResponseBody,
    is_keep_alive: bool,
    content_length: Option<u64>,
}

/// Why a response head is refused. The client gets 502 and the connection is discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// RFC 9112 §4.
    #[error("the status line is not HTTP/1.x SP three digits")]
    StatusLineInvalid,
    /// Neither 1.0 nor 1.1.
    #[error("the version is not HTTP/1.0 or HTTP/1.1")]
    VersionUnsupported,
    /// Below 100.
    #[error("the status is not 100 to 999")]
    StatusInvalid,
    /// RFC 9112 §2.2 would let it pass; stricter.
    #[error("a line ends without CR")]
    BareLineFeed,
    /// RFC 9112 §5.1 and §5.2.
    #[error("a field name is not a token directly followed by a colon")]
    FieldNameInvalid,
    /// RFC 9110 §5.5.
    #[error("a field value contains a control character")]
    FieldValueInvalid,
    /// A tab beside the value of Content-Length or Transfer-Encoding.
    #[error("a framing field contains a tab")]
    FramingTab,
    /// `Transfer_Encoding` or `Content_Length`.
    #[error("a framing field with an underscore")]
    Underscore,
    /// Host means nothing in a response; two of them are garbage.
    #[error("Host is given more than once")]
    HostDuplicate,
    /// Above `head_bytes_max`.
    #[error("the head is too large")]
    HeadTooLarge,
    /// Above `fields_max`.
    #[error("the head has too many fields")]
    TooManyFields,
    /// RFC 9110 §15.2.2: 101 answers an Upgrade that was sent.
    #[error("101 to a request that offered no upgrade")]
    UnexpectedSwitch,
    /// The end of the body is not certain.
    #[error("{0}")]
    Framing(#[from] FramingError),
}

impl ResponseError {
    /// The status of the answer to the client.
    pub const fn status(self) -> u16 {
        502
    }

    /// How the exchange ends.
    pub const fn cause(self) -> Cause {
        Cause::HttpProtocolError
    }
}

impl ResponseHead {
    /// Parses the head at the start of `input`. Nothing is kept while it is partial.
    ///
    /// # Errors
    /// The rule that is broken, as early as it is known.
    pub fn parse(
        &mut self,
        input: &[u8],
        context: ResponseContext,
        settings: &HeadSettings,
    ) -> Result<Progress, ResponseError> {
        self.clear();
        // httparse skips empty lines; here they are what a body left behind.
        match input.first() {
            Some(b'H') => {}
            Some(_) => return Err(ResponseError::StatusLineInvalid),
            None => return Ok(Progress::Partial),
        }
        let mut facts = HeadFacts::default();
        let scanned = scan::response(input, settings.bounds(), &mut self.lines, &mut facts);
        let accepted = match scanned {
            Some((line, length)) => self.accept(line, &facts, context).map(|()| length),
            None => match self.read_unusual(input, context, settings) {
                Ok(None) => return Ok(Progress::Partial),
                Ok(Some(length)) => Ok(length),
                Err(error) => Err(error),
            },
        };
        if accepted.is_err() {
            self.clear();
        }
        accepted.map(|consumed| Progress::Complete { consumed })
    }

    /// Reads a head that is not an ordinary one, or none at all: its length, or `None` when it is not complete.
    pub(super) fn read_unusual(
        &mut self,
        input: &[u8],
        context: ResponseContext,
        settings: &HeadSettings,
    ) -> Result<Option<usize>, ResponseError> {
        self.lines.clear();
        let mut slots: HeaderSlots<'_> = [const { MaybeUninit::uninit() }; _];
        let fields_max = settings.fields_max.min(slots.len());
        let mut parsed = httparse::Response::new(&mut []);
        let status = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut parsed,
            input,
            slots.get_mut(..fields_max).unwrap_or_default(),
        );
        let head_bytes_max = settings.bounds().head_bytes_max;
        match status {
            Err(error) => Err(explain(error)),
            Ok(httparse::Status::Partial) if input.len() >= head_bytes_max => {
                Err(ResponseError::HeadTooLarge)
            }
            Ok(httparse::Status::Partial) => Ok(None),
            Ok(httparse::Status::Complete(length)) if length > head_bytes_max => {
                Err(ResponseError::HeadTooLarge)
            }
            Ok(httparse::Status::Complete(length)) => {
                let head = input.get(..length).unwrap_or_default();
                self.accept_unusual(head, &parsed, context)?;
                Ok(Some(length))
            }
        }
    }

    /// Forgets the response, keeps the memory.
    pub fn clear(&mut self) {
        self.lines.clear();
        self.status = 0;
        self.body = ResponseBody::None;
        self.is_keep_alive = false;
        self.content_length = None;
    }

    /// Gives memory above `bytes_max` back, after a [`clear`](Self::clear): one large head must not stay.
    pub fn shrink(&mut self, bytes_max: usize) {
        self.lines.shrink(bytes_max);
    }

    /// How long the body is.
    pub fn body(&self) -> ResponseBody {
        self.body
    }

    /// Whether it is interim: another head follows (RFC 9110 §15.2).
    pub fn is_interim(&self) -> bool {
        matches!(self.status, 100..=199) && self.status != 101
    }

    /// Whether the connection is a tunnel from here on (101).
    pub fn is_switching(&self) -> bool {
        self.status == 101
    }

    /// Whether the backend keeps the connection open after the body (RFC 9112 §9.3).
    pub fn keep_alive(&self) -> bool {
        self.is_keep_alive
    }

    /// How long the backend keeps an idle connection, from `Keep-Alive: timeout=N` (seconds).
    pub fn keep_alive_timeout(&self) -> Option<Duration> {
        let field = self.lines.field(self.find(FieldClass::KeepAlive)?);
        let seconds = elements(field.value).find_map(|parameter| {
            let (name, value) = parameter.split_at_checked(b"timeout=".len())?;
            name.eq_ignore_ascii_case(b"timeout=").then_some(value)
        })?;
        let seconds: u32 = std::str::from_utf8(seconds).ok()?.parse().ok()?;
        Some(Duration::from_secs(u64::from(seconds)))
    }

    /// The declared Content-Length, also where there is no body (HEAD, 304).
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// What the backend switches to, in a 101.
    pub fn upgrade(&self) -> Option<&[u8]> {
        let index = self.find(FieldClass::Upgrade)?;
        self.is_switching().then(|| self.lines.field(index).value)
    }

    /// The head as bytes, for logs: status line and fields, without the empty line.
    pub fn bytes(&self) -> &[u8] {
        self.lines.bytes()
    }

    /// Where a head of another version is put together: first line, then fields. [`ResponseHead::accept_stream`] then
    /// judges it as any other.
    pub(crate) fn lines_mut(&mut self) -> &mut HeadLines {
        &mut self.lines
    }

    /// Takes over a head that came as the fields of a stream, whose lines are in place; `ends` says that nothing
    /// follows it there.
    pub(crate) fn accept_stream(
        &mut self,
        status: u16,
        facts: &HeadFacts,
        ends: bool,
        request_method: Method,
    ) -> Result<(), ResponseError> {
        let line = StatusLine {
            version: Version::Http2,
            status,
        };
        let context = ResponseContext {
            request_method,
            upgrade_offered: false,
        };
        self.accept(line, facts, context)?;
        self.body = framing::stream_response_body(request_method, status, facts.framing, ends)?;
        self.is_keep_alive = true;
        Ok(())
    }

    /// Checks a complete head that httparse found, and takes it over.
    fn accept_unusual(
        &mut self,
        head: &[u8],
        parsed: &httparse::Response<'_, '_>,
        context: ResponseContext,
    ) -> Result<(), ResponseError> {
        let line = StatusLine {
            version: version_of(parsed.version),
            status: parsed.code.unwrap_or_default(),
        };
        if line.status < STATUS_MIN {
            return Err(ResponseError::StatusInvalid);
        }
        let mut facts = HeadFacts::default();
        // The underscore policy protects backends from clients; answers pass.
        self.lines
            .load(head, parsed.headers, UnderscorePolicy::Pass, &mut facts)?;
        self.accept(line, &facts, context)
    }

    /// What every head must fulfil once its lines are known.
    fn accept(
        &mut self,
        line: StatusLine,
        facts: &HeadFacts,
        context: ResponseContext,
    ) -> Result<(), ResponseError> {
        self.status = line.status;
        self.version = line.version;
        if self.is_switching() && !context.upgrade_offered {
            return Err(ResponseError::UnexpectedSwitch);
        }
        self.content_length = facts.framing.content_length();
        self.body = framing::response_body(
            self.version,
            context.request_method,
            self.status,
            facts.framing,
        )?;
        let connection = facts.connection;
        // A Connection field that is no list of tokens may have said close.
        self.is_keep_alive = self.body != ResponseBody::UntilClose
            && !connection.close
            && !connection.invalid
            && (self.version == Version::Http11 || connection.keep_alive);
        Ok(())
    }
}

impl Default for ResponseHead {
    fn default() -> Self {
        Self {
            lines: HeadLines::default(),
            status: 0,
            version: Version::Http11,
            body: ResponseBody::None,
            is_keep_alive: false,
            content_length: None,
        }
    }
}

impl HeadView for ResponseHead {
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

impl ResponseView for ResponseHead {
    fn status(&self) -> u16 {
        self.status
    }

    fn version(&self) -> Version {
        self.version
    }

    fn reason(&self) -> &[u8] {
        // `HTTP/1.1 200 Reason CRLF`; httparse checked its bytes. Without a reason the space before
        // it may be missing.
        let line = self.lines.first_line();
        line.get(STATUS_END.saturating_add(1)..).unwrap_or_default()
    }
}

impl From<FieldError> for ResponseError {
    fn from(error: FieldError) -> Self {
        match error {
            FieldError::BareLineFeed => Self::BareLineFeed,
            FieldError::FramingTab => Self::FramingTab,
            FieldError::Underscore => Self::Underscore,
            FieldError::HostDuplicate => Self::HostDuplicate,
            FieldError::Framing(error) => Self::Framing(error),
        }
    }
}

#[cold]
fn explain(error: httparse::Error) -> ResponseError {
    match error {
        httparse::Error::HeaderName => ResponseError::FieldNameInvalid,
        httparse::Error::HeaderValue => ResponseError::FieldValueInvalid,
        httparse::Error::TooManyHeaders => ResponseError::TooManyFields,
        httparse::Error::Version => ResponseError::VersionUnsupported,
        httparse::Error::NewLine | httparse::Error::Status | httparse::Error::Token => {
            ResponseError::StatusLineInvalid
        }
    }
}

/// Length of `HTTP/1.1 200`.
const STATUS_END: usize = 12;
