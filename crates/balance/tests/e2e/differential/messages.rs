//! Batches of requests: good ones in many forms, and a last one that was mutated without mercy.

use balance_testkit::SeededNumbers;
use balance_testkit::sm_data::Row;

/// What mutations start from, besides requests that are made up.
pub(super) struct Corpus(Vec<Vec<u8>>);

impl Corpus {
    /// The rows of the robustness table that are not about size.
    pub(super) fn new(rows: &[Row]) -> Self {
        let inputs = rows.iter().map(|row| row.input.clone());
        Self(
            inputs
                .filter(|input| input.len() < CORPUS_BYTES_MAX)
                .collect(),
        )
    }
}

/// What one client sends over one connection.
pub(super) struct Batch {
    pub(super) number: usize,
    pub(super) bytes: Vec<u8>,
    requests: usize,
    /// Where its writes end.
    cuts: Vec<usize>,
}

impl Batch {
    /// The batch of this number: it depends on nothing else but the seed of the run.
    pub(super) fn draw(seed: u64, number: usize, corpus: &Corpus) -> Self {
        let mut numbers =
            SeededNumbers::new(seed ^ (number as u64).wrapping_mul(0x2545_f491_4f6c_dd1d));
        let requests = 1 + numbers.below(6);
        let mut bytes = Vec::new();
        for index in 1..requests {
            bytes.extend(good(&mut numbers, &marker(number, index)));
        }
        // A refusal ends the connection, so what is likely to be refused comes last.
        bytes.extend(wild(&mut numbers, &marker(number, requests), corpus));
        let mut cuts: Vec<usize> = (0..numbers.below(3))
            .map(|_| numbers.below(bytes.len() + 1))
            .collect();
        cuts.sort_unstable();
        Self {
            number,
            bytes,
            requests,
            cuts,
        }
    }

    pub(super) fn requests(&self) -> usize {
        self.requests
    }

    /// The writes.
    pub(super) fn parts(&self) -> Vec<&[u8]> {
        let mut parts = Vec::new();
        let mut rest = &self.bytes[..];
        let mut start = 0;
        for cut in &self.cuts {
            let (part, tail) = rest.split_at(cut - start);
            parts.push(part);
            rest = tail;
            start = *cut;
        }
        parts.push(rest);
        parts
    }

    /// The marker of each request, in order.
    pub(super) fn markers(&self) -> impl Iterator<Item = String> {
        let number = self.number;
        (1..=self.requests).map(move |index| marker(number, index))
    }
}

/// All whole markers in a line. A damaged one is none: it ends with a sum over the rest.
pub(super) fn markers_in(line: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(line).into_owned();
    let words = text.split(|each: char| !(each.is_ascii_alphanumeric() || each == '-'));
    let is_whole = |word: &&str| {
        let parts: Vec<&str> = word.split('-').collect();
        let [number, index, _] = parts[..] else {
            return false;
        };
        let numbers = [number, index].map(|part| part.strip_prefix('m').unwrap_or(part).parse());
        matches!(numbers, [Ok(number), Ok(index)] if marker(number, index) == **word)
    };
    words.filter(is_whole).map(str::to_owned).collect()
}

fn marker(number: usize, index: usize) -> String {
    let sum = SeededNumbers::new((number * 64 + index) as u64).next_u64();
    format!("m{number}-{index}-{:08x}", sum >> 32)
}

/// A request that must be forwarded.
fn good(numbers: &mut SeededNumbers, marker: &str) -> Vec<u8> {
    let method = *numbers.one_of(METHODS);
    let target = *numbers.one_of(TARGETS);
    let mut lines = vec![format!("X-Marker: {marker}")];
    lines.push(field(numbers, "Host", HOSTS));
    for _ in 0..numbers.below(6) {
        let (name, values) = *numbers.one_of(FIELDS);
        lines.push(field(numbers, name, values));
    }
    let body = *numbers.one_of(BODIES);
    let framed = match numbers.below(3) {
        0 => String::new(),
        1 => {
            lines.push(format!("Content-Length: {}", body.len()));
            body.to_owned()
        }
        _ => {
            lines.push(field(numbers, "Transfer-Encoding", &["chunked", "Chunked"]));
            chunked(numbers, body)
        }
    };
    shuffle(numbers, &mut lines);
    format!(
        "{method} {target} HTTP/1.1\r\n{}\r\n\r\n{framed}",
        lines.join("\r\n")
    )
    .into_bytes()
}

