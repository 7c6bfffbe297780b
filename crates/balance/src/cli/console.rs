//! Lines for whoever sits at the terminal. A reader that has gone away is no reason to fail.

use std::fmt::Display;
use std::io::{self, Write};

/// A line of output.
pub(crate) fn line(text: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// A line that is not output: it must not end up in a pipe.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Why a command failed.
pub(crate) fn error(text: impl Display) {
    note(format_args!("balance: {text}"));
}
