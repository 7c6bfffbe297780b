//! `balance bench connections`: how many idle keep-alive connections the target holds, and what each costs.
//!
//! Open (one exchange each) → settle → measure → hold → measure → re-verify a sample → close.

mod exchange;
mod held;
mod http2;
mod open;
mod report;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::failures::Kind;
use crate::progress::Progress;
use crate::target::{Usage, resolve};
use crate::tls::{Client, TlsArgs};
use held::Talk;
use open::{Opened, Wanted, open_all, sources, verify_sample};
use report::{Limit, Report};

/// Open many idle keep-alive connections and see what they cost.
#[derive(Clone, Debug, clap::Args)]
pub struct ConnectionsArgs {
    /// An HTTP server
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:8080")]
    pub target: String,

    /// Connections to open
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: u32,

    /// How long to hold them
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = crate::duration::parse)]
    pub hold: Duration,

    /// Process of the target whose memory is measured; may be given several times
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,

    /// Source addresses, used in turn; by default as many of 127.0.0.x as the ports require
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub sources: Vec<IpAddr>,

    /// Path of the request
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub path: String,

    /// Host of the request; the target by default
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,

    /// Write the result as JSON too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Speak TLS
    #[arg(long)]
    pub https: bool,

    /// HTTP/2: by ALPN with --https, else by prior knowledge
    #[arg(long)]
    pub h2: bool,

    #[command(flatten)]
    pub tls: TlsArgs,
}

/// Descriptors that this process needs for anything else.
const DESCRIPTORS_RESERVED: u64 = 64;
/// Between the last exchange and the first look at memory.
const SETTLE: Duration = Duration::from_millis(500);

/// Measures and reports.
///
/// # Errors
/// The target does not resolve, or the result cannot be written.
pub(crate) fn run(args: &ConnectionsArgs) -> anyhow::Result<ExitCode> {
    let target = resolve(&args.target)?;
    let descriptors = crate::descriptors::raise_limit();
    let stop = crate::interrupt::flag();
    let mut progress = Progress::on_stderr(None);
    let talk = args.talk()?;
    let report = measure(target, args, &talk, descriptors, &stop, |opened| {
        progress.show_text(&format!(
            "{opened} of {} connections open",
            args.connections
        ));
    });
    progress.clear();
    report.write(args.json.as_deref())?;
    Ok(report.exit_code())
}

/// What idle connections have shown, for the judgement of the targets.
#[derive(Clone, Debug)]
pub(crate) struct Idle {
    pub(crate) wanted: usize,
    pub(crate) opened: usize,
    /// Of a sample that was asked again.
    pub(crate) lost: u64,
    pub(crate) limited_by: Option<&'static str>,
    /// Resident memory before the first connection.
    pub(crate) base_bytes: f64,
    pub(crate) bytes_per_connection: f64,
}

/// Opens `count` connections to an HTTP server, holds them for a moment, and looks at the memory of its process.
pub(crate) fn measure_idle(
    target: SocketAddr,
    count: u32,
    pid: u32,
    descriptors: u64,
    stop: &AtomicBool,
) -> Idle {
    let args = ConnectionsArgs {
        target: target.to_string(),
        connections: count,
        hold: SETTLE,
        pid: vec![pid],
        sources: Vec::new(),
        path: "/".to_owned(),
        host: None,
        json: None,
        https: false,
        h2: false,
        tls: TlsArgs::default(),
    };
    let talk = Talk::http1(args.question(), None);
    let report = measure(target, &args, &talk, descriptors, stop, |_| {});
    Idle {
        wanted: report.wanted,
        opened: report.opened,
        lost: report.lost,
        limited_by: report.limit.name(),
        base_bytes: report
            .memory
            .map_or(0.0, |memory| memory.base.rss_bytes as f64),
        bytes_per_connection: report.bytes_per_connection(),
    }
}

/// The whole sequence. Ends early, with what there is, when `stop` becomes true.
fn measure(
    target: SocketAddr,
    args: &ConnectionsArgs,
    talk: &Talk,
    descriptors: u64,
    stop: &AtomicBool,
    watch: impl FnMut(usize),
) -> Report {
    let room = usize::try_from(descriptors.saturating_sub(DESCRIPTORS_RESERVED));
    let wanted = args.connections as usize;
    let count = wanted.min(room.unwrap_or(usize::MAX));
    let base = Usage::of(&args.pid);
    let start = Instant::now();
    let wanted_connections = Wanted {
        target,
        count,
        sources: &sources(args, target, count),
        talk,
    };
    let Opened {
        mut connections,
        mut failures,
        handshakes,
    } = open_all(wanted_connections, stop, watch);
    let open_time = start.elapsed();
    wait(SETTLE, stop);
    let loaded = Usage::of(&args.pid);
    wait(args.hold, stop);
    let held = Usage::of(&args.pid);
    let opened = connections.len();
    let (verified, lost) = verify_sample(&mut connections, talk);
    let limit = if failures.of_kind(Kind::DescriptorsExhausted) > 0 || count < wanted {
        Limit::Descriptors(descriptors)
    } else if failures.of_kind(Kind::PortsExhausted) > 0 {
        Limit::Ports
    } else {
        Limit::None
    };
    failures.merge(&lost);
    Report {
        wanted,
        opened,
        open_time,
        verified,
        lost: lost.total(),
        failures,
        handshakes,
        limit,
        memory: (!args.pid.is_empty()).then_some(report::Memory { base, loaded, held }),
    }
}

