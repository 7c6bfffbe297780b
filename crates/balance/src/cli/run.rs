//! `balance run`: the process that serves.

use std::process::ExitCode;

use balance_admin::Server;
use balance_config::{LogFormat, Severity};
use balance_control::{Listening, RunError, RunOptions};

use super::console;
use super::files::SystemSources;
use super::logging::Log;
use super::version::{REVISION, VERSION};

/// Runs with the configuration at `path` until a signal ends it.
pub(crate) fn run(path: &str) -> ExitCode {
    let mut log = Log::install();
    let result = balance_control::run(RunOptions {
        sources: Box::new(SystemSources),
        path: path.to_owned(),
        version: VERSION,
        revision: REVISION,
        admin: Box::new(Server::new()),
        has_admin_socket: true,
        on_logging: Box::new(move |settings| log.apply(settings)),
        on_ready: Box::new(announce),
    });
    finish(result)
}

/// The exit code, after the reasons for a failure are told.
pub(crate) fn finish(result: Result<(), RunError>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    if let RunError::Config(diagnostics) = &error {
        for diagnostic in diagnostics {
            console::note(diagnostic);
        }
        let is_error = |severity: &Severity| *severity == Severity::Error;
        let errors = diagnostics
            .iter()
            .map(|one| one.severity)
            .filter(is_error)
            .count();
        console::error(format_args!(
            "not started: {} in the configuration",
            count(errors, "error")
        ));
    } else {
        console::error(&error);
    }
    ExitCode::FAILURE
}

/// `1 error`, `2 errors`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// One line for each address, in a form that scripts may rely on, then `ready`. In a JSON log they are
/// events like all others.
fn announce(listening: &[Listening], format: LogFormat) {
    for one in listening {
        let Listening {
            name,
            mode,
            address,
        } = one;
        match format {
            LogFormat::Text => {
                console::note(format_args!(
                    "listening name={name} mode={mode} address={address}"
                ));
            }
            LogFormat::Json => tracing::info!(name, mode, address, "listening"),
        }
    }
    match format {
        LogFormat::Text => console::note("ready"),
        LogFormat::Json => tracing::info!("ready"),
    }
}
