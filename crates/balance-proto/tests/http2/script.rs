//! The language of tests/data/http2.txt, which describes itself there: frames as lines of text.
//!
//! The fuzz targets take this file in by its path: the frames of the rows are their seeds.

use balance_proto::http2::frame::{FrameHeader, FrameKind, StreamId, flags};

/// One row.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) rule: String,
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) options: Vec<String>,
    pub(crate) steps: Vec<Step>,
    /// `<` and `=`
    pub(crate) expected: Vec<String>,
    /// Where it stands in the file.
    pub(crate) line: usize,
}

/// What happens to a connection.
#[derive(Debug)]
pub(crate) enum Step {
    /// `>`: bytes of the peer.
    Input(Vec<u8>),
    /// `!`: the caller's words.
    Action(Vec<String>),
}

impl Row {
    pub(crate) fn option(&self, key: &str) -> Option<&str> {
        let prefix = format!("{key}=");
        self.options.iter().find_map(|o| o.strip_prefix(&prefix))
    }

    pub(crate) fn has(&self, word: &str) -> bool {
        self.options.iter().any(|option| option == word)
    }

    /// All that the peer sends.
    #[allow(dead_code, reason = "only the fuzz targets need it")]
    pub(crate) fn input(&self) -> Vec<u8> {
        let inputs = self.steps.iter().filter_map(|step| match step {
            Step::Input(bytes) => Some(bytes.as_slice()),
            Step::Action(_) => None,
        });
        inputs.collect::<Vec<_>>().concat()
    }
}

/// Parses a whole table.
pub(crate) fn parse(text: &str) -> Result<Vec<Row>, String> {
    let mut rows: Vec<Row> = Vec::new();
    let mut is_open = false;
    for (index, line) in text.lines().enumerate() {
        let at = |problem: String| format!("line {}: {problem}", index + 1);
        let trimmed = line.trim();
        if trimmed.is_empty() {
            is_open = false;
        } else if trimmed.starts_with('#') {
            continue;
        } else if is_open {
            let row = rows.last_mut().ok_or("no row")?;
            let (mark, rest) = trimmed.split_once(' ').unwrap_or((trimmed, ""));
            match mark {
                ">" => row.steps.push(Step::Input(input(rest).map_err(at)?)),
                "!" => {
                    let words = rest.split_whitespace().map(str::to_owned);
                    row.steps.push(Step::Action(words.collect()));
                }
                "<" | "=" => {
                    let text = unescape(trimmed).map_err(at)?;
                    row.expected.push(text.escape_ascii().to_string());
                }
                _ => return Err(at(format!("`{mark}` is not >, !, < or ="))),
            }
        } else {
            let mut words = trimmed.split_whitespace().map(str::to_owned);
            let mut word = || {
                words
                    .next()
                    .ok_or_else(|| at("rule, name, role".to_owned()))
            };
            let (rule, name, role) = (word()?, word()?, word()?);
            rows.push(Row {
                rule,
                name,
                role,
                options: words.collect(),
                line: index + 1,
                ..Row::default()
            });
            is_open = true;
        }
    }
    Ok(rows)
}

/// One line of input: a frame, perhaps many times (`200x ping`; `+` in place of a stream counts on from the last).
fn input(text: &str) -> Result<Vec<u8>, String> {
    let (count, frame_text) = match text.split_once("x ") {
        Some((count, rest)) if count.bytes().all(|byte| byte.is_ascii_digit()) => {
            (count.parse().map_err(|_| "a count")?, rest)
        }
        _ => (1_u32, text),
    };
    if frame_text.starts_with("text ") {
        return frame(frame_text);
    }
    let mut out = Vec::new();
    for index in 0..count {
        // `*` is a new stream of a client: 1, 3, 5 …
        let id = (2 * index + 1).to_string();
        for part in frame_text.split(" & ") {
            out.extend(frame(&part.replace('*', &id))?);
        }
    }
    Ok(out)
}