impl ConnectionsArgs {
    fn question(&self) -> String {
        let host = self.host.as_deref().unwrap_or(&self.target);
        format!("GET {} HTTP/1.1\r\nHost: {host}\r\n\r\n", self.path)
    }

    fn talk(&self) -> anyhow::Result<Talk> {
        let tls = self.client()?;
        match self.h2 {
            true => Talk::http2(self.question(), tls),
            false => Ok(Talk::http1(self.question(), tls)),
        }
    }

    fn client(&self) -> anyhow::Result<Option<Client>> {
        if self.https {
            let host = self.target.rsplit_once(':').map_or("", |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let protocol: &[u8] = if self.h2 { b"h2" } else { b"http/1.1" };
            return Client::new(&self.tls, host, protocol).map(Some);
        }
        anyhow::ensure!(!self.tls.is_given(), "options of TLS need --https");
        Ok(None)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the time itself is wanted, on a thread of its own"
)]
fn wait(duration: Duration, stop: &AtomicBool) {
    const STEP: Duration = Duration::from_millis(50);
    let end = Instant::now() + duration;
    while !stop.load(Ordering::Relaxed) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(STEP));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use clap::Parser;

    use super::{ConnectionsArgs, measure, resolve};
    use crate::tls::testing::Identity;
    use crate::{Backend, BackendOptions};

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ConnectionsArgs,
    }

    fn run(target: &str, more: &[&str], descriptors: u64) -> super::Report {
        let line = ["connections", "--target", target, "--hold", "0"];
        let args = Line::parse_from(line.iter().chain(more)).args;
        measure(
            resolve(&args.target).unwrap(),
            &args,
            &args.talk().unwrap(),
            descriptors,
            &AtomicBool::new(false),
            |_| {},
        )
    }

    fn exit_code(report: &super::Report) -> String {
        format!("{:?}", report.exit_code())
    }

    fn code(number: u8) -> String {
        format!("{:?}", std::process::ExitCode::from(number))
    }

    #[test]
    fn opens_verifies_and_measures() {
        let backend = Backend::start(&BackendOptions::default()).unwrap();
        let own = std::process::id().to_string();
        let target = backend.local_addr().to_string();
        let report = run(&target, &["--connections", "300", "--pid", &own], 10_000);
        assert_eq!(
            (report.opened, report.verified, report.failures.total()),
            (300, 100, 0)
        );
        assert_eq!((backend.connections(), backend.requests()), (300, 400));
        assert!(report.memory.is_some());
        assert_eq!(exit_code(&report), code(0));
    }

    #[test]
    fn connections_under_tls_and_of_http2_are_held_too() {
        let identity = Identity::new();
        let backend = identity.backend(BackendOptions::default());
        let target = backend.local_addr().to_string();
        let ca = identity.trusted();
        let cleartext = Backend::start(&BackendOptions::default()).unwrap();
        let in_the_clear = cleartext.local_addr().to_string();
        let secure = ["--https", "--ca", &ca];
        for (target, options, handshakes) in [
            (&target, secure.to_vec(), 150),
            (&target, [&secure[..], &["--h2"]].concat(), 150),
            (&in_the_clear, vec!["--h2"], 0),
        ] {
            let line = [&["--connections", "150"], &options[..]].concat();
            let report = run(target, &line, 10_000);
            let seen = (report.opened, report.verified, report.failures.total());
            assert_eq!(seen, (150, 100, 0), "{options:?} {}", report.to_text());
            assert_eq!(report.handshakes.total(), handshakes);
        }
    }

    #[test]
    fn says_when_descriptors_limit_it() {
        let backend = Backend::start(&BackendOptions::default()).unwrap();
        let target = backend.local_addr().to_string();
        let report = run(&target, &["--connections", "200"], 164);
        assert_eq!(report.opened, 100);
        assert!(report.to_text().contains("LIMITED"), "{}", report.to_text());
        assert_eq!(exit_code(&report), code(3));
    }

    #[test]
    fn failures_are_counted_and_do_not_go_on_for_ever() {
        let gone = Backend::start(&BackendOptions::default())
            .unwrap()
            .local_addr()
            .to_string();
        let report = run(&gone, &["--connections", "100000"], 200_000);
        assert!(report.opened == 0 && report.failures.total() < 1_000);
        assert_eq!(exit_code(&report), code(1));

        let sick = BackendOptions {
            status: 500,
            ..Default::default()
        };
        let sick = Backend::start(&sick).unwrap();
        let report = run(
            &sick.local_addr().to_string(),
            &["--connections", "3"],
            10_000,
        );
        assert_eq!(report.failures.to_json().to_string(), r#"{"status":3}"#);
    }
}
