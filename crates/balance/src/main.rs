//! The `balance` binary: a command line over the other crates, and the process-wide choices (allocator,
//! panic hook, logging) that a library must not make.

mod cli;

use std::process::ExitCode;

/// It gives memory back after a peak (by a thread of its own, so that an idle process does, too), and can profile the
/// heap of a running process.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
