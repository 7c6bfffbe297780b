//! Reads the robustness tables of balance-proto (tests/data/*.txt; the format is described at their top), to
//! play them over sockets.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::path::PathBuf;
use std::str::Chars;

/// What must become of a row's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Forwarded exactly as [`Row::forwarded`].
    Ok,
    /// Refused with this status; the other side sees nothing.
    Refused(u16),
    /// The head may have been forwarded; the body is refused with this status, or by closing where one was sent.
    BodyRefused(u16),
    /// The connection is closed without a word; the other side sees nothing.
    Closed,
    /// The sender stops in the middle of a body: the receiver never sees its end.
    Incomplete,
    /// More is awaited.
    Partial,
    /// Of HTTP/2: the stream is reset; the other side sees nothing.
    Reset,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `SM-01` and so on.
    pub rule: String,
    /// Unique within the rule.
    pub name: String,
    pub verdict: Verdict,
    /// The KEY=VALUE words of the header line.
    pub options: BTreeMap<String, String>,
    /// `>`: what is sent.
    pub input: Vec<u8>,
    /// The same, line by line: the fields of HTTP/2.
    pub lines: Vec<Vec<u8>>,
    /// `<`: what the other side gets.
    pub forwarded: Vec<u8>,
    /// `+`: what belongs to nobody, or to what comes next.
    pub rest: Vec<u8>,
    /// Where it stands in the file.
    pub line: usize,
}

impl Row {
    /// `SM-01 name (line 7)`, for messages.
    pub fn title(&self) -> String {
        format!("{} {} (line {})", self.rule, self.name, self.line)
    }

    pub fn option(&self, key: &str) -> Option<&str> {
        self.options.get(key).map(String::as_str)
    }
}

/// The rows of `requests.txt`.
///
/// # Panics
/// When the file is not there or not as described.
pub fn request_rows() -> Vec<Row> {
    load("requests.txt")
}

/// The rows of `responses.txt`.
///
/// # Panics
/// When the file is not there or not as described.
pub fn response_rows() -> Vec<Row> {
    load("responses.txt")
}

/// The rows of `proxy_headers.txt`.
///
/// # Panics
/// When the file is not there or not as described.
pub fn proxy_header_rows() -> Vec<Row> {
    load("proxy_headers.txt")
}

/// The rows of `client_hellos.txt`.
///
/// # Panics
/// When the file is not there or not as described.
pub fn client_hello_rows() -> Vec<Row> {
    load("client_hellos.txt")
}

/// The rows of `downgrade.txt`.
///
/// # Panics
/// When the file is not there or not as described.
pub fn downgrade_rows() -> Vec<Row> {
    load("downgrade.txt")
}

/// Parses a whole table.
///
/// # Errors
/// The number of the line that is not as described, and why.
pub fn parse_rows(text: &str) -> Result<Vec<Row>, String> {
    let mut rows: Vec<Row> = Vec::new();
    let mut is_open = false;
    for (index, line) in text.lines().enumerate() {
        let at = |problem: String| format!("line {}: {problem}", index + 1);
        let line = line.trim_start();
        if line.starts_with('#') {
            continue;
        }
        if line.is_empty() {
            is_open = false;
        } else if !is_open {
            rows.push(parse_header(line, index + 1).map_err(at)?);
            is_open = true;
        } else if let Some(row) = rows.last_mut() {
            let (mark, text) = line.split_once(' ').ok_or_else(|| at("no bytes".into()))?;
            let mut bytes = Vec::new();
            unescape(&mut text.chars().peekable(), None, &mut bytes).map_err(at)?;
            match mark {
                ">" => {
                    row.input.extend(&bytes);
                    row.lines.push(bytes);
                }
                "<" => row.forwarded.extend(bytes),
                "+" => row.rest.extend(bytes),
                _ => return Err(at(format!("`{mark}` is not >, < or +"))),
            }
        }
    }
    Ok(rows)
}

/// Removes the fields that Balance adds from the head of a recorded request: the tables leave them out.
pub fn without_added_fields(raw: &[u8]) -> Vec<u8> {
    const ADDED: [&str; 6] = [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-real-ip",
        "x-request-id",
        "via",
    ];
    let head_len = raw
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map_or(raw.len(), |at| at + 2);
    let (head, rest) = raw.split_at(head_len);
    let is_kept = |line: &&[u8]| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        !ADDED
            .iter()
            .any(|added| name.eq_ignore_ascii_case(added.as_bytes()))
    };
    let lines = head.split_inclusive(|byte| *byte == b'\n').filter(is_kept);
    lines.flatten().chain(rest).copied().collect()
}

fn load(name: &str) -> Vec<Row> {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.extend(["..", "balance-proto", "tests", "data", name]);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(!text.is_empty(), "{} cannot be read", path.display());
    match parse_rows(&text) {
        Ok(rows) => rows,
        Err(problem) => {
            assert!(problem.is_empty(), "{name}: {problem}");
            Vec::new()
        }
    }
}

