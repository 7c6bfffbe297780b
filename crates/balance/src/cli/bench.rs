//! `balance bench`: measuring, all of it in balance-bench.

use std::process::ExitCode;

use balance_bench::BenchCommand;

use super::{USAGE, console};

/// Runs a benchmark command to its end. Its results have the codes 0, 1 and 3; 2 says that nothing was measured.
pub(crate) fn run(command: BenchCommand) -> ExitCode {
    balance_bench::run(command).unwrap_or_else(|error| {
        console::error(format_args!("{error:#}"));
        ExitCode::from(USAGE)
    })
}
