//! A small HTTP/1 parser that accepts nothing but the plainest form: CRLF, tokens, one framing.
//!
//! Used on both ends: on requests that reached a backend and on responses that reached a client. It keeps
//! the exact bytes, and it is independent of balance-proto on purpose.

use std::io::{ErrorKind, Read};

/// A header or trailer field with its name as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub value: String,
}

/// How a body was delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// Why no message could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrictError {
    /// FIN before the first byte of a message.
    #[error("closed before a message")]
    Closed,
    #[error("closed in the middle of a message")]
    Truncated,
    #[error("connection reset")]
    Reset,
    #[error("nothing came for too long")]
    TimedOut,
    /// What a strict parser refuses, and why.
    #[error("malformed: {0}")]
    Malformed(String),
    #[error("{0}")]
    Io(String),
}

/// A head, line by line, without its line ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) start_line: String,
    pub(crate) fields: Vec<Field>,
}

/// A body with what came with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) trailers: Vec<Field>,
}

/// Reads messages from a byte stream and keeps what it has used.
#[derive(Debug)]
pub(crate) struct StrictReader<R> {
    source: R,
    buffer: Vec<u8>,
    used: usize,
    log: Vec<u8>,
}

const LINE_BYTES_MAX: usize = 1 << 20;

impl<R: Read> StrictReader<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            used: 0,
            log: Vec::new(),
        }
    }

    /// Everything used since the last call.
    pub(crate) fn take_log(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.log)
    }

    /// What was used since the last [`StrictReader::take_log`].
    pub(crate) fn log(&self) -> &[u8] {
        &self.log
    }

    /// Reads until the empty line.
    pub(crate) fn read_head(&mut self) -> Result<Head, StrictError> {
        if self.buffer.len() == self.used && self.fill()? == 0 {
            return Err(StrictError::Closed);
        }
        let start_line = self.read_line()?;
        let fields = self.read_fields()?;
        Ok(Head { start_line, fields })
    }

    /// Reads a body whose framing is known.
    pub(crate) fn read_body(&mut self, framing: Framing) -> Result<Body, StrictError> {
        let mut body = Body::default();
        self.read_body_into(framing, &mut body)?;
        Ok(body)
    }

    /// As [`StrictReader::read_body`]; what came before an error is in `body`.
    pub(crate) fn read_body_into(
        &mut self,
        framing: Framing,
        body: &mut Body,
    ) -> Result<(), StrictError> {
        match framing {
            Framing::None => Ok(()),
            Framing::Length(length) => self.read_exact(length, &mut body.bytes),
            Framing::UntilClose => self.read_to_end(&mut body.bytes),
            Framing::Chunked => loop {
                let line = self.read_line()?;
                let size = chunk_size(&line)?;
                if size == 0 {
                    body.trailers = self.read_fields()?;
                    return Ok(());
                }
                self.read_exact(size, &mut body.bytes)?;
                let end = self.read_line()?;
                require(end.is_empty(), || {
                    format!("chunk data is followed by {end:?}")
                })?;
            },
        }
    }

    /// Reads until FIN.
    pub(crate) fn read_to_end(&mut self, into: &mut Vec<u8>) -> Result<(), StrictError> {
        loop {
            let rest = self.buffer.len() - self.used;
            self.use_bytes(rest, into);
            if self.fill()? == 0 {
                return Ok(());
            }
        }
    }

    /// Reads what there is, at least one byte; nothing means FIN.
    pub(crate) fn read_some(&mut self) -> Result<Vec<u8>, StrictError> {
        if self.buffer.len() == self.used {
            self.fill()?;
        }
        let mut bytes = Vec::new();
        self.use_bytes(self.buffer.len() - self.used, &mut bytes);
        Ok(bytes)
    }

    fn read_exact(&mut self, length: u64, into: &mut Vec<u8>) -> Result<(), StrictError> {
        let mut left = usize::try_from(length)
            .map_err(|_| StrictError::Malformed(format!("a length of {length}")))?;
        loop {
            let step = left.min(self.buffer.len() - self.used);
            self.use_bytes(step, into);
            left -= step;
            if left == 0 {
                return Ok(());
            }
            self.fill_more()?;
        }
    }

    fn use_bytes(&mut self, count: usize, into: &mut Vec<u8>) {
        let bytes = &self.buffer[self.used..self.used + count];
        into.extend_from_slice(bytes);
        self.log.extend_from_slice(bytes);
        self.used += count;
    }

    fn read_fields(&mut self) -> Result<Vec<Field>, StrictError> {
        let mut fields = Vec::new();
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            fields.push(parse_field(&line)?);
        }
    }

    /// A line without its CRLF.
    fn read_line(&mut self) -> Result<String, StrictError> {
        let mut scanned = 0;
        let length = loop {
            let rest = &self.buffer[self.used..];
            if let Some(end) = rest[scanned..].iter().position(|byte| *byte == b'\n') {
                break scanned + end + 1;
            }
            scanned = rest.len();
            require(scanned < LINE_BYTES_MAX, || "a line without end".into())?;
            self.fill_more()?;
        };
        let mut line = Vec::new();
        self.use_bytes(length, &mut line);
        line.pop();
        require(line.pop() == Some(b'\r'), || {
            format!("bare LF after {}", lossy(&line))
        })?;
        require(!line.contains(&b'\r'), || {
            format!("bare CR in {}", lossy(&line))
        })?;
        require(!line.contains(&0), || format!("NUL in {}", lossy(&line)))?;
        // Latin-1, so that every byte is kept as one character.
        Ok(line.into_iter().map(char::from).collect())
    }

    fn fill_more(&mut self) -> Result<(), StrictError> {
        if self.fill()? == 0 {
            Err(StrictError::Truncated)
        } else {
            Ok(())
        }
    }

    fn fill(&mut self) -> Result<usize, StrictError> {
        if self.used == self.buffer.len() {
            self.buffer.clear();
            self.used = 0;
        }
        let mut block = [0; 16 * 1024];
        loop {
            match self.source.read(&mut block) {
                Ok(read) => {
                    self.buffer.extend_from_slice(&block[..read]);
                    return Ok(read);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl From<std::io::Error> for StrictError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Reset,
            _ => Self::Io(error.to_string()),
        }
    }
}

/// The values of all fields of this name, in order.
pub(crate) fn values<'a>(fields: &'a [Field], name: &str) -> Vec<&'a str> {
    fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value.as_str())
        .collect()
}

