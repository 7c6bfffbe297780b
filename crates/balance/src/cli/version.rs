//! `balance version`.

use std::process::ExitCode;

use super::console;

/// The version of this build.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The revision of the source, where the build was told.
pub(crate) const REVISION: &str = match option_env!("BALANCE_REVISION") {
    Some(revision) => revision,
    None => "",
};

/// Prints name, version and revision.
pub(crate) fn run() -> ExitCode {
    let separator = if REVISION.is_empty() { "" } else { " " };
    console::line(format_args!("balance {VERSION}{separator}{REVISION}"));
    ExitCode::SUCCESS
}
