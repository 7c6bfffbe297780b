//! `balance bench latency`: the distribution of latencies at a low load, against a target; and what a proxy adds.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::amount::Amount;
use crate::http::{self, Plan, Url};
use crate::overhead::{Overhead, Side, measure, merged};
use crate::progress::Progress;
use crate::summary::{Lines, in_micros, write_json};
use crate::target::resolve;
use crate::tcp;
use crate::tls::TlsArgs;

/// Measure latencies at a low load, and what a proxy adds to them.
#[derive(Clone, Debug, clap::Args)]
pub struct LatencyArgs {
    /// What to ask for, in mode http
    #[arg(long, value_name = "URL", default_value = "http://localhost:8080/", value_parser = Url::parse)]
    url: Url,

    /// The same without the proxy: a URL, or HOST:PORT in mode tcp. Both are measured in turns
    #[arg(long, value_name = "URL")]
    pub direct: Option<String>,

    /// Requests, or messages, on each side
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: u64,

    /// Connections at the same time
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub concurrency: u32,

    /// Requests over HTTP/1.1, or messages that come back over TCP
    #[arg(long, value_enum, default_value_t = LatencyMode::Http)]
    pub mode: LatencyMode,

    /// Where to connect in mode tcp: a proxy of an echo server
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:8080")]
    pub tcp: String,

    /// Length of a message in mode tcp, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub size: u32,

    /// The p99 that is passed; with --direct, what the proxy may add to it
    #[arg(long, value_name = "DURATION", default_value = "10ms", value_parser = crate::duration::parse_positive)]
    pub target_p99: Duration,

    /// How long a request may take, opening its connection included
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = crate::duration::parse_positive)]
    pub timeout: Duration,

    /// Write the result as JSON too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    #[command(flatten)]
    pub tls: TlsArgs,
}

/// What a latency is measured of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LatencyMode {
    Http,
    Tcp,
}

/// Rounds on each side where there are two.
const ROUNDS: u32 = 10;

/// Measures and reports.
///
/// # Errors
/// A target does not resolve, the load cannot be run, or the result cannot be written.
pub(crate) fn run(args: &LatencyArgs) -> anyhow::Result<ExitCode> {
    crate::descriptors::raise_limit();
    let report = args.measure(&crate::interrupt::flag())?;
    std::io::stdout().write_all(report.to_text().as_bytes())?;
    write_json(args.json.as_deref(), &report.to_json())?;
    Ok(report.exit_code())
}

impl LatencyArgs {
    fn measure(&self, stop: &AtomicBool) -> anyhow::Result<Report> {
        let rounds = if self.direct.is_some() { ROUNDS } else { 1 };
        let requests = self.requests.div_ceil(u64::from(rounds));
        let (through, target) = match self.mode {
            LatencyMode::Http => (self.http_side(&self.url, requests)?, self.url.to_string()),
            LatencyMode::Tcp => (self.tcp_side(&self.tcp, requests)?, self.tcp.clone()),
        };
        let direct = self.direct.as_deref().map(|direct| match self.mode {
            LatencyMode::Http => {
                let url = Url::parse(direct).map_err(anyhow::Error::msg);
                self.http_side(&url.context("--direct")?, requests)
            }
            LatencyMode::Tcp => self.tcp_side(direct, requests),
        });
        let direct = direct.transpose()?;
        let mut progress = Progress::on_stderr(None);
        let overhead = measure(&through, direct.as_ref(), rounds, stop, |round| {
            progress.show_text(&format!("round {round} of {rounds}"));
        })
        .context("cannot run the load")?;
        progress.clear();
        Ok(Report {
            target,
            concurrency: self.concurrency,
            target_p99: self.target_p99,
            overhead,
        })
    }

    fn http_side(&self, url: &Url, requests: u64) -> anyhow::Result<Side> {
        Ok(Side::Http(Plan {
            target: resolve(&url.target)?,
            request: http::plain_get(url),
            connections: self.concurrency as usize,
            streams: 1,
            // At a low load a second thread would only wait for its core.
            threads: 1,
            amount: Amount::Requests(requests),
            rate: None,
            new_connections: false,
            timeout: self.timeout,
            tls: http::tls_client(&self.tls, url, b"http/1.1")?,
        }))
    }

    fn tcp_side(&self, target: &str, requests: u64) -> anyhow::Result<Side> {
        Ok(Side::Tcp(tcp::Load {
            target: resolve(target)?,
            connections: self.concurrency,
            threads: 1,
            size: self.size,
            new_connections: false,
            bulk: None,
            amount: Amount::Requests(requests),
        }))
    }
}

struct Report {
    target: String,
    concurrency: u32,
    target_p99: Duration,
    overhead: Overhead,
}

impl Report {
    /// What is held against the target: what the proxy adds, or all of it when there is nothing to compare with.
    fn judged_p99_us(&self) -> f64 {
        let all = merged(&self.overhead.through);
        let added = self.overhead.added(0.99);
        added.map_or(in_micros(all.latency.quantile(0.99)), |added| {
            added.median_us
        })
    }

