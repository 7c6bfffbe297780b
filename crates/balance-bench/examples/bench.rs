//! `balance bench` without the proxy: `cargo run --release -p balance-bench --example bench -- --help`.

use std::process::ExitCode;

use clap::Parser;

/// The built-in backend and load generators of Balance
#[derive(clap::Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(subcommand)]
    command: balance_bench::BenchCommand,
}

fn main() -> anyhow::Result<ExitCode> {
    balance_bench::run(Arguments::parse().command)
}
