//! `balance bench tcp`: messages, new connections or bulk data through a TCP proxy.
//!
//! A closed loop: each connection sends its next message when the last one is back.

mod load;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::amount::Amount;
use crate::failures::Failures;
use crate::histogram::Histogram;
use crate::progress::Progress;
use crate::summary::{Lines, latency_json, write_json};
use crate::target::{Usage, resolve};
use crate::threads;
use crate::{Backend, BackendError, BackendOptions, Mode};

pub(crate) use load::{Load, run as run_load};

/// Measure a TCP proxy or server: echoed messages, new connections, or bulk data.
#[derive(Clone, Debug, clap::Args)]
pub struct TcpArgs {
    /// Where to connect: an echo server, or a source or sink with --bulk
    #[arg(
        long,
        visible_alias = "proxy",
        value_name = "HOST:PORT",
        default_value = "localhost:8080"
    )]
    pub target: String,

    /// Run an echo server here while measuring, for the proxy to send to
    #[arg(long, value_name = "ADDR", conflicts_with = "bulk")]
    pub backend: Option<SocketAddr>,

    /// Connections at the same time
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,

    /// How long to measure
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = crate::duration::parse_positive)]
    pub duration: Duration,

    /// Threads; one per core by default, never more than connections
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,

    /// Length of a message, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub size: u32,

    /// A new connection for every message: connect, one echo, close
    #[arg(long, conflicts_with = "bulk")]
    pub new_connections: bool,

    /// Read from a source, or write to a sink, as fast as it goes
    #[arg(long, value_enum, value_name = "DIRECTION")]
    pub bulk: Option<Bulk>,

    /// Process of the target whose CPU time is measured; may be given several times
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,

    /// Write the result as JSON too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// The direction of bulk data, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Bulk {
    Read,
    Write,
}

/// What a run has shown.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) latency: Histogram,
    bytes: u64,
    pub(crate) failures: Failures,
}

impl Tally {
    fn merge(&mut self, other: &Self) {
        self.latency.merge(&other.latency);
        self.bytes += other.bytes;
        self.failures.merge(&other.failures);
    }
}

/// A finished run with everything that is reported about it.
struct Report {
    tally: Tally,
    elapsed: Duration,
    /// Of the processes that were named.
    cpu_us: Option<u64>,
    is_bulk: bool,
}

/// Measures and reports.
///
/// # Errors
/// The target does not resolve, the backend does not start, or the result cannot be written.
pub(crate) fn run(args: &TcpArgs) -> anyhow::Result<ExitCode> {
    let target = resolve(&args.target)?;
    crate::descriptors::raise_limit();
    let _backend = args.backend.map(start_echo).transpose()?;
    let before = Usage::of(&args.pid);
    let stop = crate::interrupt::flag();
    let mut progress = Progress::on_stderr(Some(args.duration));
    let load = args.load(target);
    let (tally, elapsed) = load::run(&load, &stop, |completed, failed| {
        progress.show(completed, failed);
    })?;
    progress.clear();
    let cpu_us = Usage::of(&args.pid).cpu_us.saturating_sub(before.cpu_us);
    let report = Report {
        tally,
        elapsed,
        cpu_us: (!args.pid.is_empty()).then_some(cpu_us),
        is_bulk: args.bulk.is_some(),
    };
    std::io::stdout().write_all(report.to_text().as_bytes())?;
    write_json(args.json.as_deref(), &report.to_json())?;
    Ok(ExitCode::from(u8::from(report.is_failure())))
}

impl TcpArgs {
    fn load(&self, target: SocketAddr) -> Load {
        Load {
            target,
            connections: self.connections,
            threads: threads::count(self.threads, self.connections),
            size: self.size,
            new_connections: self.new_connections,
            bulk: self.bulk,
            amount: Amount::Time(self.duration),
        }
    }
}

fn start_echo(address: SocketAddr) -> Result<Backend, BackendError> {
    Backend::start(&BackendOptions {
        listen: vec![address],
        mode: Mode::Echo,
        ..Default::default()
    })
}

impl Report {
    /// Nothing came through at all.
    fn is_failure(&self) -> bool {
        self.tally.latency.count() == 0 && self.tally.bytes == 0
    }

    fn requests_per_second(&self) -> f64 {
        self.tally.latency.count() as f64 / self.elapsed.as_secs_f64()
    }

    fn bytes_per_second(&self) -> f64 {
        self.tally.bytes as f64 / self.elapsed.as_secs_f64()
    }

    fn cpu_us_per_request(&self) -> Option<f64> {
        let requests = self.tally.latency.count();
        self.cpu_us
            .filter(|_| requests > 0)
            .map(|cpu| cpu as f64 / requests as f64)
    }

    fn cpu_s_per_gb(&self) -> Option<f64> {
        let bytes = self.tally.bytes;
        self.cpu_us
            .filter(|_| bytes > 0)
            .map(|cpu| cpu as f64 * 1e3 / bytes as f64)
    }

