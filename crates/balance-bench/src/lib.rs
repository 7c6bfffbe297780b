//! The built-in backend and load generators: `balance bench` and the origins of `balance demo`.
//!
//! They measure from outside: nothing here knows how the proxy works inside.

mod backend;
mod connections;
mod descriptors;
mod failures;
mod histogram;
mod interrupt;
mod target;
mod tcp;

use std::process::ExitCode;

pub use backend::{Backend, BackendArgs, BackendError, BackendOptions, Mode};
pub use connections::ConnectionsArgs;
pub use tcp::{Bulk, TcpArgs};

/// The commands under `balance bench`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum BenchCommand {
    /// Run the built-in origin: HTTP/1, or TCP echo, sink and source
    Backend(BackendArgs),
    /// Measure a TCP proxy: echoed messages, new connections, or bulk data
    Tcp(TcpArgs),
    /// Open many idle keep-alive connections and see what they cost
    Connections(ConnectionsArgs),
}

/// Runs a command to its end.
///
/// # Errors
/// What kept it from running; a target that fails is part of its result instead.
pub fn run(command: BenchCommand) -> anyhow::Result<ExitCode> {
    match command {
        BenchCommand::Backend(args) => backend::run(&args),
        BenchCommand::Tcp(args) => tcp::run(&args),
        BenchCommand::Connections(args) => connections::run(&args),
    }
}