/// A field line in one of the forms that mean the same.
fn field(numbers: &mut SeededNumbers, name: &str, values: &[&str]) -> String {
    let name = match numbers.below(4) {
        0 => name.to_ascii_lowercase(),
        1 => name.to_ascii_uppercase(),
        _ => name.to_owned(),
    };
    let value = *numbers.one_of(values);
    let [before, after] =
        [[" ", "", "  ", " "], ["", "", " ", ""]].map(|spaces| spaces[numbers.below(4)]);
    format!("{name}:{before}{value}{after}")
}

fn chunked(numbers: &mut SeededNumbers, body: &str) -> String {
    let mut out = String::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, tail) = rest.split_at(1 + numbers.below(rest.len()));
        let extension = *numbers.one_of(EXTENSIONS);
        out.push_str(&match numbers.below(3) {
            0 => format!("{:X}{extension}\r\n{chunk}\r\n", chunk.len()),
            1 => format!("{:04x}{extension}\r\n{chunk}\r\n", chunk.len()),
            _ => format!("{:x}\r\n{chunk}\r\n", chunk.len()),
        });
        rest = tail;
    }
    let trailers = *numbers.one_of(&["", "", "X-Sum: 1\r\n", "Content-Length: 9\r\nHost: b\r\n"]);
    out + "0\r\n" + trailers + "\r\n"
}

fn shuffle(numbers: &mut SeededNumbers, lines: &mut [String]) {
    for last in (1..lines.len()).rev() {
        lines.swap(last, numbers.below(last + 1));
    }
}

/// A good request or a row of the table, with one to four changes.
fn wild(numbers: &mut SeededNumbers, marker: &str, corpus: &Corpus) -> Vec<u8> {
    let mut message = match numbers.below(3) {
        0 => good(numbers, marker),
        _ => {
            let row: &Vec<u8> = numbers.one_of(&corpus.0);
            with_marker(row, marker)
        }
    };
    for _ in 0..1 + numbers.below(4) {
        change(numbers, &mut message, corpus);
    }
    message
}

fn with_marker(message: &[u8], marker: &str) -> Vec<u8> {
    let line = format!("X-Marker: {marker}\r\n");
    match message.windows(2).position(|pair| pair == b"\r\n") {
        Some(end) if end > 0 => {
            let (first, rest) = message.split_at(end + 2);
            [first, line.as_bytes(), rest].concat()
        }
        _ => message.to_vec(),
    }
}

fn change(numbers: &mut SeededNumbers, message: &mut Vec<u8>, corpus: &Corpus) {
    let at = numbers.below(message.len() + 1);
    match numbers.below(10) {
        0 => message.insert(at, *numbers.one_of(BYTES)),
        1 if at < message.len() => message[at] = *numbers.one_of(BYTES),
        2 if at < message.len() => drop(message.remove(at)),
        3 if at < message.len() => message[at] ^= 0x20,
        4 => change_lines(numbers, message, |lines, from, _| {
            lines.insert(from, lines[from].clone())
        }),
        5 => change_lines(numbers, message, |lines, from, to| lines.swap(from, to)),
        6 => change_lines(numbers, message, |lines, from, _| drop(lines.remove(from))),
        7 => {
            let line = numbers.one_of(LINES).as_bytes().to_vec();
            change_lines(numbers, message, |lines, from, _| lines.insert(from, line));
        }
        8 => {
            let token = numbers.one_of(TOKENS).as_bytes();
            message.splice(at..at, token.iter().copied());
        }
        _ => {
            let other = numbers.one_of(&corpus.0);
            let from = numbers.below(other.len() + 1);
            let to = from + numbers.below((other.len() - from).min(SPLICE_BYTES_MAX) + 1);
            message.splice(at..at, other[from..to].iter().copied());
        }
    }
}

