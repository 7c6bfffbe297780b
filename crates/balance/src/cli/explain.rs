//! `balance explain`: what would become of a request or session, by a file or by the running process.

mod text;

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use balance_control::{Explanation, FileError, Outcome, Question};
use serde_json::Value;

use super::files::SystemSources;
use super::process::{self, Method};
use super::run::refuse_config;
use super::{USAGE, console};

#[derive(Debug, clap::Args)]
#[command(
    override_usage = "balance explain [OPTIONS] METHOD URL\n       balance explain [OPTIONS] tcp://HOST:PORT\n       balance explain [OPTIONS] --listener NAME",
    after_help = "The URL is taken as it is: nothing is decoded, encoded or normalized. `/path` and `*` work too.\n\
                  Exit code: 0 forwarded, or answered by its route; 1 refused; 2 the question has no answer."
)]
pub(crate) struct ExplainArgs {
    /// GET http://host:port/path?query; a URL alone is a GET
    #[arg(value_name = "METHOD URL", num_args = 0..=2)]
    what: Vec<String>,

    /// A header of the request; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// Where it comes from [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    from: Option<IpAddr>,

    /// The listener, where the URL does not say which
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,

    /// The server that a TLS client names [default: the host of the URL]
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,

    /// Ask the process that runs with the configuration, which knows the state of each backend
    #[arg(long)]
    admin: bool,

    /// Show every route that was asked, not only the last ones
    #[arg(long)]
    all: bool,

    /// How to say it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For tools
    Json,
}

/// Exits with 0 when the request would be forwarded or answered by its route, with 1 when it would get an error, and with
/// 2 when that cannot be said.
pub(crate) fn run(args: &ExplainArgs, path: &str) -> ExitCode {
    let answer = args.question().and_then(|question| {
        if args.admin {
            ask_process(path, &question).map_err(Some)
        } else {
            ask_file(path, &question)
        }
    });
    let explanation = match answer {
        Ok(explanation) => explanation,
        Err(message) => {
            if let Some(message) = message {
                console::error(message);
            }
            return ExitCode::from(USAGE);
        }
    };
    match args.format {
        Format::Text => console::text(&text::render(&explanation, args.all)),
        Format::Json => console::line(format_args!("{:#}", serde_json::json!(explanation))),
    }
    match explanation.verdict.outcome {
        Outcome::Forwarded | Outcome::Answered => ExitCode::SUCCESS,
        Outcome::Refused => ExitCode::FAILURE,
    }
}

impl ExplainArgs {
    fn question(&self) -> Result<Question, Option<String>> {
        let (method, url) = match self.what.as_slice() {
            [] => (None, None),
            [url] if url.starts_with('/') || url.contains("://") => (None, Some(url)),
            [one] => {
                return Err(Some(format!(
                    "`{one}` is neither a URL nor a path: write METHOD URL, for example `GET http://example.com/`"
                )));
            }
            [method, url, ..] => (Some(method), Some(url)),
        };
        Ok(Question {
            method: method.cloned(),
            url: url.cloned(),
            headers: self.headers.clone(),
            from: self.from,
            listener: self.listener.clone(),
            server_name: self.sni.clone(),
        })
    }
}

/// `Err(None)`: the reason is told already.
fn ask_file(path: &str, question: &Question) -> Result<Explanation, Option<String>> {
    balance_control::explain(&SystemSources, path, question).map_err(|error| match error {
        FileError::Question(error) => Some(error.to_string()),
        FileError::Config(diagnostics) => {
            refuse_config("cannot be explained", &diagnostics);
            None
        }
    })
}

fn ask_process(path: &str, question: &Question) -> Result<Explanation, String> {
    let body = serde_json::to_vec(question).map_err(|error| error.to_string())?;
    let answer = process::ask(path, Method::POST, "/explain", body, ANSWER_LIMIT)?;
    if answer.status == 200 {
        return serde_json::from_slice(&answer.body).map_err(|error| {
            format!("the running process is of another version, its answer cannot be read: {error}")
        });
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    Err(match body["error"].as_str() {
        Some(reason) => reason.to_owned(),
        None => format!("the running process answers with status {}", answer.status),
    })
}

/// It takes milliseconds; a process that is busy reloading answers a little later.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
