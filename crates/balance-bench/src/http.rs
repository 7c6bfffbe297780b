//! `balance bench http`: requests over HTTP/1.1 or HTTP/2, in closed or open loop.

mod driver;
mod lane;
mod load;
mod own_time;
mod page;
mod report;
mod request;
mod schedule;
mod timeline;
mod url;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use crate::amount::Amount;
use crate::progress::Progress;
use crate::summary::{write, write_json};
use crate::target::{Usage, resolve};
use crate::threads;
use crate::tls::{Client, TlsArgs};
use report::Report;
use request::{Field, Parts};

pub(crate) use load::{Plan, per, run as run_load};
pub(crate) use request::Request;
pub(crate) use url::Url;

/// Measure an HTTP server or proxy: throughput, latencies and errors.
#[derive(Clone, Debug, clap::Args)]
pub struct HttpArgs {
    /// What to ask for
    #[arg(value_name = "URL", default_value = "http://localhost:8080/", value_parser = Url::parse)]
    url: Url,

    /// Connections at the same time
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: u32,

    /// How long to measure
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = crate::duration::parse_positive)]
    pub duration: Duration,

    /// End after so many requests, and not after a time
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,

    /// Threads; one per core by default, never more than connections
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,

    /// Requests per second at even distances (open loop): latency counts from when each was meant to begin.
    /// Without it each connection sends its next request when the last is answered (closed loop)
    #[arg(long, value_name = "R", value_parser = parse_rate)]
    pub rate: Option<f64>,

    /// Method [default: GET, or POST with a body]
    #[arg(long, short = 'X', value_name = "METHOD", value_parser = request::parse_method)]
    pub method: Option<String>,

    /// A field to send; may be given several times
    #[arg(long, short = 'H', value_name = "NAME: VALUE", value_parser = Field::parse)]
    header: Vec<Field>,

    /// The body to send, or @FILE
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub body: String,

    /// A new connection for every request
    #[arg(long)]
    pub new_connections: bool,

    /// How long a request may take, opening its connection included
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = crate::duration::parse_positive)]
    pub timeout: Duration,

    /// HTTP/2: by ALPN over https, else by prior knowledge
    #[arg(long)]
    pub h2: bool,

    /// HTTP/2: requests at the same time on each connection
    #[arg(long, value_name = "N", default_value_t = 1, requires = "h2", conflicts_with = "new_connections",
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub streams: u32,

    /// Process of the target whose CPU time is measured; may be given several times
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,

    /// Write the result as JSON too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write the result as a page with charts too
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    #[command(flatten)]
    pub tls: TlsArgs,
}

/// Measures and reports.
///
/// # Errors
/// The target does not resolve, the body cannot be read, the system has no thread or epoll instance left, or the
/// result cannot be written.
pub(crate) fn run(args: &HttpArgs) -> anyhow::Result<ExitCode> {
    let plan = args.plan()?;
    crate::descriptors::raise_limit();
    let stop = crate::interrupt::flag();
    let before = Usage::of(&args.pid);
    let mut progress = Progress::on_stderr(args.requests.is_none().then_some(args.duration));
    let outcome = load::run(&plan, &stop, |completed, failed| {
        progress.show(completed, failed)
    })
    .context("cannot run the load")?;
    progress.clear();
    let cpu_us = Usage::of(&args.pid).cpu_us.saturating_sub(before.cpu_us);
    let report = Report {
        url: args.url.clone(),
        plan,
        outcome,
        target_cpu: (!args.pid.is_empty()).then(|| Duration::from_micros(cpu_us)),
    };
    std::io::stdout().write_all(report.to_text().as_bytes())?;
    write_json(args.json.as_deref(), &report.to_json())?;
    if let Some(path) = &args.html {
        write(path, &page::render(&report))?;
    }
    Ok(report.exit_code())
}

impl HttpArgs {
    fn plan(&self) -> anyhow::Result<Plan> {
        let body = read_body(&self.body)?;
        let default_method = if body.is_empty() { "GET" } else { "POST" };
        let request = Request::encode(&Parts {
            method: self.method.as_deref().unwrap_or(default_method),
            url: &self.url,
            fields: &self.header,
            body: &body,
            close: self.new_connections,
        });
        let request = match self.h2 {
            true => request.over_http2(self.url.is_tls).context("--h2")?,
            false => request,
        };
        let protocol: &[u8] = if self.h2 { b"h2" } else { b"http/1.1" };
        Ok(Plan {
            target: resolve(&self.url.target)?,
            request,
            connections: self.connections as usize,
            streams: self.streams as usize,
            threads: threads::count(self.threads, self.connections),
            amount: self
                .requests
                .map_or(Amount::Time(self.duration), Amount::Requests),
            rate: self.rate,
            new_connections: self.new_connections,
            timeout: self.timeout,
            tls: tls_client(&self.tls, &self.url, protocol)?,
        })
    }
}

/// A plain GET, for commands that have no options about the request.
pub(crate) fn plain_get(url: &Url) -> Request {
    Request::encode(&Parts {
        method: "GET",
        url,
        fields: &[],
        body: b"",
        close: false,
    })
}

/// How connections to the URL are made; `None` in cleartext.
///
/// # Errors
/// What is said about TLS cannot be, or there is none.
pub(crate) fn tls_client(
    args: &TlsArgs,
    url: &Url,
    protocol: &[u8],
) -> anyhow::Result<Option<Client>> {
    if url.is_tls {
        return Client::new(args, url.host(), protocol).map(Some);
    }
    anyhow::ensure!(!args.is_given(), "options of TLS need an https:// URL");
    Ok(None)
}

fn read_body(text: &str) -> anyhow::Result<Vec<u8>> {
    match text.strip_prefix('@') {
        Some(path) => {
            std::fs::read(Path::new(path)).with_context(|| format!("cannot read the body {path}"))
        }
        None => Ok(text.as_bytes().to_owned()),
    }
}

/// Above this a clock of nanoseconds would be the limit.
const RATE_MAX: f64 = 1e8;

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => Err("a number of requests per second above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests;
