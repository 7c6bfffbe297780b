//! `balance bench connections`: how many idle keep-alive connections the target holds, and what each costs.
//!
//! Open (one exchange each) → settle → measure → hold → measure → re-verify a sample → close.

mod exchange;
mod report;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::failures::{Failures, Kind};
use crate::progress::Progress;
use crate::target::{Usage, resolve};
use report::{Limit, Report};

/// Open many idle keep-alive connections and see what they cost.
#[derive(Clone, Debug, clap::Args)]
pub struct ConnectionsArgs {
    /// An HTTP/1.1 server
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
}

/// Threads that open connections: enough that a round trip of a millisecond is no obstacle.
const OPENING_THREADS: usize = 8;
/// Ports used per source address. Linux has 28,232, but those of the last minute's runs are in TIME_WAIT,
/// and finding one of the last free ones costs milliseconds.
const PORTS_PER_SOURCE: usize = 1_000;
/// Descriptors that this process needs for anything else.
const DESCRIPTORS_RESERVED: u64 = 64;
/// How long connecting, and each read and write, may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the progress is shown.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// Between the last exchange and the first look at memory.
const SETTLE: Duration = Duration::from_millis(500);
/// A target that fails so often in a row is not asked any more.
const FAILURES_IN_A_ROW_MAX: usize = 50;

/// Measures and reports.
///
/// # Errors
/// The target does not resolve, or the result cannot be written.
pub(crate) fn run(args: &ConnectionsArgs) -> anyhow::Result<ExitCode> {
    let target = resolve(&args.target)?;
    let descriptors = crate::descriptors::raise_limit();
    let stop = crate::interrupt::flag();
    let mut progress = Progress::on_stderr(None);
    let report = measure(target, args, descriptors, &stop, |opened| {
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
    };
    let report = measure(target, &args, descriptors, stop, |_| {});
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
    descriptors: u64,
    stop: &AtomicBool,
    watch: impl FnMut(usize),
) -> Report {
    let room = usize::try_from(descriptors.saturating_sub(DESCRIPTORS_RESERVED));
    let wanted = args.connections as usize;
    let count = wanted.min(room.unwrap_or(usize::MAX));
    let request = request(args);
    let base = Usage::of(&args.pid);
    let start = Instant::now();
    let (mut streams, mut failures) = open_all(
        target,
        count,
        &sources(args, target, count),
        &request,
        stop,
        watch,
    );
    let open_time = start.elapsed();
    wait(SETTLE, stop);
    let loaded = Usage::of(&args.pid);
    wait(args.hold, stop);
    let held = Usage::of(&args.pid);
    let opened = streams.len();
    let (verified, lost) = verify_sample(&mut streams, &request);
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
        limit,
        memory: (!args.pid.is_empty()).then_some(report::Memory { base, loaded, held }),
    }
}

fn request(args: &ConnectionsArgs) -> String {
    let host = args.host.as_deref().unwrap_or(&args.target);
    format!("GET {} HTTP/1.1\r\nHost: {host}\r\n\r\n", args.path)
}

/// An empty list leaves the source to the system.
fn sources(args: &ConnectionsArgs, target: SocketAddr, count: usize) -> Vec<IpAddr> {
    let is_loopback = matches!(target.ip(), IpAddr::V4(ip) if ip.is_loopback());
    if !args.sources.is_empty() || !is_loopback {
        return args.sources.clone();
    }
    // From 127.0.0.2 on: other programs of the machine use the ports of 127.0.0.1.
    let last = 2 + count.div_ceil(PORTS_PER_SOURCE).min(250) as u8;
    (2..last)
        .map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)))
        .collect()
}

/// `watch` is told how many are open, a few times a second.
fn open_all(
    target: SocketAddr,
    count: usize,
    sources: &[IpAddr],
    request: &str,
    stop: &AtomicBool,
    mut watch: impl FnMut(usize),
) -> (Vec<TcpStream>, Failures) {
    let next = AtomicUsize::new(0);
    let results = Mutex::new((Vec::with_capacity(count), Failures::default()));
    let open_many = || {
        let mut failed_in_a_row = 0;
        while failed_in_a_row < FAILURES_IN_A_ROW_MAX && !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            let source = sources.get(index % sources.len().max(1)).copied();
            let opened = open(target, source).and_then(|mut stream| {
                let status = exchange::exchange(&mut stream, request)?;
                Ok((stream, status))
            });
            // The lock is held for a push: no thread can have panicked with it half done.
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            match opened {
                Ok((stream, status)) if status < 400 => {
                    results.0.push(stream);
                    failed_in_a_row = 0;
                    continue;
                }
                Ok(_) => results.1.count(Kind::Status),
                Err(error) => results.1.count_error(&error),
            }
            failed_in_a_row += 1;
        }
    };
    let threads = OPENING_THREADS.min(count);
    let running = AtomicUsize::new(threads);
    let watcher = std::thread::current();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                open_many();
                running.fetch_sub(1, Ordering::Release);
                watcher.unpark();
            });
        }
        while running.load(Ordering::Acquire) > 0 {
            std::thread::park_timeout(WATCH_INTERVAL);
            let results = results.lock().unwrap_or_else(PoisonError::into_inner);
            watch(results.0.len());
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn open(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(target),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect_timeout(&target.into(), STEP_TIMEOUT)?;
    socket.set_read_timeout(Some(STEP_TIMEOUT))?;
    socket.set_write_timeout(Some(STEP_TIMEOUT))?;
    Ok(socket.into())
}

/// One more exchange on a hundredth of the connections, at least 100 and at most 1,000 of them.
fn verify_sample(streams: &mut [TcpStream], request: &str) -> (usize, Failures) {
    let sample = (streams.len() / 100).clamp(100, 1_000).min(streams.len());
    let step = streams.len().checked_div(sample).unwrap_or(1).max(1);
    let (mut verified, mut lost) = (0, Failures::default());
    for stream in streams.iter_mut().step_by(step).take(sample) {
        match exchange::exchange(stream, request) {
            Ok(status) if status < 400 => verified += 1,
            Ok(_) => lost.count(Kind::Status),
            Err(error) => lost.count_error(&error),
        }
    }
    (verified, lost)
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
