//! The built-in backend and load generators: `balance bench` and the origins of `balance demo`.
//!
//! They measure from outside: nothing here knows how the proxy works inside.

mod amount;
mod backend;
mod compare;
mod connections;
mod descriptors;
mod duration;
mod failures;
mod histogram;
mod http;
mod interrupt;
mod latency;
mod link;
mod message;
mod overhead;
mod page;
mod progress;
mod response;
mod source;
mod summary;
mod target;
mod targets;
mod tcp;
mod threads;
mod tls;

use std::process::ExitCode;

pub use backend::{
    Backend, BackendArgs, BackendError, BackendOptions, IdentityError, IdentityFiles, Mode,
};
pub use compare::CompareArgs;
pub use connections::ConnectionsArgs;
pub use http::HttpArgs;
pub use latency::{LatencyArgs, LatencyMode};
pub use targets::TargetsArgs;
pub use tcp::{Bulk, TcpArgs};
pub use tls::TlsArgs;

/// The commands under `balance bench`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum BenchCommand {
    /// Run the built-in origin: HTTP/1, or TCP echo, sink and source
    Backend(BackendArgs),
    /// Measure an HTTP server or proxy: throughput, latencies and errors
    Http(HttpArgs),
    /// Measure latencies at a low load, and what a proxy adds to them
    Latency(LatencyArgs),
    /// Compare two sets of results, and fail when the new one is worse
    Compare(CompareArgs),
    /// Measure the project's targets, and say which are met
    Targets(TargetsArgs),
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
        BenchCommand::Http(args) => http::run(&args),
        BenchCommand::Latency(args) => latency::run(&args),
        BenchCommand::Compare(args) => compare::run(&args),
        BenchCommand::Targets(args) => targets::run(&args),
        BenchCommand::Tcp(args) => tcp::run(&args),
        BenchCommand::Connections(args) => connections::run(&args),
    }
}
