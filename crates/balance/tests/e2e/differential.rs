//! Differential runs against origins that people use: what each says that it was asked is what Balance believes that
//! it asked, over many seeded mutations of requests on pipelined connections.
//!
//! ```text
//!   batches ──► Balance ──► tap ──► nginx, Apache, Node, Python, gunicorn
//!                  │         │         │
//!             access log   bytes    its own log        joined by X-Request-ID
//! ```
//!
//! `BALANCE_DIFFERENTIAL_SEED` and `BALANCE_DIFFERENTIAL_COUNT` (mutations over all origins) change a run; a failure names them.

mod evidence;
mod messages;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use balance_testkit::sm_data::request_rows;
use balance_testkit::{
    FaultProxy, PATIENCE, Process, Program, RawClient, RealOrigin, StrictError, TempDir, pause,
};

use crate::programs::must_be_here;
use crate::subject::BINARY;
use evidence::Evidence;
use messages::{Batch, Corpus, markers_in};

/// How a run is drawn.
#[derive(Clone, Copy, Debug)]
struct Draw {
    seed: u64,
    /// Mutations at each origin.
    count: usize,
}

#[test]
fn origins_see_the_requests_that_balance_believes_it_sent() {
    let seed = number_of("BALANCE_DIFFERENTIAL_SEED").unwrap_or(SEED);
    let wanted = number_of("BALANCE_DIFFERENTIAL_COUNT").unwrap_or(COUNT) as usize;
    let programs = Program::WITNESSES.map(|program| (program, program.is_available()));
    let draw = Draw {
        seed,
        count: wanted.div_ceil(programs.len()),
    };
    let decided = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (program, is_available) in programs {
            if !is_available {
                must_be_here(program.name());
                continue;
            }
            let (decided, failures) = (&decided, &failures);
            scope.spawn(move || {
                let (count, problems) = run(program, draw);
                decided.fetch_add(count, Ordering::Relaxed);
                let named = problems
                    .into_iter()
                    .map(|each| format!("{}: {each}", program.name()));
                failures.lock().unwrap().extend(named);
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    let shown: Vec<_> = failures.iter().take(SHOWN).cloned().collect();
    assert!(
        failures.is_empty(),
        "{} problems with BALANCE_DIFFERENTIAL_SEED={seed} BALANCE_DIFFERENTIAL_COUNT={wanted}:\n{}",
        failures.len(),
        shown.join("\n")
    );
    let expected = programs
        .iter()
        .filter(|(_, is_available)| *is_available)
        .count()
        * draw.count;
    let decided = decided.into_inner();
    assert!(
        decided >= expected,
        "{decided} of {expected} mutations were decided about"
    );
}

/// Plays the batches at one origin. Returns how many requests Balance decided about, and what is wrong.
fn run(program: Program, draw: Draw) -> (usize, Vec<String>) {
    let origin = RealOrigin::start_witness(program).unwrap();
    let tap = FaultProxy::start(origin.addr());
    let folder = TempDir::new("differential").unwrap();
    let log = folder.path().join("access.log");
    let mut balance = Process::start(
        BINARY,
        &format!(
            "version: 2\nperformance: {{ worker_threads: 1 }}\nshutdown: {{ delay: 0, limit: 5s }}\n\
             admin: {{ listen: '127.0.0.1:0' }}\nlogging: {{ format: json, access_log: '{}' }}\n\
             listeners:\n- {{ name: web, listen: '127.0.0.1:0', mode: http, pool: p }}\n\
             pools: {{ p: {{ backends: [ {{ name: b, address: '{}' }} ] }} }}\n",
            log.display(),
            tap.addr()
        ),
    )
    .unwrap();
    let mut problems = play(balance.listener("web"), draw);
    // A drain writes the log to its end.
    balance.terminate();
    let log = std::fs::read_to_string(log).unwrap();
    let mut evidence = Evidence::new(&tap.sent(), &log);
    let deadline = Instant::now() + PATIENCE;
    loop {
        evidence.take_sights(origin.sights().unwrap());
        // Some origins write behind their answer.
        if evidence.is_whole() || Instant::now() > deadline {
            break;
        }
        pause(Duration::from_millis(20));
    }
    problems.extend(evidence.check());
    (evidence.decided(), problems)
}

fn play(balance: SocketAddr, draw: Draw) -> Vec<String> {
    let corpus = Corpus::new(&request_rows());
    let next = AtomicUsize::new(0);
    let drawn = AtomicUsize::new(0);
    let problems = Mutex::new(Vec::new());
    // Not all of a batch is decided about: a refusal ends its connection, and what is cut off may ask for nothing.
    let wanted = draw.count + draw.count / 5;
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while drawn.load(Ordering::Relaxed) < wanted {
                    let batch =
                        Batch::draw(draw.seed, next.fetch_add(1, Ordering::Relaxed), &corpus);
                    drawn.fetch_add(batch.requests(), Ordering::Relaxed);
                    if let Err(problem) = exchange(balance, &batch) {
                        problems
                            .lock()
                            .unwrap()
                            .push(format!("batch {}: {problem}", batch.number));
                    }
                }
            });
        }
    });
    problems.into_inner().unwrap()
}

/// Sends a batch over one connection. Whoever answers says to what: only requests of this batch, each once and in
/// their order.
fn exchange(balance: SocketAddr, batch: &Batch) -> Result<(), String> {
    let mut client = RawClient::connect(balance).map_err(|error| error.to_string())?;
    // What is refused early closes early.
    let _ = client.send_parts(&batch.parts());
    let _ = client.half_close();
    let answers = match client.read_to_end() {
        Ok(answers) => answers,
        Err(StrictError::Reset) => return Ok(()),
        Err(error) => return Err(format!("hangs: {error}: {}", batch.bytes.escape_ascii())),
    };
    let mut seen = answers
        .split(|byte| *byte == b'\n')
        .filter(|line| line.starts_with(b"X-Seen: "))
        .flat_map(|line| markers_in(line).into_iter().take(1));
    let mut own = batch.markers();
    match seen.find(|marker| !own.any(|each| each == *marker)) {
        Some(marker) => Err(format!(
            "answered {marker}, which is of another batch, out of order or twice: {}",
            batch.bytes.escape_ascii()
        )),
        None => Ok(()),
    }
}

fn number_of(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap())
}

const SEED: u64 = 1;
/// Over all origins.
const COUNT: u64 = 20_000;
const CLIENTS: usize = 6;
const SHOWN: usize = 12;
