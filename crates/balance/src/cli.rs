//! The command line: what can be said, and who does it.

mod argv;
mod bench;
mod cert;
mod check;
mod console;
mod demo;
mod explain;
mod files;
mod health;
mod logging;
mod panics;
mod process;
mod reload;
mod run;
mod schema;
mod snippets;
mod version;

use std::path::Path;
use std::process::ExitCode;

use balance_control::ProfileFiles;
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use version::VERSION;

/// A layer 4 and layer 7 proxy and load balancer.
///
/// Without a command it runs: `balance -c balance.yaml`. Try `balance demo` first.
#[derive(Debug, Parser)]
#[command(name = "balance", version = VERSION, max_term_width = 100)]
struct Cli {
    /// The configuration [default: balance.yaml, then /etc/balance/balance.yaml]
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "BALANCE_CONFIG",
        global = true
    )]
    config: Option<String>,

    #[command(flatten)]
    profiles: Profiles,

    #[command(subcommand)]
    command: Option<Command>,
}

/// Profiles of the whole run, by the original's flags.
#[derive(Debug, clap::Args)]
struct Profiles {
    /// Write a CPU profile of the run to this file at its end, for `go tool pprof`
    #[arg(long, value_name = "FILE", global = true, help_heading = RUN_ONLY)]
    cpuprofile: Option<String>,
    /// Write a heap profile to this file at the end of the run
    #[arg(long, value_name = "FILE", global = true, help_heading = RUN_ONLY)]
    memprofile: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run with a configuration, in the foreground (the default)
    Run,
    /// Three backends and Balance in front of them, to try with curl
    Demo(demo::DemoArgs),
    /// Say everything that is wrong with a configuration, without running it
    Check(check::CheckArgs),
    /// Print the JSON Schema of configurations, or the reference of all keys
    Schema(schema::SchemaArgs),
    /// Say what would become of a request, step by step, and why
    Explain(explain::ExplainArgs),
    /// Make the running process take its changed configuration, and wait for the result
    Reload(reload::ReloadArgs),
    /// Whether the running process answers: exit code 0 if so
    Health(health::HealthArgs),
    /// Certificates for tests
    #[command(subcommand)]
    Cert(cert::CertCommand),
    /// Measure: built-in backends and load generators
    #[command(subcommand)]
    Bench(Box<balance_bench::BenchCommand>),
    /// Print the version
    Version,
}

/// Parses the command line and does what it says. The exit code is 0 for success, 1 for failure and 2 for
/// a command line that makes no sense.
pub(crate) fn main() -> ExitCode {
    panics::install_hook();
    let args = argv::rewrite(std::env::args_os(), &Cli::command());
    // Print and exit by themselves: help and version with 0, mistakes with 2.
    let matches = Cli::command().get_matches_from(args);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // Not the one of the environment, which is there for whichever command needs it.
    let names_config = matches.value_source("config") == Some(ValueSource::CommandLine);
    if names_config && cli.command.as_ref().is_some_and(|it| !it.reads_config()) {
        console::error(
            "`-c` is for run, check, explain, reload and health: this command reads no configuration",
        );
        return ExitCode::from(USAGE);
    }
    let profiles = cli.profiles.files();
    if !matches!(cli.command, None | Some(Command::Run)) && cli.profiles.are_wanted() {
        console::error("-cpuprofile and -memprofile are for `balance run`");
        return ExitCode::from(USAGE);
    }
    let config = || config_path(cli.config.clone());
    match cli.command {
        None | Some(Command::Run) => with_config(config(), |path| run::run(path, profiles)),
        Some(Command::Demo(args)) => demo::run(&args),
        Some(Command::Check(args)) => {
            let path = args.file.clone().map_or_else(config, Ok);
            with_config(path, |path| check::run(&args, path))
        }
        Some(Command::Schema(args)) => schema::run(&args),
        Some(Command::Explain(args)) => with_config(config(), |path| explain::run(&args, path)),
        Some(Command::Reload(args)) => with_config(config(), |path| reload::run(&args, path)),
        Some(Command::Health(args)) => with_config(config(), |path| health::run(&args, path)),
        Some(Command::Cert(command)) => cert::run(&command),
        Some(Command::Bench(command)) => bench::run(*command),
        Some(Command::Version) => version::run(),
    }
}

impl Command {
    fn reads_config(&self) -> bool {
        match self {
            Self::Run | Self::Check(_) | Self::Explain(_) | Self::Reload(_) | Self::Health(_) => {
                true
            }
            Self::Demo(_) | Self::Schema(_) | Self::Cert(_) | Self::Bench(_) | Self::Version => {
                false
            }
        }
    }
}

impl Profiles {
    fn files(&self) -> ProfileFiles {
        ProfileFiles {
            cpu: self.cpuprofile.clone(),
            mem: self.memprofile.clone(),
        }
    }

    fn are_wanted(&self) -> bool {
        self.cpuprofile.is_some() || self.memprofile.is_some()
    }
}

fn with_config(path: Result<String, String>, command: impl FnOnce(&str) -> ExitCode) -> ExitCode {
    match path {
        Ok(path) => command(&path),
        Err(message) => {
            console::error(&message);
            ExitCode::from(USAGE)
        }
    }
}

/// The configuration that was named, else the first of the usual places.
fn config_path(named: Option<String>) -> Result<String, String> {
    if let Some(path) = named {
        return Ok(path);
    }
    let found = USUAL_PLACES.iter().find(|path| Path::new(path).exists());
    found.map(|path| (*path).to_owned()).ok_or_else(|| {
        format!(
            "no configuration: there is neither {}; name one with `-c FILE`, or try `balance demo`",
            USUAL_PLACES.join(" nor ")
        )
    })
}

const USUAL_PLACES: [&str; 2] = ["balance.yaml", "/etc/balance/balance.yaml"];

/// Of what all commands accept by their parser, and only `run` by its sense.
const RUN_ONLY: &str = "For `balance run`";

/// The exit code for a command line that makes no sense; clap uses the same.
pub(crate) const USAGE: u8 = 2;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