    /// An answer that failed has no latency, so that one with errors proves nothing.
    fn has_passed(&self) -> bool {
        let all = merged(&self.overhead.through);
        all.latency.count() > 0
            && all.failures.total() == 0
            && self.judged_p99_us() <= in_micros(self.target_p99)
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::from(u8::from(!self.has_passed()))
    }

    fn verdict(&self) -> &'static str {
        if self.has_passed() { "PASS" } else { "FAIL" }
    }

    fn to_text(&self) -> String {
        let mut lines = Lines::default();
        let through = merged(&self.overhead.through);
        lines.push("target", &self.target);
        let (requests, connections) = (through.latency.count(), self.concurrency);
        lines.push(
            "requests",
            format_args!("{requests} on {connections} connections"),
        );
        lines.push_latency(&through.latency);
        for failure in through.failures.lines() {
            lines.push_line(&failure);
        }
        let what = if self.overhead.direct.is_empty() {
            "p99"
        } else {
            let direct = merged(&self.overhead.direct);
            lines.push_line("directly");
            lines.push_latency(&direct.latency);
            for failure in direct.failures.lines() {
                lines.push_line(&failure);
            }
            for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
                if let Some(added) = self.overhead.added(share) {
                    let (median, min, max) = (added.median_us, added.min_us, added.max_us);
                    lines.push(
                        &format!("added {name}"),
                        format_args!("{median:.1} us (rounds: {min:.1} to {max:.1})"),
                    );
                }
            }
            "added p99"
        };
        let (judged, target) = (self.judged_p99_us(), in_micros(self.target_p99));
        lines.push(
            self.verdict(),
            format_args!("{what} {judged:.1} us, target {target:.0} us"),
        );
        lines.into_text()
    }

    fn to_json(&self) -> Value {
        let mut json = merged(&self.overhead.through).to_json();
        json["target"] = self.target.as_str().into();
        json["target_p99_us"] = in_micros(self.target_p99).into();
        json["verdict"] = self.verdict().into();
        if !self.overhead.direct.is_empty() {
            json["direct"] = merged(&self.overhead.direct).to_json();
            let added = |share| {
                self.overhead.added(share).map(|added| {
                    json!({"median": added.median_us, "min": added.min_us, "max": added.max_us})
                })
            };
            json["added_us"] = json!({"p50": added(0.5), "p90": added(0.9), "p99": added(0.99)});
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use clap::Parser;

    use super::{LatencyArgs, Report};
    use crate::{Backend, BackendOptions, Mode};

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: LatencyArgs,
    }

    fn backend(mode: Mode, delay: Duration) -> Backend {
        let options = BackendOptions {
            mode,
            delay,
            ..Default::default()
        };
        Backend::start(&options).unwrap()
    }

    fn measure(options: &[&str]) -> Report {
        let line = ["latency", "--requests", "100", "--concurrency", "5"];
        let args = Line::parse_from(line.iter().chain(options)).args;
        args.measure(&AtomicBool::new(false)).unwrap()
    }

    #[test]
    fn what_a_slower_way_adds_is_found() {
        let slow = backend(Mode::Http, Duration::from_millis(20));
        let fast = backend(Mode::Http, Duration::ZERO);
        let url = format!("http://{}/", slow.local_addr());
        let direct = format!("http://{}/", fast.local_addr());
        let report = measure(&["--url", &url, "--direct", &direct]);
        assert!(report.overhead.added(0.5).unwrap().median_us > 10_000.0);
        assert_eq!(report.verdict(), "FAIL", "{}", report.to_text());
        assert_eq!(report.to_json()["requests"], 100);
        assert_eq!(report.to_json()["direct"]["requests"], 100);
        let report = measure(&["--url", &url, "--target-p99", "1h"]);
        assert_eq!(report.verdict(), "PASS", "{}", report.to_text());
        assert_eq!((slow.requests(), fast.requests()), (210, 110));
    }

    #[test]
    fn messages_over_tcp_are_counted_too() {
        let echo = backend(Mode::Echo, Duration::ZERO);
        let address = echo.local_addr().to_string();
        let options = ["--mode", "tcp", "--tcp", &address, "--direct", &address];
        let report = measure(&options);
        assert_eq!(report.to_json()["requests"], 100);
        assert!(
            report.to_text().contains("added p99"),
            "{}",
            report.to_text()
        );
    }

    #[test]
    fn errors_do_not_pass() {
        let gone = backend(Mode::Http, Duration::ZERO).local_addr();
        let url = format!("http://{gone}/");
        let report = measure(&["--url", &url, "--target-p99", "1h"]);
        assert_eq!(report.verdict(), "FAIL");
        assert!(report.to_text().contains("refused"), "{}", report.to_text());
    }
}
