//! `balance run`: the process that serves.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use balance_admin::Server;
use balance_config::{Diagnostic, LogFormat, Logging, Severity, Sources};
use balance_control::{Listening, Observer, ProfileFiles, RunError, RunOptions};

use super::console;
use super::files::SystemSources;
use super::logging::Log;
use super::snippets::ShownSources;
use super::version::{REVISION, VERSION};

/// Runs with the configuration at `path` until a signal ends it.
pub(crate) fn run(path: &str, profiles: ProfileFiles) -> ExitCode {
    let observer = Announcer {
        log: Log::install(),
    };
    let result = balance_control::run(RunOptions {
        sources: Box::new(SystemSources),
        path: path.to_owned(),
        version: VERSION,
        revision: REVISION,
        admin: Box::new(Server::new()),
        has_admin_socket: true,
        profiles,
        observer: Box::new(observer),
    });
    finish(result)
}

/// The exit code, after the reasons for a failure are told.
pub(crate) fn finish(result: Result<(), RunError>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    if let RunError::Config(diagnostics) = &error {
        refuse_config("not started", diagnostics);
    } else {
        console::error(&error);
    }
    ExitCode::FAILURE
}

/// Tells what is wrong with the configuration, and that `what` is so because of it.
pub(crate) fn refuse_config(what: &str, diagnostics: &[Diagnostic]) {
    show(diagnostics);
    let errors = diagnostics
        .iter()
        .filter(|one| one.severity == Severity::Error)
        .count();
    console::error(format_args!(
        "{what}: {} in the configuration",
        count(errors, "error")
    ));
}

/// With snippets for whoever sits there, one line each for a journal.
fn show(diagnostics: &[Diagnostic]) {
    let sources = ShownSources::default();
    let is_terminal = io::stderr().is_terminal();
    for diagnostic in diagnostics {
        if is_terminal {
            // Read for its text alone; without it the place is named and no line is shown.
            let _ = sources.read(&diagnostic.place.file, SHOWN_BYTES_MAX);
            let colours = console::takes_colours(&io::stderr());
            console::note(format_args!("{}\n", sources.show(diagnostic, colours)));
        } else {
            console::note(diagnostic);
        }
    }
}

/// As much as the loader reads of a file.
const SHOWN_BYTES_MAX: usize = 4 << 20;

/// `1 error`, `2 errors`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Says where the process listens: one line for each address, in a form that scripts may rely on, then
/// `ready`. In a JSON log they are events like all others.
struct Announcer {
    log: Log,
}

impl Observer for Announcer {
    fn on_logging(&mut self, logging: &Logging) {
        self.log.apply(logging);
    }

    fn on_listening(&mut self, added: &[Listening]) {
        for Listening {
            name,
            mode,
            address,
        } in added
        {
            match self.log.format() {
                LogFormat::Text => self.log.line(format_args!(
                    "listening name={name} mode={mode} address={address}"
                )),
                LogFormat::Json => tracing::info!(name, mode, address, "listening"),
            }
        }
    }

    fn on_ready(&mut self) {
        match self.log.format() {
            LogFormat::Text => self.log.line("ready"),
            LogFormat::Json => tracing::info!("ready"),
        }
    }
}
