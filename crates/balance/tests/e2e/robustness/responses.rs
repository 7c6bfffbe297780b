//! Rows of responses: from a backend that closes afterwards, from one that does not, and in pieces.

use std::sync::Arc;
use std::time::Duration;

use balance_testkit::sm_data::{Row, Verdict, response_rows};
use balance_testkit::{Field, Framing, Origin, RawClient, Response, Script, StrictError};

use super::{CANARY, CANARY_ANSWER, Outcome, failed, run_all};
use crate::proxy::Proxy;

/// How the backend sends a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// At once, then it closes.
    Whole,
    /// At once, and the connection stays.
    KeptOpen,
    /// With a pause at this byte, then it closes.
    Paused(usize),
    /// In pieces of this many bytes, then it closes.
    Pieces(usize),
}

struct Job<'r> {
    index: usize,
    row: &'r Row,
    sending: Sending,
}

struct Bench {
    origin: Origin,
    proxy: Proxy,
}

impl Bench {
    /// A backend that answers `/N/SENDING` with row N.
    fn new(rows: &Arc<Vec<Row>>) -> Self {
        let rows = Arc::clone(rows);
        let origin = Origin::start(move |request| match request.target.strip_prefix("/row/") {
            Some(rest) => script(&rows, rest),
            None => Script::ok(CANARY_ANSWER),
        });
        let proxy = Proxy::before(&origin);
        Self { origin, proxy }
    }
}

fn script(rows: &[Row], path: &str) -> Script {
    let (number, sending) = path.split_once('/').unwrap_or((path, ""));
    let row = &rows[number.parse::<usize>().unwrap_or_default()];
    let (kind, count) = sending.split_once('/').unwrap_or((sending, "0"));
    let count = count.parse().unwrap_or_default();
    let script = Script::raw(row.input.clone());
    match kind {
        "kept" => script,
        "paused" => script.pause_at(count, PAUSE).then_close(),
        "pieces" => script.in_pieces_of(count).then_close(),
        _ => script.then_close(),
    }
}

fn path(job: &Job) -> String {
    let number = job.index;
    match job.sending {
        Sending::Whole => format!("/row/{number}/whole/0"),
        Sending::KeptOpen => format!("/row/{number}/kept/0"),
        Sending::Paused(at) => format!("/row/{number}/paused/{at}"),
        Sending::Pieces(count) => format!("/row/{number}/pieces/{count}"),
    }
}

fn run(sendings: impl Fn(&Row) -> Vec<Sending>) {
    let rows = Arc::new(response_rows());
    let of_row = |(index, row)| {
        let job = move |sending| Job {
            index,
            row,
            sending,
        };
        sendings(row).into_iter().map(job)
    };
    let jobs: Vec<Job> = rows.iter().enumerate().flat_map(of_row).collect();
    run_all(&jobs, || Bench::new(&rows), check);
}

#[test]
fn every_response_row_from_a_backend_that_closes() {
    run(|_| vec![Sending::Whole]);
}

#[test]
fn every_response_row_in_parts() {
    run(|row| {
        // What comes behind a response comes with its last bytes: later it would be the answer to the
        // next request, and HTTP/1 has nothing to tell them apart.
        let length = row.input.len() - row.rest.len();
        let step = length / CUTS + 1;
        let mut sendings: Vec<_> = (1..length).step_by(step).map(Sending::Paused).collect();
        if row.rest.is_empty() {
            sendings.push(Sending::Pieces(step));
        }
        sendings
    });
}

/// The connection serves the canary exactly if the table says that it may.
#[test]
fn a_backend_connection_is_used_again_only_after_a_clean_response() {
    run(|row| {
        let ends_itself = row.verdict == Verdict::Ok && !ends_with_close(row);
        if ends_itself {
            vec![Sending::KeptOpen]
        } else {
            Vec::new()
        }
    });
}

fn ends_with_close(row: &Row) -> bool {
    let text = String::from_utf8_lossy(&row.input);
    let is_framed = ["Content-Length", "chunked", " 204", " 304", " 101"]
        .iter()
        .any(|mark| text.contains(mark));
    !is_framed && row.option("request") != Some("HEAD")
}

fn check(bench: &Bench, job: &Job) -> Outcome {
    let seen_before = bench.origin.requests().len();
    let mut client = bench.proxy.connect();
    let outcome = match job.row.verdict {
        Verdict::Ok => check_forwarded(&mut client, job),
        Verdict::Refused(status) => check_refused(&mut client, job, status),
        Verdict::Partial => check_refused(&mut client, job, 502),
        Verdict::BodyRefused(_) | Verdict::Incomplete | Verdict::Closed | Verdict::Reset => {
            check_broken(&mut client, job)
        }
    };
    let how = |failure: String| format!("{failure} [{:?}]", job.sending);
    outcome.map_err(how)?;
    if job.sending == Sending::KeptOpen {
        check_reuse(bench, job, seen_before).map_err(how)?;
    }
    Ok(())
}

