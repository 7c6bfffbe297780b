//! The field lines of a parsed head in memory of our own, in the one form that we write.
//!
//! Shared by requests and responses. It copies a head once, when it is complete.

use super::facts::{FieldError, HeadFacts};
use crate::field::FieldClass;
use crate::head::{Field, field_bit};
use balance_core::{Limits, UnderscorePolicy};
use std::mem::MaybeUninit;

/// Where httparse puts what it finds: on the stack and not initialised, 4 KiB that cost nothing.
pub(crate) type HeaderSlots<'b> = [MaybeUninit<httparse::Header<'b>>; Limits::FIELDS_CEILING];

/// A head: the first line, then the fields.
///
/// Invariant: the bytes from the first line's end on are the lines in order, each exactly `Name:
/// value\r\n`. So any run of them can be copied as it is, and gives the same bytes as writing its
/// fields one by one.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeadLines {
    bytes: Vec<u8>,
    lines: Vec<Line>,
    present: u64,
    encoder_owned: u128,
}

/// Offsets of one field line.
#[derive(Clone, Copy, Debug)]
struct Line {
    name: Span,
    value: Span,
    class: FieldClass,
}

/// A part of a head's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Line {
    /// The end of the line when it stands at `start` of `head` and is exactly `Name: value\r\n`.
    fn end_if_exact(&self, head: &[u8], start: usize) -> Option<usize> {
        let (name_end, value_end) = (self.name.end(), self.value.end());
        let value_start = name_end.wrapping_add(2);
        let line_end = value_end.wrapping_add(2);
        let is_exact = self.name.start() == start
            && self.value.start() == value_start
            && head.get(name_end..value_start) == Some(b": ")
            && head.get(value_end..line_end) == Some(b"\r\n");
        is_exact.then_some(line_end)
    }
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        // Heads are below HEAD_BYTES_CEILING, so nothing is cut off.
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// Where `part` lies in `whole`, of which it is a slice.
    pub(crate) fn of(part: &[u8], whole: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        Self::new(start, start.wrapping_add(part.len()))
    }

    pub(crate) fn start(self) -> usize {
        self.start as usize
    }

    pub(crate) fn end(self) -> usize {
        self.end as usize
    }

    pub(crate) fn len(self) -> usize {
        self.end().saturating_sub(self.start())
    }

    pub(crate) fn get(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start()..self.end()).unwrap_or_default()
    }
}

