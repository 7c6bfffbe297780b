//! `balance health`: for container health checks and scripts.

use std::process::ExitCode;
use std::time::Duration;

use super::console;
use super::process::{self, Method};

#[derive(Debug, clap::Args)]
pub(crate) struct HealthArgs {
    /// Ask whether it wants traffic, not only whether it is alive: a draining process is not ready
    #[arg(long)]
    ready: bool,

    /// How long to wait for the answer, in seconds
    #[arg(long, default_value_t = 5)]
    timeout: u64,
}

/// Exits with 0 when the process says so, else with 1.
pub(crate) fn run(args: &HealthArgs, path: &str) -> ExitCode {
    let (target, good, bad) = if args.ready {
        ("/ready", "ready", "not ready")
    } else {
        ("/health", "healthy", "not healthy")
    };
    let limit = Duration::from_secs(args.timeout);
    match process::ask(path, Method::GET, target, Vec::new(), limit) {
        Ok(answer) if answer.status == 200 => {
            console::line(good);
            ExitCode::SUCCESS
        }
        Ok(answer) => {
            let body = String::from_utf8_lossy(&answer.body);
            console::error(format_args!(
                "{bad} ({}): {}",
                answer.status,
                body.trim_end()
            ));
            ExitCode::FAILURE
        }
        Err(message) => {
            console::error(format_args!("{bad}: {message}"));
            ExitCode::FAILURE
        }
    }
}
