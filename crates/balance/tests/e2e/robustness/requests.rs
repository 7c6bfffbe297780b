//! Rows of requests: sent whole, and split at several places with the writes apart.

use balance_testkit::sm_data::{Row, Verdict, request_rows, without_added_fields};
use balance_testkit::{Origin, RawClient, Recorded, Response, Script};

use super::{CANARY, CANARY_ANSWER, Outcome, failed, run_all};
use crate::proxy::Proxy;

/// One row, cut in two at one place.
struct Job<'r> {
    row: &'r Row,
    cut: usize,
}

/// A proxy of its own for every thread: what its backend saw belongs to one row.
struct Bench {
    origin: Origin,
    proxy: Proxy,
}

impl Bench {
    fn new(options: &str) -> Self {
        let origin = Origin::start(|request| match request.target.as_str() {
            "/canary" => Script::ok(CANARY_ANSWER),
            _ => Script::ok("row"),
        });
        let proxy = Proxy::over(&[origin.addr()], options);
        Self { origin, proxy }
    }
}

/// The configuration that a row asks for.
fn options(row: &Row) -> String {
    match (row.option("paths"), row.option("underscores")) {
        (Some(paths), _) => format!("http: {{ paths: '{paths}' }}"),
        (_, Some(underscores)) => format!("http: {{ underscores_in_headers: {underscores} }}"),
        (None, None) => String::new(),
    }
}

fn has_bad_body(row: &Row) -> bool {
    !matches!(row.verdict, Verdict::Ok | Verdict::Refused(_))
}

fn run(rows: &[Row], cuts: impl Fn(usize) -> Vec<usize>) {
    let mut all_options: Vec<String> = rows.iter().map(options).collect();
    all_options.sort();
    all_options.dedup();
    // Apart, because the head of a request whose body is refused may be recorded late.
    for (options_of_run, body_is_bad) in all_options
        .iter()
        .flat_map(|each| [(each, false), (each, true)])
    {
        let of_run = rows
            .iter()
            .filter(|row| options(row) == *options_of_run && has_bad_body(row) == body_is_bad);
        let jobs: Vec<Job> = of_run
            .flat_map(|row| {
                let length = row.input.len() - row.rest.len();
                cuts(length).into_iter().map(move |cut| Job { row, cut })
            })
            .collect();
        if !jobs.is_empty() {
            run_all(&jobs, || Bench::new(options_of_run), check);
        }
    }
}

#[test]
fn every_request_row_in_one_write() {
    run(&request_rows(), |_| vec![0]);
}

#[test]
fn every_request_row_in_two_writes() {
    let mut rows = request_rows();
    // A first line without an end is not looked at again with every read; its deadline ends it then.
    rows.retain(|row| row.input.contains(&b'\n'));
    let cuts = |length: usize| {
        let step = match length {
            0..=SHORT_BYTES => 1,
            _ => length / CUTS + 1,
        };
        (1..length).step_by(step).collect()
    };
    run(&rows, cuts);
}

fn check(bench: &Bench, job: &Job) -> Outcome {
    let row = job.row;
    let seen_before = bench.origin.requests().len();
    let mut client = bench.proxy.connect();
    let outcome = match row.verdict {
        Verdict::Ok => check_forwarded(&mut client, job),
        Verdict::Refused(status) => check_refused(&mut client, job, status),
        Verdict::BodyRefused(status) => check_refused(&mut client, job, status),
        Verdict::Partial | Verdict::Incomplete => check_unfinished(&mut client, job),
    };
    let cut = |failure: String| format!("{failure} [cut at {}]", job.cut);
    let is_answered = outcome.map_err(cut)?;
    let seen = bench.origin.requests().split_off(seen_before);
    check_backend(bench, row, &seen, is_answered).map_err(cut)
}

