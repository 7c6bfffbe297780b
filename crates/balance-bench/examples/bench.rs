//! `balance bench` without the proxy: `cargo run --release -p balance-bench --example bench -- --help`.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

/// The built-in backend and load generators of Balance
#[derive(clap::Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(subcommand)]
    command: balance_bench::BenchCommand,
}

fn main() -> ExitCode {
    match balance_bench::run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // Nothing can be done when standard error is closed.
            let _ = writeln!(std::io::stderr(), "bench: {error:#}");
            ExitCode::from(2)
        }
    }
}
