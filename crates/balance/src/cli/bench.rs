//! `balance bench`: measuring, all of it in balance-bench.

use std::process::ExitCode;

use balance_bench::BenchCommand;

use super::console;

/// Runs a benchmark command to its end.
pub(crate) fn run(command: BenchCommand) -> ExitCode {
    balance_bench::run(command).unwrap_or_else(|error| {
        console::error(format_args!("{error:#}"));
        ExitCode::FAILURE
    })
}