    /// The share of messages that failed.
    fn error_rate(&self) -> f64 {
        let failed = self.tally.failures.total() as f64;
        let all = failed + self.tally.latency.count() as f64;
        if all > 0.0 { failed / all } else { 0.0 }
    }

    fn to_text(&self) -> String {
        let mut lines = Lines::default();
        let seconds = self.elapsed.as_secs_f64();
        let (bytes, rate) = (self.tally.bytes as f64, self.bytes_per_second());
        lines.push("duration", format_args!("{seconds:.2} s"));
        if self.is_bulk {
            lines.push(
                "moved",
                format_args!("{:.3} GB, {:.3} GB/s", bytes / 1e9, rate / 1e9),
            );
        } else {
            let (count, per_second) = (self.tally.latency.count(), self.requests_per_second());
            lines.push("messages", format_args!("{count}, {per_second:.0}/s"));
            lines.push(
                "throughput",
                format_args!("{:.2} MB/s each way", rate / 1e6),
            );
            lines.push_latency(&self.tally.latency);
            lines.push(
                "error rate",
                format_args!("{:.2} %", self.error_rate() * 100.0),
            );
        }
        if let Some(cpu) = self.cpu_us_per_request() {
            lines.push("target CPU", format_args!("{cpu:.2} us per message"));
        }
        if let Some(cpu) = self.cpu_s_per_gb().filter(|_| self.is_bulk) {
            lines.push("target CPU", format_args!("{cpu:.3} s per GB"));
        }
        for failure in self.tally.failures.lines() {
            lines.push_line(&failure);
        }
        lines.into_text()
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "duration_s": self.elapsed.as_secs_f64(),
            "requests": self.tally.latency.count(),
            "requests_per_second": self.requests_per_second(),
            "latency_us": latency_json(&self.tally.latency),
            "bytes": self.tally.bytes,
            "bytes_per_second": self.bytes_per_second(),
            "cpu_us_per_request": self.cpu_us_per_request(),
            "cpu_s_per_gb": self.cpu_s_per_gb(),
            "error_rate": self.error_rate(),
            "errors": self.tally.failures.to_json(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::ExitCode;
    use std::sync::atomic::AtomicBool;

    use clap::Parser;

    use super::{TcpArgs, load};
    use crate::failures::Kind;
    use crate::target::resolve;
    use crate::{Backend, BackendOptions, Mode};

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: TcpArgs,
    }

    fn args(target: &str, more: &[&str]) -> TcpArgs {
        let line = [
            "tcp",
            "--target",
            target,
            "--duration",
            "0.2",
            "--connections",
            "4",
        ];
        Line::parse_from(line.iter().chain(more)).args
    }

    fn run(args: &TcpArgs) -> super::Tally {
        let load = args.load(resolve(&args.target).unwrap());
        load::run(&load, &AtomicBool::new(false), |_, _| {})
            .unwrap()
            .0
    }

    fn tally(mode: Mode, more: &[&str]) -> super::Tally {
        let backend = Backend::start(&BackendOptions {
            mode,
            ..Default::default()
        })
        .unwrap();
        let args = args(&backend.local_addr().to_string(), more);
        let tally = run(&args);
        let opened = backend.connections();
        if args.new_connections {
            assert!(opened >= tally.latency.count(), "{opened}");
        } else {
            assert_eq!(opened, 4);
        }
        tally
    }

    /// Nothing listens there: who did has gone.
    fn unused_address() -> String {
        let backend = Backend::start(&BackendOptions::default()).unwrap();
        backend.local_addr().to_string()
    }

    #[test]
    fn connections_are_spread_over_threads() {
        let tally = tally(Mode::Echo, &["--threads", "3"]);
        assert!(tally.latency.count() >= 4);
        assert_eq!(tally.bytes, tally.latency.count() * 1024);
    }

    #[test]
    fn messages_come_back() {
        let tally = tally(Mode::Echo, &["--size", "100000"]);
        assert!(tally.latency.count() >= 4);
        assert_eq!(tally.bytes, tally.latency.count() * 100_000);
        assert_eq!(tally.failures.total(), 0);
    }

    #[test]
    fn every_message_can_have_its_own_connection() {
        let tally = tally(Mode::Echo, &["--new-connections", "--size", "64"]);
        assert!(tally.latency.count() >= 4 && tally.failures.total() == 0);
    }

    #[test]
    fn bulk_goes_both_ways() {
        assert!(tally(Mode::Source, &["--bulk", "read"]).bytes > 1 << 20);
        assert!(tally(Mode::Sink, &["--bulk", "write"]).bytes > 1 << 20);
    }

    #[test]
    fn it_can_bring_its_own_echo_server() {
        let address = unused_address();
        let args = args(&address, &["--backend", &address]);
        assert_eq!(super::run(&args).unwrap(), ExitCode::SUCCESS);
    }

    #[test]
    fn a_refused_connection_is_counted_and_ends_with_1() {
        let unused = unused_address();
        let args = args(&unused, &[]);
        let tally = run(&args);
        assert!(tally.failures.of_kind(Kind::Refused) >= 4);
        assert_eq!(super::run(&args).unwrap(), ExitCode::from(1));
    }
}