/// Does something to the lines of a message, of which `from` and `to` are two.
fn change_lines(
    numbers: &mut SeededNumbers,
    message: &mut Vec<u8>,
    act: impl FnOnce(&mut Vec<Vec<u8>>, usize, usize),
) {
    let mut lines: Vec<Vec<u8>> = message
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    if lines.is_empty() {
        return;
    }
    let (from, to) = (numbers.below(lines.len()), numbers.below(lines.len()));
    act(&mut lines, from, to);
    *message = lines.concat();
}

const METHODS: &[&str] = &[
    "GET", "GET", "POST", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD", "PROPFIND",
];
const TARGETS: &[&str] = &[
    "/",
    "/a/b?c=d",
    "//a//b",
    "/a%20b;p=1?x=%2f",
    "/a?b?c&d=[1]",
    "http://a/x?y",
    "/.well-known/x",
    "/~u/:@!$&'()*+,;=",
];
const HOSTS: &[&str] = &["a", "a", "a", "A"];
const FIELDS: &[(&str, &[&str])] = &[
    ("Accept", &["*/*", "text/html, */*;q=0.8"]),
    ("User-Agent", &["Mozilla/5.0 (X11; Linux)", "curl/8"]),
    ("Cookie", &["a=b; c=d", "\u{e4}=\u{fc}"]),
    ("X-A", &["1", "", "a, b", "\"q\", (c"]),
    ("X_A", &["dropped"]),
    ("Connection", &["keep-alive", "x-hop", ""]),
    ("X-Hop", &["1"]),
    ("TE", &["trailers", "gzip"]),
    ("Keep-Alive", &["timeout=5"]),
    ("X-Forwarded-For", &["192.0.2.9", "a, b"]),
    ("X-Request-ID", &["mine"]),
    (
        "Content-Type",
        &["text/plain", "application/x-www-form-urlencoded"],
    ),
    ("Upgrade", &["h2c", "websocket"]),
    ("Trailer", &["X-Sum"]),
    ("Via", &["1.1 other"]),
];
const BODIES: &[&str] = &[
    "",
    "x",
    "hello world",
    "\r\n\r\n",
    "0\r\n\r\n",
    "GET /admin HTTP/1.1\r\nHost: b\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "{\"a\": [1, 2, 3], \"b\": \"\\\\\"}",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a=1&b=2&c=0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
];
const EXTENSIONS: &[&str] = &["", "", ";a", ";a=b;c=\"d;\\\"e\""];
const LINES: &[&str] = &[
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Host: b\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive, x-marker\r\n",
    "Expect: 100-continue\r\n",
    "X-A: folded\r\n b\r\n",
    "X-A: 1\n",
    "Upgrade: websocket\r\n",
    "GET /admin HTTP/1.1\r\n",
    "0\r\n",
    "5\r\nhello\r\n",
    "\r\n",
];
const TOKENS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    " ",
    "\t",
    "\0",
    ":",
    ";",
    ",",
    "chunked",
    "Transfer-Encoding: chunked\r\n",
    "0\r\n\r\n",
    "HTTP/1.1",
    "HTTP/1.0",
    "/../",
    "%2e",
    "%00",
    "//",
    "#",
    "\\",
    "@",
    "http://a",
    "Host: ",
    "\u{e4}",
    "ffffffff",
    "0x",
    "+",
    "-",
    "_",
];
const BYTES: &[u8] = b"\0\t\n\x0b\r !\"#%'()+,-./0159:;<=>?@AZ[\\]^_`az{|}~\x7f\x80\xa0\xff";
const CORPUS_BYTES_MAX: usize = 2_000;
const SPLICE_BYTES_MAX: usize = 40;
