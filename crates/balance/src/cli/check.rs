//! `balance check`: everything that is wrong with a configuration, without running it.

use std::io;
use std::process::ExitCode;

use balance_config::{Diagnostic, Place, Severity};
use balance_control::Checked;
use serde_json::{Value, json};

use super::console;
use super::run::count;
use super::snippets::ShownSources;

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The configuration, as with `-c`
    pub(crate) file: Option<String>,

    /// How to say it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people: each with the line it is about
    Text,
    /// One line each
    Short,
    /// For tools
    Json,
}

/// Exits with 0 for a valid configuration and with 1 for one that cannot be used.
pub(crate) fn run(args: &CheckArgs, path: &str) -> ExitCode {
    let sources = ShownSources::default();
    let checked = balance_control::check(&sources, path);
    match args.format {
        Format::Text => {
            let colours = console::takes_colours(&io::stdout());
            for diagnostic in &checked.diagnostics {
                console::line(format_args!("{}\n", sources.show(diagnostic, colours)));
            }
            show_verdict(&checked, path);
        }
        Format::Short => {
            for diagnostic in &checked.diagnostics {
                console::line(diagnostic);
            }
            show_verdict(&checked, path);
        }
        Format::Json => console::line(format_args!("{:#}", to_json(&checked, path))),
    }
    if checked.is_valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn show_verdict(checked: &Checked, path: &str) {
    let number = |severity: Severity| {
        checked
            .diagnostics
            .iter()
            .filter(|one| one.severity == severity)
            .count()
    };
    let verdict = if checked.is_valid {
        "valid"
    } else {
        "not valid"
    };
    let mut counts = Vec::new();
    for (severity, noun) in [(Severity::Error, "error"), (Severity::Warning, "warning")] {
        if number(severity) > 0 {
            counts.push(count(number(severity), noun));
        }
    }
    let separator = if counts.is_empty() { "" } else { ": " };
    console::line(format_args!(
        "{path} is {verdict}{separator}{}",
        counts.join(", ")
    ));
}

fn to_json(checked: &Checked, path: &str) -> Value {
    json!({
        "file": path,
        "valid": checked.is_valid,
        "problems": checked.diagnostics.iter().map(problem).collect::<Vec<_>>(),
    })
}

fn problem(diagnostic: &Diagnostic) -> Value {
    let related = diagnostic.related.iter().map(|(at, what)| {
        let mut value = place(at);
        value["message"] = json!(what);
        value
    });
    let mut value = place(&diagnostic.place);
    value["severity"] = json!(diagnostic.severity.name());
    value["message"] = json!(diagnostic.message);
    value["help"] = json!(diagnostic.help);
    value["related"] = json!(related.collect::<Vec<_>>());
    value
}

fn place(place: &Place) -> Value {
    json!({
        "file": &*place.file,
        "line": place.line,
        "column": place.column,
        "end_line": place.end_line,
        "end_column": place.end_column,
    })
}
