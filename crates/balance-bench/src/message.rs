//! Where heads, lines and bodies of HTTP/1 messages end: what reading requests and reading responses share.

/// A body, or what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Bytes that are still to come.
    Exact(u64),
    ChunkSize,
    /// Chunk data that is still to come, its CRLF included.
    ChunkData(u64),
    Trailers,
    /// It ends with the connection: responses only (RFC 9112 §6.3 item 8).
    UntilClose,
}

/// What the front of the bytes was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many bytes of the body; more is to come.
    Used(usize),
    /// So many bytes, and they are its last.
    Ended(usize),
    /// A line that is not complete yet.
    Partial,
    Malformed,
}

impl Body {
    /// Takes what it can of `rest`, which must not be empty unless the body is.
    pub(crate) fn step(&mut self, rest: &[u8]) -> Step {
        match *self {
            Self::Exact(left) => {
                let used = take(rest, left);
                *self = Self::Exact(left - used as u64);
                if left == used as u64 {
                    Step::Ended(used)
                } else {
                    Step::Used(used)
                }
            }
            Self::ChunkSize => {
                let Some(line) = find_line(rest) else {
                    return Step::Partial;
                };
                *self = match chunk_size(&rest[..line]) {
                    Some(0) => Self::Trailers,
                    Some(size) => Self::ChunkData(size + 2),
                    None => return Step::Malformed,
                };
                Step::Used(line)
            }
            Self::ChunkData(left) => {
                let used = take(rest, left);
                *self = if left == used as u64 {
                    Self::ChunkSize
                } else {
                    Self::ChunkData(left - used as u64)
                };
                Step::Used(used)
            }
            Self::Trailers => match find_line(rest) {
                None => Step::Partial,
                Some(line) if line <= 2 => Step::Ended(line),
                Some(line) => Step::Used(line),
            },
            Self::UntilClose => Step::Used(rest.len()),
        }
    }
}

/// What the fields of a head say about the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    /// None: neither Content-Length nor Transfer-Encoding.
    pub(crate) body: Option<Body>,
    /// None: no Connection option about it, so that the version decides.
    pub(crate) keep_alive: Option<bool>,
    pub(crate) expects_continue: bool,
}

/// Reads the lines behind the first one. None: a length or coding that does not tell where the body ends.
pub(crate) fn parse_fields<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Fields> {
    let mut fields = Fields::default();
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // The length first: nearly every field is told apart by it, without comparing.
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                fields.body = Some(Body::Exact(decimal(value)?));
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                value.eq_ignore_ascii_case(b"chunked").then_some(())?;
                fields.body = Some(Body::ChunkSize);
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    if option.eq_ignore_ascii_case(b"close") {
                        fields.keep_alive = Some(false);
                    } else if option.eq_ignore_ascii_case(b"keep-alive") {
                        fields.keep_alive = Some(true);
                    }
                }
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                fields.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
            }
            _ => {}
        }
    }
    Some(fields)
}

/// The lines of a head, without their ends.
pub(crate) fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split(|byte| *byte == b'\n')
        .map(|line| line.trim_ascii_end())
}

/// The length of the head, its empty line included.
pub(crate) fn find_head_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = find_line(&bytes[at..])?;
        at += line;
        if line == 1 || (line == 2 && bytes[at - 2] == b'\r') {
            return Some(at);
        }
    }
}

/// `Some(Some(n))`: an empty line of n bytes. `Some(None)`: perhaps the start of one.
pub(crate) fn empty_line(rest: &[u8]) -> Option<Option<usize>> {
    match rest {
        [b'\r', b'\n', ..] => Some(Some(2)),
        [b'\r'] => Some(None),
        [b'\n', ..] => Some(Some(1)),
        _ => None,
    }
}

/// The length of the first line, its LF included.
fn find_line(bytes: &[u8]) -> Option<usize> {
    bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .map(|end| end + 1)
}

fn take(rest: &[u8], left: u64) -> usize {
    usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()))
}

fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// RFC 9112 §7.1; extensions are ignored.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
