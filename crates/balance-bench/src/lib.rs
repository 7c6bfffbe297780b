//! The built-in backend and load generators: `balance bench` and the origins of `balance demo`.
//!
//! They measure from outside: nothing here knows how the proxy works inside.

mod backend;
mod descriptors;
mod interrupt;

use std::process::ExitCode;

pub use backend::{Backend, BackendArgs, BackendError, BackendOptions, Mode};

/// The commands under `balance bench`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum BenchCommand {
    /// Run the built-in origin: HTTP/1, or TCP echo, sink and source
    Backend(BackendArgs),
}

/// Runs a command to its end.
///
/// # Errors
/// What kept it from running; a target that fails is part of its result instead.
pub fn run(command: BenchCommand) -> anyhow::Result<ExitCode> {
    match command {
        BenchCommand::Backend(args) => backend::run(&args),
    }
}
