//! The access log: whatever a client sends, a line is one line, and reading it gives back what was
//! written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use balance_core::Cause;
use balance_telemetry::{AccessRecord, PhaseTimes, TimestampCache};

use crate::corpus::request_inputs;
use crate::input::{Input, encode_text};

/// The input is the fields of a record.
pub fn check(input: &[u8]) {
    let mut input = Input::new(input);
    let choice = input.byte();
    let cause = Cause::ALL[input.below(Cause::COUNT)];
    let number = u64::from(input.byte()) << (choice & 31);
    let [method, path, host, request_id, trace_id, referer] = std::array::from_fn(|_| input.text());
    let user_agent = input.rest();
    let record = AccessRecord {
        ts_ms: number.wrapping_mul(1_000_003) % (1 << 43),
        request_id,
        trace_id,
        client: match choice >> 5 {
            0 => None,
            1 => Some(IpAddr::V6(Ipv6Addr::from(u128::from(number)))),
            _ => Some(IpAddr::V4(Ipv4Addr::from(number as u32))),
        },
        listener: "web",
        route: "api \"1\"",
        pool: "",
        backend: "b\\1",
        method,
        host,
        path,
        protocol: "HTTP/1.1",
        status: u16::from(choice) * 3,
        cause,
        bytes_in: number,
        bytes_out: u64::MAX - number,
        duration_us: number,
        phases: PhaseTimes {
            wait_us: (choice & 1 == 0).then_some(number),
            total_us: Some(number),
            ..PhaseTimes::default()
        },
        attempts: u32::from(choice),
        user_agent,
        referer,
    };
    check_text(&record);
    check_json(&record);
}

/// The requests of the tables, as if their parts had been logged.
pub fn seeds() -> Vec<Vec<u8>> {
    request_inputs()
        .iter()
        .map(|request| {
            let mut words = request.split(|byte| *byte == b' ');
            let mut seed = vec![0x40, 0, 7];
            for _ in 0..6 {
                seed.extend(encode_text(words.next().unwrap_or_default()));
            }
            seed.extend_from_slice(request);
            seed
        })
        .collect()
}

fn check_text(record: &AccessRecord<'_>) {
    let mut line = Vec::new();
    record.encode_text(&mut TimestampCache::default(), &mut line);
    let line = String::from_utf8(line).expect("text");
    let body = line.strip_suffix('\n').expect("a line ends");
    assert!(
        body.bytes().all(|byte| matches!(byte, b' '..=b'~')),
        "one line of visible ASCII"
    );

    let mut rest = Line(body);
    let client = record
        .client
        .map_or("unix:".to_owned(), |ip| ip.to_string());
    assert_eq!(rest.until(" - - ["), client);
    rest.until("] ");
    let request = [
        &capped(record.method)[..],
        b" ",
        &capped(record.path),
        b" HTTP/1.1",
    ]
    .concat();
    assert_eq!(rest.quoted(), request);
    assert_eq!(rest.until(" "), "");
    assert_eq!(rest.until(" "), record.status.to_string());
    assert_eq!(rest.until(" "), record.bytes_out.to_string());
    for field in [record.referer, record.user_agent] {
        let written = if field.is_empty() { b"-" } else { field };
        assert_eq!(rest.quoted(), capped(written));
        assert_eq!(rest.until(" "), "");
    }
    for (name, field) in [
        ("host", record.host),
        ("listener", record.listener.as_bytes()),
        ("route", record.route.as_bytes()),
        ("pool", record.pool.as_bytes()),
        ("backend", record.backend.as_bytes()),
        ("cause", record.cause.name().as_bytes()),
        ("request_id", record.request_id),
        ("trace_id", record.trace_id),
    ] {
        assert_eq!(rest.until("="), name);
        let written = if field.is_empty() { b"-" } else { field };
        assert_eq!(unescape(rest.until(" ")), capped(written), "{name}");
    }
    assert_eq!(rest.until("="), "bytes_in");
    assert_eq!(rest.until(" "), record.bytes_in.to_string());
}

/// What is left of a line.
struct Line<'a>(&'a str);

impl<'a> Line<'a> {
    /// Up to the first `end`, which is gone too.
    fn until(&mut self, end: &str) -> &'a str {
        let (before, after) = self.0.split_once(end).expect("the rest of a line");
        self.0 = after;
        before
    }

    /// A quoted field, decoded.
    fn quoted(&mut self) -> Vec<u8> {
        let text = self.0.strip_prefix('"').expect("a quote");
        let mut is_escaped = false;
        let end = text.bytes().position(|byte| {
            let ends = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            ends
        });
        let (field, after) = text.split_at(end.expect("a closing quote"));
        self.0 = &after[1..];
        unescape(field)
    }
}

/// As Apache's readers undo it: `\"`, `\\` and `\xHH`.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        let (escape, after) = rest.split_first().expect("something behind a backslash");
        rest = after;
        if *escape != b'x' {
            bytes.push(*escape);
            continue;
        }
        let (digits, after) = rest.split_at(2);
        rest = after;
        let digits = std::str::from_utf8(digits).expect("ASCII");
        bytes.push(u8::from_str_radix(digits, 16).expect("two hex digits"));
    }
    bytes
}

fn check_json(record: &AccessRecord<'_>) {
    let mut line = Vec::new();
    record.encode_json(&mut TimestampCache::default(), &mut line);
    let line = String::from_utf8(line).expect("text");
    let body = line.strip_suffix('\n').expect("a line ends");
    assert!(!body.contains(char::is_control), "one line");

    let parsed: serde_json::Value = serde_json::from_str(body).expect("valid JSON");
    let members = parsed.as_object().expect("an object");
    assert_eq!(members.len(), MEMBERS, "{members:?}");
    for (name, field) in [
        ("method", record.method),
        ("path", record.path),
        ("host", record.host),
        ("request_id", record.request_id),
        ("trace_id", record.trace_id),
        ("listener", record.listener.as_bytes()),
        ("route", record.route.as_bytes()),
        ("pool", record.pool.as_bytes()),
        ("backend", record.backend.as_bytes()),
        ("cause", record.cause.name().as_bytes()),
        ("protocol", record.protocol.as_bytes()),
    ] {
        assert_eq!(members[name], readable(&capped(field)), "{name}");
    }
    assert_eq!(members["status"], record.status);
    assert_eq!(members["bytes_in"], record.bytes_in);
    assert_eq!(members["bytes_out"], record.bytes_out);
    assert_eq!(members["attempts"], record.attempts);
    assert_eq!(members["wait"].is_null(), record.phases.wait_us.is_none());
}

/// docs/operations.md: a field is cut at 1,024 bytes.
fn capped(field: &[u8]) -> Vec<u8> {
    let mut capped = field[..field.len().min(FIELD_BYTES_MAX)].to_vec();
    if capped.len() < field.len() {
        capped.extend_from_slice(b"...");
    }
    capped
}

/// What is not UTF-8 is written as `\xHH`, which is all that JSON can do about it.
fn readable(field: &[u8]) -> String {
    let mut text = String::new();
    for chunk in field.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

const FIELD_BYTES_MAX: usize = 1024;
/// The members of a line, which are always all there.
const MEMBERS: usize = 23;
