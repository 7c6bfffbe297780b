//! Opening many connections, and asking some of them again.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::ConnectionsArgs;
use super::held::{Held, Opener, Talk};
use crate::failures::{Failures, Kind};
use crate::tls::Handshakes;

/// What is opened.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) target: SocketAddr,
    pub(super) count: usize,
    /// Used in turn. Empty: left to the system.
    pub(super) sources: &'a [IpAddr],
    /// There is one exchange on each.
    pub(super) talk: &'a Talk,
}

/// What was opened.
#[derive(Default)]
pub(super) struct Opened {
    pub(super) connections: Vec<Held>,
    pub(super) failures: Failures,
    pub(super) handshakes: Handshakes,
}

/// Threads that open connections: enough that a round trip of a millisecond is no obstacle.
const OPENING_THREADS: usize = 8;
/// Ports used per source address. Linux has 28,232, but those of the last minute's runs are in TIME_WAIT,
/// and finding one of the last free ones costs milliseconds.
const PORTS_PER_SOURCE: usize = 1_000;
/// How long connecting, and each read and write, may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the progress is shown.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// A target that fails so often in a row is not asked any more.
const FAILURES_IN_A_ROW_MAX: usize = 50;

/// An empty list leaves the source to the system.
pub(super) fn sources(args: &ConnectionsArgs, target: SocketAddr, count: usize) -> Vec<IpAddr> {
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
pub(super) fn open_all(
    wanted: Wanted<'_>,
    stop: &AtomicBool,
    mut watch: impl FnMut(usize),
) -> Opened {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Opened::default());
    // The lock is held for a push: no thread can have panicked with it half done.
    let lock = || results.lock().unwrap_or_else(PoisonError::into_inner);
    let open_many = || {
        let mut opener = Opener::new(wanted.talk);
        let mut failed_in_a_row = 0;
        while failed_in_a_row < FAILURES_IN_A_ROW_MAX && !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= wanted.count {
                break;
            }
            let opened = open(wanted, index, &mut opener);
            let mut results = lock();
            match opened {
                Ok((held, status)) if status < 400 => {
                    results.connections.push(held);
                    failed_in_a_row = 0;
                    continue;
                }
                Ok(_) => results.failures.count(Kind::Status),
                Err(error) => results.failures.count_error(&error),
            }
            failed_in_a_row += 1;
        }
        lock().handshakes.merge(&opener.handshakes);
    };
    let threads = OPENING_THREADS.min(wanted.count);
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
            watch(lock().connections.len());
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// One more exchange on a hundredth of the connections, at least 100 and at most 1,000 of them.
pub(super) fn verify_sample(held: &mut [Held], talk: &Talk) -> (usize, Failures) {
    let sample = (held.len() / 100).clamp(100, 1_000).min(held.len());
    let step = held.len().checked_div(sample).unwrap_or(1).max(1);
    let (mut verified, mut lost) = (0, Failures::default());
    let mut opener = Opener::new(talk);
    for each in held.iter_mut().step_by(step).take(sample) {
        match opener.ask(each) {
            Ok(status) if status < 400 => verified += 1,
            Ok(_) => lost.count(Kind::Status),
            Err(error) => lost.count_error(&error),
        }
    }
    (verified, lost)
}

fn open(wanted: Wanted<'_>, index: usize, opener: &mut Opener<'_>) -> io::Result<(Held, u16)> {
    let source = wanted.sources.get(index % wanted.sources.len().max(1));
    let socket = connect(wanted.target, source.copied())?;
    let mut held = opener.open(socket)?;
    let status = opener.ask(&mut held)?;
    Ok((held, status))
}

fn connect(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
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