/// Sends the row and the canary, the row cut in two.
fn send(client: &mut RawClient, job: &Job, tail: &str) {
    let length = job.row.input.len() - job.row.rest.len();
    let (first, second) = job.row.input[..length].split_at(job.cut);
    // A first line without an end would continue with the canary.
    let tail = if job.row.input.contains(&b'\n') {
        tail
    } else {
        ""
    };
    let second = [second, tail.as_bytes()].concat();
    // What is refused early closes early: the answer tells, not the rest of the writes.
    let _ = client.send_parts(&[first, &second]);
}

/// Returns whether the canary was answered.
fn check_forwarded(client: &mut RawClient, job: &Job) -> Result<bool, String> {
    let row = job.row;
    send(client, job, CANARY);
    let response = if row.input.starts_with(b"HEAD ") {
        client.read_head_response()
    } else {
        client.read_response()
    };
    let response = response.map_err(|error| format!("{}: no response: {error}", row.title()))?;
    if response.status != 200 {
        failed(row, "not forwarded", (response.status, response.text()))?;
    }
    if !response.keeps_alive() {
        return if client.is_closed_by_peer() {
            Ok(false)
        } else {
            failed(row, "still open after Connection: close", "").map(|()| false)
        };
    }
    match client.read_response() {
        Ok(canary) if canary.text() == CANARY_ANSWER => Ok(true),
        other => failed(row, "canary", other).map(|()| false),
    }
}

fn check_refused(client: &mut RawClient, job: &Job, status: u16) -> Result<bool, String> {
    let row = job.row;
    send(client, job, CANARY);
    let response = client
        .read_response()
        .map_err(|error| format!("{}: no response: {error}", row.title()))?;
    let says_why = response
        .header("proxy-status")
        .is_some_and(|value| value.starts_with("balance; "));
    if response.status != status || !says_why || response.keeps_alive() {
        failed(row, "response", outline(&response))?;
    }
    if !client.is_closed_by_peer() {
        failed(row, "still open", "")?;
    }
    Ok(false)
}

fn check_unfinished(client: &mut RawClient, job: &Job) -> Result<bool, String> {
    send(client, job, "");
    client.half_close().map_err(|error| error.to_string())?;
    if !client.is_closed_by_peer() {
        failed(job.row, "answered", "")?;
    }
    Ok(false)
}

/// What the backend may have seen: the row as the table says, then the canary if it was answered.
fn check_backend(bench: &Bench, row: &Row, seen: &[Recorded], is_answered: bool) -> Outcome {
    let (canaries, others): (Vec<_>, Vec<_>) =
        seen.iter().partition(|request| request.target == "/canary");
    if canaries.len() != usize::from(is_answered) {
        failed(row, "canaries at the backend", &canaries)?;
    }
    if let Some(violation) = seen.iter().find_map(|request| request.violation.as_ref()) {
        failed(row, "a strict backend refuses it", violation)?;
    }
    match row.verdict {
        Verdict::Ok => {
            let [request] = others.as_slice() else {
                return failed(row, "requests at the backend", &others);
            };
            let authority = bench.origin.addr().to_string();
            let expected = replace(&row.forwarded, b"backend.test", authority.as_bytes());
            let forwarded = without_added_fields(&request.raw);
            if forwarded != without_added_fields(&expected) || !request.is_complete {
                let expected = expected.escape_ascii().to_string();
                let forwarded = forwarded.escape_ascii().to_string();
                return failed(row, "forwarded", (forwarded, expected));
            }
        }
        Verdict::Refused(_) if !others.is_empty() => {
            return failed(row, "the backend saw something", &others);
        }
        _ if others.iter().any(|request| request.is_complete) => {
            return failed(row, "the backend saw its end", &others);
        }
        _ => {}
    }
    Ok(())
}

fn outline(response: &Response) -> String {
    format!("{} {:?}", response.status, response.fields)
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    match bytes.windows(from.len()).position(|window| window == from) {
        Some(at) => [&bytes[..at], to, &bytes[at + from.len()..]].concat(),
        None => bytes.to_vec(),
    }
}

/// Rows up to here are cut everywhere; the others at about this many places.
const SHORT_BYTES: usize = 40;
const CUTS: usize = 8;
