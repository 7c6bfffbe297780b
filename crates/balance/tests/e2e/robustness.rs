//! Every row of the robustness tables over sockets, against a strict backend: the verdict, what the
//! backend saw, and that nothing which follows on the connection slips through.

mod planted;
mod requests;
mod responses;
mod verdict;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use balance_testkit::sm_data::Row;

/// Follows a row on its connection. It must be answered exactly when the connection may live.
const CANARY: &str = "GET /canary HTTP/1.1\r\nHost: canary\r\n\r\n";
const CANARY_ANSWER: &str = "canary";
/// What the backend answers to the rows of requests.
const ROW_ANSWER: &str = "row";
/// What requests inside of bodies ask for: nobody else does, so the backend must never see it.
const SMUGGLED_TARGET: &str = "/admin";

/// Runs each job on one of several threads, each with its own `bench`, and shows all that fail.
pub(super) fn run_all<J: Sync, B>(
    jobs: &[J],
    bench: impl Fn() -> B + Sync,
    run: impl Fn(&B, &J) -> Outcome + Sync,
) {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let bench = bench();
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(failure) = run(&bench, job) {
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    let shown = failures.iter().take(40).cloned().collect::<Vec<_>>();
    assert!(
        failures.is_empty(),
        "{} of {} failed:\n{}",
        failures.len(),
        jobs.len(),
        shown.join("\n")
    );
}

/// What is wrong, with the row's title.
pub(super) type Outcome = Result<(), String>;

fn failed(row: &Row, what: &str, seen: impl std::fmt::Debug) -> Outcome {
    Err(format!("{}: {what}: {seen:?}", row.title()))
}

/// Most of a run is waiting for the other side to have read.
pub(super) const THREADS: usize = 8;
