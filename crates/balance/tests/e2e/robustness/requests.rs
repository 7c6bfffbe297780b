//! Rows of requests: sent whole, and split at several places with the writes apart.

use balance_testkit::sm_data::{Row, Verdict, request_rows};
use balance_testkit::{Origin, Script};

use super::verdict::{Seen, judge, tail};
use super::{CANARY_ANSWER, Outcome, ROW_ANSWER, SMUGGLED_TARGET, failed, run_all};
use crate::proxy::Proxy;

/// One row, cut in two at one place.
struct Job<'r> {
    row: &'r Row,
    cut: usize,
}

/// What a row asks of the proxy and its backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Setup {
    config: String,
    /// Whether the backend answers before it reads the body.
    is_early: bool,
    /// The head of a request whose body is refused may be recorded late: such rows run by themselves.
    has_bad_body: bool,
}

impl Setup {
    fn of(row: &Row) -> Self {
        let more = match (row.option("paths"), row.option("underscores")) {
            (Some(paths), _) => format!(", paths: '{paths}'"),
            (_, Some(underscores)) => format!(", underscores_in_headers: {underscores}"),
            (None, None) => String::new(),
        };
        // The rows are those of HTTP/1: one of them is a preface of HTTP/2.
        let config = format!("http: {{ enable_http2: false{more} }}");
        Self {
            config,
            is_early: row.option("backend") == Some("early"),
            has_bad_body: !matches!(row.verdict, Verdict::Ok | Verdict::Refused(_)),
        }
    }
}

/// A proxy of its own for every thread: what its backend saw belongs to one row.
struct Bench {
    origin: Origin,
    proxy: Proxy,
}

impl Bench {
    fn new(setup: &Setup) -> Self {
        let origin = origin(setup.is_early);
        let proxy = Proxy::over(&[origin.addr()], &setup.config);
        Self { origin, proxy }
    }
}

/// What was recorded too late for its own row.
impl Drop for Bench {
    fn drop(&mut self) {
        let requests = self.origin.requests();
        let smuggled = requests.iter().find(|each| each.target == SMUGGLED_TARGET);
        assert!(
            smuggled.is_none() || std::thread::panicking(),
            "{smuggled:?}"
        );
    }
}

/// The backend of all rows.
pub(super) fn origin(is_early: bool) -> Origin {
    Origin::start(move |request| match request.target.as_str() {
        "/canary" => Script::ok(CANARY_ANSWER),
        _ if is_early => Script::ok(ROW_ANSWER).early(),
        _ => Script::ok(ROW_ANSWER),
    })
}

fn run(rows: &[Row], cuts: impl Fn(usize) -> Vec<usize>) {
    let mut setups: Vec<Setup> = rows.iter().map(Setup::of).collect();
    setups.sort();
    setups.dedup();
    for setup in &setups {
        let of_setup = rows.iter().filter(|row| Setup::of(row) == *setup);
        let jobs: Vec<Job> = of_setup
            .flat_map(|row| {
                let length = row.input.len() - row.rest.len();
                cuts(length).into_iter().map(move |cut| Job { row, cut })
            })
            .collect();
        if !jobs.is_empty() {
            run_all(&jobs, || Bench::new(setup), check);
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
    let mut client = bench.proxy.connect();
    let length = row.input.len() - row.rest.len();
    let (first, second) = row.input[..length].split_at(job.cut);
    let second = [second, tail(row).as_bytes()].concat();
    let judgement = judge(&mut client, &bench.origin, row, [first, &second]);
    let expected = match row.verdict {
        Verdict::Ok => Seen::Normal,
        Verdict::Refused(status) | Verdict::BodyRefused(status) => Seen::Reject(Some(status)),
        Verdict::Partial | Verdict::Incomplete | Verdict::Closed | Verdict::Reset => {
            Seen::Reject(None)
        }
    };
    let cut = format!("cut at {}", job.cut);
    if judgement.seen != expected {
        return failed(row, &cut, judgement.seen);
    }
    // A refusal says whose it is and why.
    let reason = judgement
        .answer
        .as_ref()
        .map(|answer| answer.header("proxy-status"));
    match (expected, reason) {
        (Seen::Reject(Some(_)), Some(Some(reason))) if reason.starts_with("balance; ") => Ok(()),
        (Seen::Reject(Some(_)), reason) => failed(row, &cut, reason),
        _ => Ok(()),
    }
}

/// Rows up to here are cut everywhere; the others at about this many places.
const SHORT_BYTES: usize = 20;
const CUTS: usize = 6;