impl HeadLines {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.lines.clear();
        self.present = 0;
        self.encoder_owned = 0;
    }

    /// Gives memory above `bytes_max` back, once it is clear.
    pub(crate) fn shrink(&mut self, bytes_max: usize) {
        if self.bytes.capacity() > bytes_max {
            self.bytes = Vec::new();
        }
    }

    /// Takes a complete head over: `head` ends with its empty line, `headers` are slices of it.
    /// What the fields say about the message goes into `facts`.
    pub(crate) fn load(
        &mut self,
        head: &[u8],
        headers: &[httparse::Header<'_>],
        underscores: UnderscorePolicy,
        facts: &mut HeadFacts,
    ) -> Result<(), FieldError> {
        self.clear();
        // httparse takes a bare LF as the end of a line; this checks the last two lines, what
        // follows all others.
        if !head.ends_with(b"\r\n\r\n") {
            return Err(FieldError::BareLineFeed);
        }
        if self.load_exact(head, headers, facts) {
            let lines = head.get(..lines_end(head)).unwrap_or_default();
            self.bytes.extend_from_slice(lines);
            return Ok(());
        }
        self.clear();
        *facts = HeadFacts::default();
        self.load_uneven(head, headers, underscores, facts)
    }

    /// Loads a head of which every line is exactly `Name: value\r\n` already, and nothing is wrong
    /// with any or to be dropped: nearly all heads. False when it is another one, which
    /// [`HeadLines::load_uneven`] then judges from the start.
    ///
    /// One position is carried from line to line and everything compared with it, which takes half
    /// the instructions of looking at each line by itself.
    fn load_exact(
        &mut self,
        head: &[u8],
        headers: &[httparse::Header<'_>],
        facts: &mut HeadFacts,
    ) -> bool {
        let mut start = first_line_end(head, headers);
        if !ends_with_crlf(head, start) {
            return false;
        }
        for header in headers {
            let class = FieldClass::of(header.name.as_bytes());
            let is_good = match class {
                FieldClass::Other => !has_underscore(header.name.as_bytes()),
                _ if !HeadFacts::is_about(class) => true,
                _ => facts
                    .on_field(class, self.lines.len(), header.value)
                    .is_ok(),
            };
            let line = Line {
                name: Span::of(header.name.as_bytes(), head),
                value: Span::of(header.value, head),
                class,
            };
            let Some(end) = line.end_if_exact(head, start) else {
                return false;
            };
            if !is_good {
                return false;
            }
            self.push_line(line);
            start = end;
        }
        start == lines_end(head)
    }

    /// Loads any head, line by line.
    #[cold]
    fn load_uneven(
        &mut self,
        head: &[u8],
        headers: &[httparse::Header<'_>],
        underscores: UnderscorePolicy,
        facts: &mut HeadFacts,
    ) -> Result<(), FieldError> {
        for (position, header) in headers.iter().enumerate() {
            let name = Span::of(header.name.as_bytes(), head);
            let value = Span::of(header.value, head);
            let line_end = headers
                .get(position.wrapping_add(1))
                .map_or(lines_end(head), |next| {
                    Span::of(next.name.as_bytes(), head).start()
                });
            if !ends_with_crlf(head, name.start()) {
                return Err(FieldError::BareLineFeed);
            }
            let class = FieldClass::of(header.name.as_bytes());
            if class == FieldClass::Other {
                if has_underscore(header.name.as_bytes())
                    && drops_underscore(header.name.as_bytes(), underscores)?
                {
                    continue;
                }
            } else {
                check_framing_tabs(class, head, name.end(), line_end)?;
                facts.on_field(class, self.lines.len(), header.value)?;
            }
            self.push(name, value, class);
        }
        self.rebuild(head, first_line_end(head, headers));
        Ok(())
    }

    pub(crate) fn field_count(&self) -> usize {
        self.lines.len()
    }

    pub(crate) fn field(&self, index: usize) -> Field<'_> {
        match self.lines.get(index) {
            Some(line) => Field {
                name: line.name.get(&self.bytes),
                value: line.value.get(&self.bytes),
                class: line.class,
            },
            None => Field::default(),
        }
    }

    pub(crate) fn find(&self, class: FieldClass) -> Option<usize> {
        if self.present & class.bit() == 0 {
            return None;
        }
        self.lines.iter().position(|line| line.class == class)
    }

    pub(crate) fn classes(&self) -> u64 {
        self.present
    }

    pub(crate) fn run(&self, first: usize, last_exclusive: usize) -> Option<&[u8]> {
        let start = self.lines.get(first)?.name.start();
        let last = self.lines.get(last_exclusive.checked_sub(1)?)?;
        self.bytes.get(start..last.value.end().checked_add(2)?)
    }

    pub(crate) fn encoder_owned(&self) -> u128 {
        self.encoder_owned
    }

    /// The first line, without its CRLF. Of a head to which nothing extra was pushed.
    pub(crate) fn first_line(&self) -> &[u8] {
        let fields = self
            .lines
            .first()
            .map_or(self.bytes.len(), |line| line.name.start());
        let end = fields.saturating_sub(b"\r\n".len());
        self.bytes.get(..end).unwrap_or_default()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Keeps bytes that do not stand in the head in this form.
    pub(crate) fn push_extra(&mut self, pieces: &[&[u8]]) -> Span {
        let start = self.bytes.len();
        for piece in pieces {
            self.bytes.extend_from_slice(piece);
        }
        Span::new(start, self.bytes.len())
    }

    /// Adds a line that stands in the head at these places. [`HeadLines::keep`] then takes the head.
    pub(crate) fn push(&mut self, name: Span, value: Span, class: FieldClass) {
        self.push_line(Line { name, value, class });
    }

    /// Adds a line that stands in no head of this form: a field of another version of HTTP.
    pub(crate) fn append(&mut self, name: &[u8], value: &[u8], class: FieldClass) {
        let name = append(&mut self.bytes, name);
        self.bytes.extend_from_slice(b": ");
        let value = append(&mut self.bytes, value);
        self.bytes.extend_from_slice(b"\r\n");
        self.push_line(Line { name, value, class });
    }

    /// Takes over the bytes of a head whose lines were all pushed: first line and fields, each exactly as it is
    /// written, without the empty line.
    pub(crate) fn keep(&mut self, head: &[u8]) {
        self.bytes.extend_from_slice(head);
    }

    fn push_line(&mut self, line: Line) {
        if line.class.is_encoder_owned() {
            self.encoder_owned |= field_bit(self.lines.len());
        }
        self.present |= line.class.bit();
        self.lines.push(line);
    }

    /// Copies line by line into the one form: some line had other white space, or was dropped.
    fn rebuild(&mut self, head: &[u8], first_line_end: usize) {
        let Self { bytes, lines, .. } = self;
        bytes.extend_from_slice(head.get(..first_line_end).unwrap_or_default());
        for line in lines {
            let (name, value) = (line.name, line.value);
            line.name = append(bytes, name.get(head));
            bytes.extend_from_slice(b": ");
            line.value = append(bytes, value.get(head));
            bytes.extend_from_slice(b"\r\n");
        }
    }
}

fn append(out: &mut Vec<u8>, piece: &[u8]) -> Span {
    let start = out.len();
    out.extend_from_slice(piece);
    Span::new(start, out.len())
}

fn first_line_end(head: &[u8], headers: &[httparse::Header<'_>]) -> usize {
    headers.first().map_or(lines_end(head), |first| {
        Span::of(first.name.as_bytes(), head).start()
    })
}

/// Where the empty line of a head begins.
fn lines_end(head: &[u8]) -> usize {
    head.len().saturating_sub(2)
}

/// Whether the line before `position` ends with CRLF.
fn ends_with_crlf(head: &[u8], position: usize) -> bool {
    head.get(..position)
        .is_some_and(|before| before.ends_with(b"\r\n"))
}

/// A tab beside the value of a framing field is legal white space (RFC 9110 §5.6.3), but parsers
/// that miss it see another framing. Stricter than the RFC (robustness SM-03).
fn check_framing_tabs(
    class: FieldClass,
    head: &[u8],
    name_end: usize,
    line_end: usize,
) -> Result<(), FieldError> {
    if !matches!(
        class,
        FieldClass::ContentLength | FieldClass::TransferEncoding
    ) {
        return Ok(());
    }
    match head.get(name_end..line_end) {
        Some(line) if !line.contains(&b'\t') => Ok(()),
        _ => Err(FieldError::FramingTab),
    }
}

/// Looks at two overlapping words where they cover the name: most names have 8 to 16 bytes, and a
/// loop over their bytes was a tenth of parsing.
pub(crate) fn has_underscore(name: &[u8]) -> bool {
    match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(first), Some(last)) if name.len() <= 16 => {
            word_has_underscore(*first) | word_has_underscore(*last)
        }
        _ => name.contains(&b'_'),
    }
}

/// The classic search for a zero byte, in the word's difference to underscores.
fn word_has_underscore(word: [u8; 8]) -> bool {
    let difference = u64::from_ne_bytes(word) ^ u64::from_ne_bytes([b'_'; 8]);
    let borrows = difference.wrapping_sub(u64::from_ne_bytes([0x01; 8]));
    borrows & !difference & u64::from_ne_bytes([0x80; 8]) != 0
}

/// Whether a name with `_` is dropped (robustness SM-24). CGI-like servers read `_` as `-`, so a
/// framing field in that disguise is refused under every policy (SM-03).
#[cold]
pub(crate) fn drops_underscore(name: &[u8], policy: UnderscorePolicy) -> Result<bool, FieldError> {
    let is_disguise = |of: &[u8]| {
        name.len() == of.len()
            && name.iter().zip(of).all(|(seen, real)| {
                seen.eq_ignore_ascii_case(real) || (*seen == b'_' && *real == b'-')
            })
    };
    if is_disguise(b"transfer-encoding") || is_disguise(b"content-length") {
        return Err(FieldError::Underscore);
    }
    match policy {
        UnderscorePolicy::Drop => Ok(true),
        UnderscorePolicy::Pass => Ok(false),
        UnderscorePolicy::Reject => Err(FieldError::Underscore),
    }
}

#[cfg(test)]
mod tests {
    use super::{HeadLines, has_underscore};
    use crate::http1::facts::HeadFacts;
    use balance_core::UnderscorePolicy;

    /// What both ways of loading make of a head: they must not differ in anything.
    fn load(head: &[u8], is_uneven: bool, policy: UnderscorePolicy) -> String {
        let mut headers = [httparse::EMPTY_HEADER; 8];
        let mut parsed = httparse::Request::new(&mut headers);
        let length = match parsed.parse(head) {
            Ok(httparse::Status::Complete(length)) => length,
            other => return format!("{other:?}"),
        };
        let head = &head[..length];
        let (mut lines, mut facts) = (HeadLines::default(), HeadFacts::default());
        let result = if is_uneven && head.ends_with(b"\r\n\r\n") {
            lines.load_uneven(head, parsed.headers, policy, &mut facts)
        } else {
            lines.load(head, parsed.headers, policy, &mut facts)
        };
        match result {
            Ok(()) => format!("{lines:?} {facts:?}"),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn exact_heads_are_loaded_as_any_others() {
        let lines = [
            "",
            "Host: a\r\n",
            "A: b\r\n",
            "A:b\r\n",
            "A: b\n",
            "A: b \n",
            "A:  b\r\n",
            "A:\tb\r\n",
            "A: \r\n",
            "A:\r\n",
            "A_b: c\r\n",
            "Content_Length: 1\r\n",
            "Content-Length: 1\r\n",
            "Content-Length: \t1\r\n",
            "Content-Length: 1\t2\r\n",
            "Transfer-Encoding: gzip,\tchunked\r\n",
            "Connection: close\r\n",
        ];
        let mut exact = 0;
        for first_line in ["GET / HTTP/1.1\r\n", "GET / HTTP/1.1\n"] {
            for (a, b, c) in lines.iter().flat_map(|a| {
                let pairs = lines.iter().flat_map(|b| lines.iter().map(move |c| (b, c)));
                pairs.map(move |(b, c)| (a, b, c))
            }) {
                let head = format!("{first_line}{a}{b}{c}\r\n");
                for policy in [UnderscorePolicy::Drop, UnderscorePolicy::Pass] {
                    let seen = load(head.as_bytes(), false, policy);
                    let expected = load(head.as_bytes(), true, policy);
                    assert_eq!(seen, expected, "{head:?}");
                    exact += usize::from(seen.starts_with("HeadLines"));
                }
            }
        }
        assert!(exact > 1_000, "most heads were refused: {exact}");
    }

    #[test]
    fn underscores_are_found_at_every_position() {
        for length in 0..40 {
            let mut name = vec![b'^'; length];
            assert!(!has_underscore(&name));
            for at in 0..length {
                name[at] = b'_';
                assert!(has_underscore(&name), "{at} of {length}");
                name[at] = b'`';
                assert!(!has_underscore(&name), "{at} of {length}");
            }
        }
    }
}
