//! Reads the tables; their format is described at the top of tests/data/requests.txt.

use std::collections::BTreeMap;
use std::fmt::Debug;

/// One row.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) rule: String,
    pub(crate) name: String,
    pub(crate) verdict: String,
    pub(crate) options: BTreeMap<String, String>,
    /// `>`
    pub(crate) input: Vec<u8>,
    /// The same, line by line.
    pub(crate) lines: Vec<Vec<u8>>,
    /// `<`
    pub(crate) forwarded: Vec<u8>,
    /// `+`
    pub(crate) rest: Vec<u8>,
    /// Where it stands in the file.
    pub(crate) line: usize,
}

impl Row {
    pub(crate) fn option(&self, key: &str) -> Option<&str> {
        self.options.get(key).map(String::as_str)
    }
}

/// Verdict and options, as a check of a parser writes what it found.
pub(crate) fn expected(row: &Row) -> String {
    let options = row.options.iter();
    let options = options.map(|(key, value)| format!(" {key}={value}"));
    row.verdict.clone() + &options.collect::<String>()
}

/// Compares what was found with what the row expects.
pub(crate) fn compare(row: &Row, found: &str) -> Result<(), String> {
    let expected = expected(row);
    if found == expected {
        Ok(())
    } else {
        Err(format!("{found}, not {expected}"))
    }
}

/// Feeds a parser as a connection does, all bytes so far each time. A verdict other than `partial` stands, whatever
/// follows.
pub(crate) fn fed<V: PartialEq + Debug>(
    pieces: &[&[u8]],
    partial: V,
    parse: impl Fn(&[u8]) -> V,
) -> Result<V, String> {
    let mut received = Vec::new();
    let mut last = None;
    for piece in pieces {
        received.extend_from_slice(piece);
        let next = parse(&received);
        if let Some(last) = last.filter(|last| *last != partial && *last != next) {
            return Err(format!("{last:?} became {next:?}"));
        }
        last = Some(next);
    }
    Ok(last.unwrap_or(partial))
}

/// Parses a whole table.
pub(crate) fn parse(text: &str) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let mut open: Option<Row> = None;
    for (index, line) in text.lines().enumerate() {
        let at = |problem: String| format!("line {}: {problem}", index + 1);
        let trimmed = line.trim_start();
        if trimmed.is_empty() {
            rows.extend(open.take());
        } else if trimmed.starts_with('#') {
            continue;
        } else if let Some(row) = &mut open {
            let (mark, bytes) = trimmed
                .split_once(' ')
                .ok_or_else(|| at("no bytes".to_owned()))?;
            let bytes = unescape(bytes).map_err(at)?;
            match mark {
                ">" => {
                    row.input.extend(&bytes);
                    row.lines.push(bytes);
                }
                "<" => row.forwarded.extend(bytes),
                "+" => row.rest.extend(bytes),
                _ => return Err(at(format!("`{mark}` is not >, < or +"))),
            }
        } else {
            open = Some(parse_header(trimmed, index + 1).map_err(at)?);
        }
    }
    rows.extend(open);
    Ok(rows)
}

fn parse_header(line: &str, number: usize) -> Result<Row, String> {
    let mut words = line.split_whitespace();
    let mut word = || words.next().map(str::to_owned).ok_or("rule, name, verdict");
    let mut row = Row {
        rule: word()?,
        name: word()?,
        verdict: word()?,
        line: number,
        ..Row::default()
    };
    for option in words {
        let (key, value) = option
            .split_once('=')
            .ok_or_else(|| format!("`{option}` is not KEY=VALUE"))?;
        row.options.insert(key.to_owned(), value.to_owned());
    }
    Ok(row)
}

/// `\r \n \t \0 \\ \xHH` and `\(N:TEXT)`.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut rest = text.as_bytes();
    let bytes = unescape_until(&mut rest, None)?;
    Ok(bytes)
}

fn unescape_until(rest: &mut &[u8], end: Option<u8>) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    while let [byte, tail @ ..] = *rest {
        *rest = tail;
        if Some(*byte) == end {
            return Ok(out);
        }
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let (escape, tail) = rest.split_first().ok_or("a lone backslash")?;
        *rest = tail;
        match escape {
            b'r' => out.push(b'\r'),
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'0' => out.push(0),
            b'\\' => out.push(b'\\'),
            b'x' => {
                let (hex, tail) = rest.split_at_checked(2).ok_or("\\x needs two digits")?;
                let hex = std::str::from_utf8(hex).map_err(|error| error.to_string())?;
                out.push(u8::from_str_radix(hex, 16).map_err(|error| error.to_string())?);
                *rest = tail;
            }
            b'(' => {
                let count = unescape_until(rest, Some(b':'))?;
                let count: usize = String::from_utf8_lossy(&count)
                    .parse()
                    .map_err(|_| "\\( needs a number and a colon")?;
                out.extend(unescape_until(rest, Some(b')'))?.repeat(count));
            }
            other => return Err(format!("unknown escape `\\{}`", char::from(*other))),
        }
    }
    match end {
        None => Ok(out),
        Some(end) => Err(format!("`{}` is missing", char::from(end))),
    }
}

#[test]
fn escapes() {
    assert_eq!(unescape(r"a\r\n\t\0\\\x7c").unwrap(), b"a\r\n\t\0\\|");
    assert_eq!(unescape(r"\(2:x\(2:y)\n)").unwrap(), b"xyy\nxyy\n");
    assert!(unescape(r"\q").is_err() && unescape(r"\(2:x").is_err());
}
