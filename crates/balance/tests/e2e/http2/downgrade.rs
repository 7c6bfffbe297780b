//! Every row of the table from HTTP/2 to HTTP/1 and back over sockets. Requests against a strict backend: the verdict,
//! what the backend got, and that the next request of the connection is served as itself. Responses: what the client got.

use std::collections::BTreeMap;
use std::sync::Arc;

use balance_testkit::sm_data::{Row, Verdict, downgrade_rows, without_added_fields};
use balance_testkit::{Origin, Process, Script};
use fluke_hpack::Decoder;

use super::raw::{END_STREAM, HEADERS, RawHttp2, push_field};
use crate::subject::Config;

const PROTOCOL_ERROR: u32 = 1;

#[test]
fn every_row_of_the_table_is_judged_and_forwarded_as_it_says() {
    let rows = downgrade_rows();
    let requests = rows
        .iter()
        .filter(|row| row.option("side") != Some("response"));
    let mut by_config: BTreeMap<String, Vec<&Row>> = BTreeMap::new();
    for row in requests {
        by_config.entry(config_of(row)).or_default().push(row);
    }
    let mut failures = Vec::new();
    let mut count = 0;
    for (config, rows) in by_config {
        let origin = Origin::start(|request| match request.target.as_str() {
            "/canary" => Script::ok("canary"),
            _ => Script::ok("row"),
        });
        let process = Config::http(&[origin.addr()]).with(&config).start();
        for row in rows {
            count += 1;
            if let Err(why) = judge(&process, &origin, row) {
                failures.push(format!("{}: {why}", row.title()));
            }
        }
        failures.extend(origin.violations());
    }
    assert!(count >= 80, "{count} rows");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn config_of(row: &Row) -> String {
    let http = match (row.option("paths"), row.option("underscores")) {
        (Some(paths), _) => format!("http: {{ paths: '{paths}' }}\n"),
        (_, Some(underscores)) => format!("http: {{ underscores_in_headers: {underscores} }}\n"),
        (None, None) => String::new(),
    };
    // The name that the row of loops stands for.
    format!("{http}via_name: balance-00000000")
}

fn judge(process: &Process, origin: &Origin, row: &Row) -> Result<(), String> {
    let before = origin.requests().len();
    let mut client = RawHttp2::connect(process.listener("web"));
    let stream = send(&mut client, row);
    let seen = match client.response(stream) {
        Ok((200, body)) if body == b"row" => Verdict::Ok,
        Ok((status, _)) => Verdict::Refused(status),
        Err(PROTOCOL_ERROR) => Verdict::Reset,
        Err(code) => return Err(format!("reset with {code}")),
    };
    if seen != row.verdict {
        return Err(format!("{seen:?} instead of {:?}", row.verdict));
    }
    let canary = client.ask("/canary");
    let answer = client.response(canary);
    if answer != Ok((200, b"canary".to_vec())) {
        return Err(format!("the next request got {answer:?}"));
    }
    let requests = origin.requests().split_off(before);
    let [forwarded @ .., canary] = requests.as_slice() else {
        return Err("the backend saw nothing".to_owned());
    };
    if canary.target != "/canary" {
        return Err(format!("the backend saw {} last", canary.target));
    }
    match (row.verdict, forwarded) {
        (Verdict::Ok, [request]) => {
            let head = without_added_fields(&request.raw);
            match head.starts_with(&row.forwarded) {
                true => Ok(()),
                false => Err(format!("forwarded {}", head.escape_ascii())),
            }
        }
        (Verdict::Ok, _) => Err(format!("{} requests", forwarded.len())),
        // Where the head was read before its content, the backend may have got the beginning.
        (_, seen) => match seen.iter().find(|request| request.is_complete) {
            None => Ok(()),
            Some(request) => Err(format!("the backend saw {}", request.target)),
        },
    }
}

/// Sends a row's fields and what belongs to them; its stream.
fn send(client: &mut RawHttp2, row: &Row) -> u32 {
    let mut block = Vec::new();
    for line in &row.lines {
        if line == b"GET" {
            let get = [
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "a"),
            ];
            for (name, value) in get {
                push_field(&mut block, name.as_bytes(), value.as_bytes());
            }
            continue;
        }
        // The first octet may be the colon of a pseudo-header field.
        let colon = 1 + line[1..].iter().position(|byte| *byte == b':').unwrap();
        let value = &line[colon + 1..];
        let value = value.strip_prefix(b" ").unwrap_or(value);
        push_field(&mut block, &line[..colon], value);
    }
    let content = match row.option("content") {
        Some(length) => Some(length.parse().unwrap()),
        None => (row.option("body") == Some("open")).then_some(0),
    };
    let content = content.map(|length| vec![b'd'; length]);
    client.ask_whole(&block, content.as_deref())
}

#[test]
fn every_row_of_responses_reaches_the_client_as_it_says() {
    let rows: Arc<Vec<Row>> = Arc::new(downgrade_rows());
    let is_response = |row: &Row| row.option("side") == Some("response");
    let answers = Arc::clone(&rows);
    let origin = Origin::start(move |request| {
        let row = request.target.strip_prefix("/row/").unwrap();
        Script::raw(answer(&answers[row.parse::<usize>().unwrap()])).then_close()
    });
    let process = Config::http(&[origin.addr()]).start();
    let mut failures = Vec::new();
    let mut count = 0;
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| is_response(row)) {
        count += 1;
        let head = ask(&process, row, index);
        let is_right = match row.verdict {
            Verdict::Refused(status) => head.starts_with(&format!(":status: {status}\n")),
            _ => head.as_bytes() == row.forwarded,
        };
        if !is_right {
            failures.push(format!("{}: {}", row.title(), head.escape_debug()));
        }
    }
    assert!(count >= 15, "{count} rows");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A row's head, the content that belongs to it, and the response that an interim one announces.
fn answer(row: &Row) -> Vec<u8> {
    let head = String::from_utf8_lossy(&row.input);
    let is_about_itself = row.option("request") == Some("HEAD")
        || head.starts_with("HTTP/1.1 204")
        || head.starts_with("HTTP/1.1 304");
    let content = match head.split("Content-Length: ").nth(1) {
        _ if is_about_itself => String::new(),
        _ if head.starts_with("HTTP/1.1 10") => {
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned()
        }
        Some(rest) => "d".repeat(rest.split("\r\n").next().unwrap().parse().unwrap()),
        None if head.contains("chunked") => "1\r\nd\r\n0\r\n\r\n".to_owned(),
        None => "d".to_owned(),
    };
    [&row.input, content.as_bytes()].concat()
}

/// The first head that a client gets, field by field.
fn ask(process: &Process, row: &Row, index: usize) -> String {
    let mut client = RawHttp2::connect(process.listener("web"));
    let method = row.option("request").unwrap_or("GET");
    client.begin(method, &format!("/row/{index}"), &[], END_STREAM);
    let head = client.read_kind(HEADERS);
    let fields = Decoder::new().decode(&head.payload).unwrap();
    let lines = fields.iter().map(|(name, value)| {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        format!("{}: {}\n", text(name), text(value))
    });
    // What we add to every response.
    lines.filter(|line| !line.starts_with("via: ")).collect()
}