/// The framing that the fields declare, or `None` when they declare none (RFC 9112 §6.3).
pub(crate) fn declared_framing(fields: &[Field]) -> Result<Option<Framing>, StrictError> {
    let lengths = values(fields, "content-length");
    let codings = values(fields, "transfer-encoding");
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(None),
        ([length], []) => {
            let is_plain = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            let number = length.parse().ok().filter(|_| is_plain);
            number
                .map(|number| Some(Framing::Length(number)))
                .ok_or_else(|| StrictError::Malformed(format!("Content-Length {length:?}")))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        _ => Err(StrictError::Malformed(format!(
            "framing by Content-Length {lengths:?} and Transfer-Encoding {codings:?}"
        ))),
    }
}

pub(crate) fn require(condition: bool, reason: impl FnOnce() -> String) -> Result<(), StrictError> {
    if condition {
        Ok(())
    } else {
        Err(StrictError::Malformed(reason()))
    }
}

/// RFC 9110 §5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn parse_field(line: &str) -> Result<Field, StrictError> {
    let bad = || StrictError::Malformed(format!("field line {line:?}"));
    let (name, value) = line.split_once(':').ok_or_else(bad)?;
    let value = value.trim_matches([' ', '\t']);
    let is_clean = value
        .chars()
        .all(|each| each == '\t' || (each >= ' ' && each != '\u{7f}'));
    // A name that is no token covers folding and a space before the colon too.
    if !is_token(name) || !is_clean {
        return Err(bad());
    }
    Ok(Field {
        name: name.to_owned(),
        value: value.to_owned(),
    })
}

/// RFC 9112 §7.1 without extensions, which a proxy has to drop.
fn chunk_size(line: &str) -> Result<u64, StrictError> {
    let is_hex = (1..=16).contains(&line.len()) && line.bytes().all(|b| b.is_ascii_hexdigit());
    u64::from_str_radix(line, 16)
        .ok()
        .filter(|_| is_hex)
        .ok_or_else(|| StrictError::Malformed(format!("chunk size {line:?}")))
}

fn lossy(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    use super::{Framing, StrictError, StrictReader, declared_framing};

    fn read(input: &str) -> Result<(Framing, Vec<u8>), StrictError> {
        let mut reader = StrictReader::new(input.as_bytes());
        let head = reader.read_head()?;
        let framing = declared_framing(&head.fields)?.unwrap_or(Framing::None);
        Ok((framing, reader.read_body(framing)?.bytes))
    }

    #[test]
    fn reads_the_plain_forms() {
        assert_eq!(read("A\r\nB: c\r\n\r\n"), Ok((Framing::None, vec![])));
        assert_eq!(
            read("A\r\nContent-Length: 2\r\n\r\nxyz"),
            Ok((Framing::Length(2), b"xy".to_vec()))
        );
        assert_eq!(
            read("A\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT: u\r\n\r\n"),
            Ok((Framing::Chunked, b"x".to_vec()))
        );
        assert_eq!(read(""), Err(StrictError::Closed));
        assert_eq!(read("A\r\n"), Err(StrictError::Truncated));
        assert_eq!(
            read("A\r\nContent-Length: 2\r\n\r\nx"),
            Err(StrictError::Truncated)
        );
    }

    #[test]
    fn refuses_everything_else() {
        for input in [
            "A\nB: c\r\n\r\n",
            "A\r\nB : c\r\n\r\n",
            "A\r\nB: c\r\n d\r\n\r\n",
            "A\r\nB: c\rd\r\n\r\n",
            "A\r\nB: \x01\r\n\r\n",
            "A\r\nnothing\r\n\r\n",
            "A\r\nContent-Length: +1\r\n\r\nx",
            "A\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
            "A\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
            "A\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "A\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n",
            "A\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
            "A\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
        ] {
            assert!(
                matches!(read(input), Err(StrictError::Malformed(_))),
                "{input:?}"
            );
        }
    }
}
