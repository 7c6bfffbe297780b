//! `cargo bench`: what a request is made of, each operation alone: time, allocations and bytes.
//!
//! ```text
//! cargo bench                                        everything, compared with the run before
//! cargo bench -- router                              what has this in its name
//! cargo bench -- --save-baseline main                to be compared with later (`balance bench compare`); not `new`
//! cargo bench -- --profile-cpu cpu.pb.gz router      a CPU profile instead, for `go tool pprof`
//! cargo bench -- --profile-mem mem.pb.gz router      a heap profile (the bench target `heap` does it)
//! cargo bench -- --list-operations                   their names
//! ```
//!
//! `--count-instructions NAME` does one operation a thousand times for callgrind (benchmark/instructions.py).
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement prints, and stops when its own input is wrong"
)]

mod arguments;
mod balancing;
mod codec;
mod exchange;
mod operation;
mod parts;
mod router;
mod telemetry;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use criterion::Criterion;

use arguments::{filter, value_of};
use operation::Operation;

fn main() -> ExitCode {
    if std::env::args().any(|arg| arg == "--list-operations") {
        all().iter().for_each(|one| println!("{}", one.name));
    } else if let Some(file) = value_of("--profile-cpu") {
        profile_cpu(&file, &filter());
    } else if let Some(name) = value_of("--count-instructions") {
        let Some(operation) = all().into_iter().find(|one| one.name == name) else {
            println!("there is no operation {name}; --list-operations has them");
            return ExitCode::FAILURE;
        };
        let mut repeat = (operation.make)();
        repeat(WARM);
        count_instructions(&mut repeat);
    } else if names_latest_run() {
        eprintln!(
            "a baseline cannot be called `new`: the latest run is, and would be emptied. \
             Choose another name: --save-baseline main"
        );
        return ExitCode::FAILURE;
    } else if value_of("--profile-mem").is_none() {
        // That is the other bench target's, whose allocator can do it.
        measure();
    }
    ExitCode::SUCCESS
}

/// Whether a baseline is to be saved under the name of the latest run. Criterion would move the run onto itself, and
/// nothing would be left of it.
fn names_latest_run() -> bool {
    let args: Vec<String> = std::env::args().collect();
    args.contains(&"--save-baseline=new".to_owned())
        || args
            .windows(2)
            .any(|pair| pair == ["--save-baseline", "new"])
}

fn all() -> Vec<Operation> {
    let groups = [
        codec::operations(),
        router::operations(),
        balancing::operations(),
        telemetry::operations(),
        parts::operations(),
        exchange::operations(),
    ];
    groups.into_iter().flatten().collect()
}

fn measure() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
        .configure_from_args();
    for Operation { name, make } in all() {
        // Nothing is made for what the command line leaves out: a table of 10,000 routes takes a while.
        let (mut make, mut made) = (Some(make), None);
        criterion.bench_function(&name, |bencher| {
            let repeat = made.get_or_insert_with(|| {
                let make = make.take().expect("it is made once");
                let mut repeat = make();
                report_allocations(&name, &mut repeat);
                repeat
            });
            bencher.iter_custom(|times| {
                let begin = Instant::now();
                repeat(times);
                begin.elapsed()
            });
        });
    }
    criterion.final_summary();
}

/// Of one operation, once it has all that it uses again.
fn report_allocations(name: &str, repeat: &mut operation::Repeat) {
    repeat(WARM);
    let counted = allocation_counter::measure(|| repeat(WARM));
    let each = |total: u64| total as f64 / WARM as f64;
    println!(
        "{name}: {} allocations, {} bytes for each",
        each(counted.count_total),
        each(counted.bytes_total)
    );
}

fn profile_cpu(file: &str, filter: &str) {
    let chosen = all().into_iter().filter(|one| one.name.contains(filter));
    let mut made: Vec<_> = chosen.map(|one| (one.make)()).collect();
    assert!(!made.is_empty(), "no operation has `{filter}` in its name");
    let recording = balance_profile::CpuRecording::start().unwrap();
    let begin = Instant::now();
    while begin.elapsed() < PROFILE_FOR {
        made.iter_mut().for_each(|repeat| repeat(WARM));
    }
    std::fs::write(file, recording.finish().unwrap()).unwrap();
    println!("{file}: {} operations, {PROFILE_FOR:?}", made.len());
}

/// What callgrind counts: it is told this name.
#[inline(never)]
fn count_instructions(repeat: &mut operation::Repeat) {
    black_box(&mut *repeat)(WARM);
}

/// Enough for every buffer to have its size, and for an average of what happens seldom.
const WARM: u64 = 1000;
/// 500 samples.
const PROFILE_FOR: Duration = Duration::from_secs(5);