fn parse_header(line: &str, number: usize) -> Result<Row, String> {
    let mut words = line.split_whitespace();
    let [Some(rule), Some(name), Some(verdict)] = [words.next(), words.next(), words.next()] else {
        return Err("a row begins with rule, name and verdict".into());
    };
    let option = |word: &str| {
        let pair = word
            .split_once('=')
            .ok_or_else(|| format!("`{word}` is not KEY=VALUE"))?;
        Ok((pair.0.to_owned(), pair.1.to_owned()))
    };
    Ok(Row {
        rule: rule.to_owned(),
        name: name.to_owned(),
        verdict: parse_verdict(verdict)?,
        options: words.map(option).collect::<Result<_, String>>()?,
        input: Vec::new(),
        lines: Vec::new(),
        forwarded: Vec::new(),
        rest: Vec::new(),
        line: number,
    })
}

fn parse_verdict(word: &str) -> Result<Verdict, String> {
    let status = |text: &str| {
        let status = text
            .parse::<u16>()
            .ok()
            .filter(|status| (400..600).contains(status));
        status.ok_or_else(|| format!("`{word}` is no verdict"))
    };
    match word {
        "ok" => Ok(Verdict::Ok),
        "partial" => Ok(Verdict::Partial),
        "closed" => Ok(Verdict::Closed),
        "incomplete" => Ok(Verdict::Incomplete),
        "reset" => Ok(Verdict::Reset),
        _ => match word.strip_suffix("-body") {
            Some(text) => status(text).map(Verdict::BodyRefused),
            None => status(word).map(Verdict::Refused),
        },
    }
}

/// Appends the bytes that the text stands for, up to `end` or the end of the text.
fn unescape(
    text: &mut Peekable<Chars<'_>>,
    end: Option<char>,
    into: &mut Vec<u8>,
) -> Result<(), String> {
    while let Some(next) = text.next() {
        if Some(next) == end {
            return Ok(());
        }
        if next != '\\' {
            into.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match text.next() {
            Some('r') => into.push(b'\r'),
            Some('n') => into.push(b'\n'),
            Some('t') => into.push(b'\t'),
            Some('0') => into.push(0),
            Some('\\') => into.push(b'\\'),
            Some('x') => {
                let digits: String = text.by_ref().take(2).collect();
                into.push(u8::from_str_radix(&digits, 16).map_err(|_| format!("\\x{digits}"))?);
            }
            Some('(') => {
                let count: String = text.by_ref().take_while(|each| *each != ':').collect();
                let count: usize = count.parse().map_err(|_| format!("\\({count}:"))?;
                let mut once = Vec::new();
                unescape(text, Some(')'), &mut once)?;
                into.extend(once.repeat(count));
            }
            other => return Err(format!("unknown escape \\{other:?}")),
        }
    }
    match end {
        None => Ok(()),
        Some(end) => Err(format!("`{end}` is missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Verdict, downgrade_rows, parse_rows, request_rows, response_rows, without_added_fields,
    };

    #[test]
    fn rows_with_options_and_continued_bytes() {
        let text = "# comment\n\nSM-1 a 400-body paths=off\n  > x\\r\n  > \\(2:y\\(2:z))\n  # in it\n  + \\x7c\\\\\n\nSM-1 b ok\n  > q\n  < r\n";
        let rows = parse_rows(text).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].verdict, Verdict::BodyRefused(400));
        assert_eq!(rows[0].option("paths"), Some("off"));
        assert_eq!(rows[0].input, b"x\ryzzyzz");
        assert_eq!(rows[0].lines, [b"x\r".to_vec(), b"yzzyzz".to_vec()]);
        assert_eq!(rows[0].rest, b"|\\");
        assert_eq!((rows[1].line, rows[1].forwarded.as_slice()), (9, &b"r"[..]));
    }

    #[test]
    fn mistakes_name_their_line() {
        for text in [
            "SM-1 a",
            "SM-1 a 200",
            "SM-1 a ok b",
            "SM-1 a ok\n  ? x",
            "SM-1 a ok\n  > \\q",
        ] {
            assert!(parse_rows(text).unwrap_err().starts_with("line "), "{text}");
        }
    }

    #[test]
    fn the_tables_of_balance_proto_can_be_read() {
        for rows in [request_rows(), response_rows(), downgrade_rows()] {
            assert!(rows.len() > 50, "{}", rows.len());
            for row in &rows {
                assert!(!row.input.is_empty(), "{}", row.title());
                assert_eq!(
                    row.verdict == Verdict::Ok,
                    !row.forwarded.is_empty(),
                    "{}",
                    row.title()
                );
            }
        }
    }

    #[test]
    fn added_fields_are_removed_from_the_head_only() {
        let raw = b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: 1\r\nVIA: b\r\n\r\nVia: body";
        assert_eq!(
            without_added_fields(raw),
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\nVia: body"
        );
    }
}