fn frame(text: &str) -> Result<Vec<u8>, String> {
    let (head, fields) = match text.split_once(" | ") {
        Some((head, fields)) => (head, Some(fields)),
        None => (text, None),
    };
    let mut words = head.split_whitespace();
    let kind = words.next().ok_or("a frame")?;
    let words: Vec<&str> = words.collect();
    let number = |index: usize| -> Result<u32, String> {
        let word = words.get(index).ok_or(format!("`{text}`: too short"))?;
        word.parse().map_err(|_| format!("`{word}` is no number"))
    };
    let has = |word: &str| words.contains(&word);
    let option = |key: &str| words.iter().find_map(|word| word.strip_prefix(key));
    let mut builder = Builder::default();
    builder.flag(has("end"), flags::END_STREAM);
    builder.flag(has("ack"), flags::ACK);
    let bytes = match kind {
        "raw" => return hex(words.first().copied().unwrap_or("")),
        "text" => return unescape(head.strip_prefix("text ").unwrap_or("")),
        "frame" => {
            builder.payload = hex(words.get(3).copied().unwrap_or(""))?;
            builder.flags = number(1)? as u8;
            builder.build(FrameKind::of(number(0)? as u8), number(2)?)
        }
        "headers" | "continuation" => {
            builder.payload = match (fields, option("block=")) {
                (Some(fields), _) => block(fields)?,
                (None, Some(digits)) => hex(&String::from_utf8_lossy(&unescape(digits)?))?,
                (None, None) => Vec::new(),
            };
            builder.flag(!has("open"), flags::END_HEADERS);
            if let Some(on) = option("prio=") {
                let on: u32 = on.parse().map_err(|_| "prio=STREAM")?;
                builder.flag(true, flags::PRIORITY);
                builder.prefix(&[&on.to_be_bytes()[..], &[15]].concat());
            }
            builder.pad(option("pad="))?;
            let kind = match kind {
                "headers" => FrameKind::Headers,
                _ => FrameKind::Continuation,
            };
            builder.build(kind, number(0)?)
        }
        "data" => {
            builder.payload = vec![b'd'; number(1)? as usize];
            builder.pad(option("pad="))?;
            builder.build(FrameKind::Data, number(0)?)
        }
        "priority" => {
            builder.payload = [&number(1)?.to_be_bytes()[..], &[15]].concat();
            builder.build(FrameKind::Priority, number(0)?)
        }
        "reset" => {
            builder.payload = number(1)?.to_be_bytes().to_vec();
            builder.build(FrameKind::Reset, number(0)?)
        }
        "settings" => {
            for word in words.iter().filter(|word| **word != "ack") {
                let (id, value) = word.split_once('=').ok_or("settings ID=VALUE")?;
                let id: u16 = id.parse().map_err(|_| "settings ID=VALUE")?;
                let value: u32 = value.parse().map_err(|_| "settings ID=VALUE")?;
                builder.payload.extend(id.to_be_bytes());
                builder.payload.extend(value.to_be_bytes());
            }
            builder.build(FrameKind::Settings, 0)
        }
        "ping" => {
            builder.payload = match words.last() {
                Some(word) if word.len() == 8 => word.as_bytes().to_vec(),
                _ => b"01234567".to_vec(),
            };
            builder.build(FrameKind::Ping, 0)
        }
        "goaway" => {
            builder.payload = [number(0)?.to_be_bytes(), number(1)?.to_be_bytes()].concat();
            builder.build(FrameKind::GoAway, 0)
        }
        "window" => {
            builder.payload = number(1)?.to_be_bytes().to_vec();
            builder.build(FrameKind::WindowUpdate, number(0)?)
        }
        other => return Err(format!("`{other}` is no frame")),
    };
    Ok(bytes)
}

#[derive(Default)]
struct Builder {
    flags: u8,
    payload: Vec<u8>,
}

impl Builder {
    fn flag(&mut self, is_set: bool, flag: u8) {
        self.flags |= if is_set { flag } else { 0 };
    }

    fn prefix(&mut self, bytes: &[u8]) {
        self.payload.splice(0..0, bytes.iter().copied());
    }

    fn pad(&mut self, length: Option<&str>) -> Result<(), String> {
        if let Some(length) = length {
            let length: u8 = length.parse().map_err(|_| "pad=LENGTH")?;
            self.prefix(&[length]);
            let padded = self.payload.len() + usize::from(length);
            self.payload.resize(padded, 0);
            self.flag(true, flags::PADDED);
        }
        Ok(())
    }

    fn build(self, kind: FrameKind, stream: u32) -> Vec<u8> {
        let header = FrameHeader {
            length: self.payload.len() as u32,
            kind,
            flags: self.flags,
            stream: StreamId::new(stream),
        };
        [&header.to_bytes()[..], &self.payload].concat()
    }
}

/// `name: value | name: value`, with GET and POST for the fields that every request has.
fn block(fields: &str) -> Result<Vec<u8>, String> {
    let fields = fields
        .replace(
            "GET",
            ":method: GET | :scheme: http | :authority: a | :path: /",
        )
        .replace(
            "POST",
            ":method: POST | :scheme: http | :authority: a | :path: /",
        );
    let mut out = Vec::new();
    for field in fields.split(" | ") {
        let at = field.get(1..).and_then(|rest| rest.find(':'));
        let (name, value) = field.split_at(at.ok_or(format!("`{field}` has no colon"))? + 1);
        let value = value.strip_prefix(": ").or(value.strip_prefix(":"));
        out.extend(literal(&unescape(name)?, &unescape(value.unwrap_or(""))?));
    }
    Ok(out)
}

/// A literal field that is not indexed, exactly as it is (RFC 7541 §6.2.2).
pub(crate) fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        let mut length = text.len();
        if length < 0x7f {
            out.push(length as u8);
        } else {
            out.push(0x7f);
            length -= 0x7f;
            while length >= 0x80 {
                out.push(length as u8 | 0x80);
                length >>= 7;
            }
            out.push(length as u8);
        }
        out.extend_from_slice(text);
    }
    out
}

fn hex(digits: &str) -> Result<Vec<u8>, String> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let pair = std::str::from_utf8(pair).map_err(|error| error.to_string())?;
            u8::from_str_radix(pair, 16).map_err(|error| error.to_string())
        })
        .collect()
}

/// `\r \n \t \s \0 \xHH`, and `\(N:TEXT)` for TEXT N times.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        if character != '\\' {
            out.extend(character.to_string().bytes());
            continue;
        }
        let escape = rest.chars().next().ok_or("a lone backslash")?;
        rest = &rest[escape.len_utf8()..];
        match escape {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            's' => out.push(b' '),
            '0' => out.push(0),
            'x' => {
                let (digits, tail) = rest.split_at_checked(2).ok_or("\\x needs two digits")?;
                out.extend(hex(digits)?);
                rest = tail;
            }
            '(' => {
                let (inner, tail) = rest.split_once(')').ok_or("`)` is missing")?;
                let (count, inner) = inner.split_once(':').ok_or("\\(N:TEXT)")?;
                let count: usize = count.parse().map_err(|_| "\\(N:TEXT)")?;
                out.extend(inner.repeat(count).bytes());
                rest = tail;
            }
            other => return Err(format!("unknown escape `\\{other}`")),
        }
    }
    Ok(out)
}