fn request(job: &Job) -> String {
    let row = job.row;
    let method = row.option("request").unwrap_or("GET");
    let version = row.option("to").unwrap_or("1.1");
    let upgrade = match row.option("upgrade") {
        Some(_) => "Connection: Upgrade\r\nUpgrade: websocket\r\n",
        None if version == "1.0" => "Connection: keep-alive\r\n",
        None => "",
    };
    let path = path(job);
    format!("{method} {path} HTTP/{version}\r\nHost: test\r\n{upgrade}\r\n")
}

/// Sends the request and reads its responses, interim ones too.
fn responses(client: &mut RawClient, job: &Job, tail: &str) -> Result<Vec<Response>, StrictError> {
    let is_head = job.row.option("request") == Some("HEAD");
    client.send(request(job) + tail)?;
    let mut responses = Vec::new();
    loop {
        let response = client.read_any_response(is_head)?;
        let is_final = response.status >= 200 || response.status == 101;
        responses.push(response);
        if is_final {
            return Ok(responses);
        }
    }
}

fn check_forwarded(client: &mut RawClient, job: &Job) -> Outcome {
    let row = job.row;
    let is_head = row.option("request") == Some("HEAD");
    let is_tunnel = String::from_utf8_lossy(&row.forwarded).contains("HTTP/1.1 101 ");
    let tail = if is_tunnel { "" } else { CANARY };
    let seen = responses(client, job, tail)
        .map_err(|error| format!("{}: no response: {error}", row.title()))?;
    let expected = Response::parse_all(&row.forwarded, is_head)
        .map_err(|error| format!("{}: the table: {error}", row.title()))?;
    let [seen, expected] =
        [&seen, &expected].map(|all| all.iter().map(essence).collect::<Vec<_>>());
    if seen != expected {
        return failed(row, "forwarded", (seen, expected));
    }
    if is_tunnel {
        let tunnelled = client.read_exact(row.rest.len());
        return if tunnelled.as_ref() == Ok(&row.rest) {
            Ok(())
        } else {
            failed(row, "behind the 101", tunnelled)
        };
    }
    let is_open = row
        .forwarded
        .windows(17)
        .all(|window| window != b"Connection: close");
    check_canary(client, row, is_open)
}

fn check_refused(client: &mut RawClient, job: &Job, status: u16) -> Outcome {
    let row = job.row;
    let seen = responses(client, job, CANARY)
        .map_err(|error| format!("{}: no response: {error}", row.title()))?;
    let last = seen.last().ok_or("no response")?;
    let says_why = last.header("proxy-status").is_some();
    if last.status != status || !says_why {
        return failed(row, "response", (last.status, &last.fields));
    }
    check_canary(client, row, last.keeps_alive())
}

/// The client must not take what it gets for a whole response.
fn check_broken(client: &mut RawClient, job: &Job) -> Outcome {
    match responses(client, job, CANARY) {
        Err(StrictError::Truncated | StrictError::Reset | StrictError::Closed) => Ok(()),
        Ok(seen) if seen.last().is_some_and(|response| response.status == 502) => Ok(()),
        other => failed(job.row, "looks complete", other),
    }
}

fn check_canary(client: &mut RawClient, row: &Row, is_open: bool) -> Outcome {
    if !is_open {
        return if client.is_closed_by_peer() {
            Ok(())
        } else {
            failed(row, "still open", "")
        };
    }
    match client.read_response() {
        Ok(canary) if canary.text() == CANARY_ANSWER => Ok(()),
        other => failed(row, "canary", other),
    }
}

fn check_reuse(bench: &Bench, job: &Job, seen_before: usize) -> Outcome {
    let row = job.row;
    let seen = bench.origin.requests().split_off(seen_before);
    let may_be_reused = row.option("reuse") != Some("no");
    match seen.as_slice() {
        [request, canary] if canary.target == "/canary" => {
            let is_reused = request.connection == canary.connection;
            if is_reused == may_be_reused {
                Ok(())
            } else {
                failed(row, "reused", is_reused)
            }
        }
        // A tunnel, or a client of HTTP/1.0 whose body ended with its connection.
        [_] => Ok(()),
        _ => failed(row, "requests at the backend", &seen),
    }
}

/// What a client makes of a response: everything but the lines about its own connection, and where
/// chunks begin.
fn essence(response: &Response) -> (u16, String, Vec<Field>, Framing, String) {
    let is_own = |field: &Field| {
        let is_connection = field.name.eq_ignore_ascii_case("connection");
        let says_whether_it_stays = ["close", "keep-alive"].contains(&field.value.as_str());
        is_connection && says_whether_it_stays
    };
    let fields = response.fields.iter().filter(|field| !is_own(field));
    let line = response.raw.split(|byte| *byte == b'\r').next();
    (
        response.status,
        String::from_utf8_lossy(line.unwrap_or_default()).into_owned(),
        fields.cloned().collect(),
        response.framing,
        response.text(),
    )
}

/// At about how many places a row is cut.
const CUTS: usize = 12;
/// Long enough that what comes before and after is read apart.
const PAUSE: Duration = Duration::from_millis(4);
