//! Lines for whoever sits at the terminal. A reader that has gone away is no reason to fail.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// A line of output.
pub(crate) fn line(text: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Output that ends its lines itself.
pub(crate) fn text(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// A line that is not output: it must not end up in a pipe.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Why a command failed.
pub(crate) fn error(text: impl Display) {
    note(format_args!("balance: {text}"));
}

/// Whether colours belong into what is written there: on a terminal, unless `NO_COLOR` is set.
pub(crate) fn takes_colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
