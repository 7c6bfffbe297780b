//! `balance schema`: what a configuration may say, for editors and for people.

use std::process::ExitCode;

use super::console;

#[derive(Debug, clap::Args)]
pub(crate) struct SchemaArgs {
    /// The page that lists every key, in Markdown, in place of the JSON Schema
    #[arg(long)]
    reference: bool,
}

pub(crate) fn run(args: &SchemaArgs) -> ExitCode {
    if args.reference {
        console::text(&balance_config::reference());
    } else {
        console::line(format_args!("{:#}", balance_config::schema()));
    }
    ExitCode::SUCCESS
}
