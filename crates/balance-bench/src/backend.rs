//! The built-in backend: an origin for HTTP/1, HTTP/2, TCP echo, sink and source that is cheap enough not to
//! be the bottleneck of a measurement, and names itself so that a demo shows who answered.
//!
//! It answers every request alike; what an origin can do wrong is the test kit's subject.

mod answer;
mod command;
mod connection;
mod event_loop;
mod http2;
mod identity;
mod scanner;

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use balance_tls::ServerPolicy;
use rustix::event::{EventfdFlags, eventfd};
use socket2::{Domain, Protocol, Socket, Type};

use answer::Answers;
use event_loop::EventLoop;

pub use command::BackendArgs;
pub(crate) use command::run;
pub use identity::{IdentityError, IdentityFiles};

/// What a backend does with a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Answers requests: HTTP/1 with keep-alive, pipelining and bodies of any framing; HTTP/2 by prior knowledge or ALPN.
    #[default]
    Http,
    /// Sends every byte back; closes when the client has closed its side.
    Echo,
    /// Reads and throws away.
    Sink,
    /// Writes as fast as the client reads.
    Source,
}

/// How to start a [`Backend`].
#[derive(Clone, Debug)]
pub struct BackendOptions {
    /// Where to accept. Port 0 means any free port. At least one.
    pub listen: Vec<SocketAddr>,
    pub mode: Mode,
    /// The length of the body of every answer.
    pub body_bytes: usize,
    /// How long every answer waits.
    pub delay: Duration,
    pub status: u16,
    /// Sent as `X-Backend`, unless empty.
    pub name: String,
    /// Whether the body says the name instead of being `body_bytes` of text.
    pub identify: bool,
    /// Threads, each with its own accept sockets. At least 1.
    pub threads: usize,
    /// None: cleartext.
    pub tls: Option<IdentityFiles>,
}

impl Default for BackendOptions {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            mode: Mode::Http,
            body_bytes: 128,
            delay: Duration::ZERO,
            status: 200,
            name: String::new(),
            identify: false,
            threads: 1,
            tls: None,
        }
    }
}

/// Why a backend did not start.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    #[error("no address to listen on")]
    NoAddress,
    #[error("status {0} cannot be an answer: a number from 200 to 599")]
    Status(u16),
    #[error("the name may only have visible ASCII characters and spaces")]
    Name,
    #[error("cannot listen on {address}: {reason}{}", remedy(.reason))]
    Listen {
        address: SocketAddr,
        reason: std::io::Error,
    },
    #[error("cannot speak TLS: {0}")]
    Tls(#[from] IdentityError),
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// A running backend. Dropping it stops it.
pub struct Backend {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    wakes: Vec<Arc<OwnedFd>>,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
}

/// What the threads of a backend have in common.
#[derive(Debug)]
struct Shared {
    mode: Mode,
    delay: Duration,
    answers: Answers,
    tls: Option<ServerPolicy>,
    stopping: AtomicBool,
    requests: AtomicU64,
    connections: AtomicU64,
    bytes: AtomicU64,
}

impl Backend {
    /// Listens and answers on threads of its own.
    ///
    /// # Errors
    /// What is wrong with the options, or the address that is in use.
    pub fn start(options: &BackendOptions) -> Result<Self, BackendError> {
        check(options)?;
        let shared = Arc::new(Shared {
            mode: options.mode,
            delay: options.delay,
            answers: Answers::encode(options),
            tls: options
                .tls
                .as_ref()
                .map(IdentityFiles::policy)
                .transpose()?,
            stopping: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        let sockets = bind_all(options)?;
        let addresses = sockets
            .first()
            .map(|listeners| {
                listeners
                    .iter()
                    .filter_map(|each| each.local_addr().ok())
                    .collect()
            })
            .unwrap_or_default();
        let mut backend = Self {
            addresses,
            shared,
            wakes: Vec::new(),
            threads: Vec::new(),
        };
        for listeners in sockets {
            backend
                .spawn_thread(listeners)
                .map_err(BackendError::Thread)?;
        }
        Ok(backend)
    }

    /// The first address it listens on, with its real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses
            .first()
            .copied()
            .expect("a backend has at least one address")
    }

    /// All addresses, in the order of the options.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Requests read so far; each of them is answered or about to be.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Bytes echoed, read or written so far; 0 in HTTP mode.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Closes all sockets and waits for the threads.
    pub fn stop(mut self) {
        self.join();
    }

    fn spawn_thread(&mut self, listeners: Vec<TcpListener>) -> std::io::Result<()> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let event_loop = EventLoop::new(Arc::clone(&self.shared), listeners, &wake)?;
        let name = format!("backend-{}", self.threads.len());
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || event_loop.run())?;
        self.wakes.push(wake);
        self.threads.push(thread);
        Ok(())
    }

    fn join(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        for wake in &self.wakes {
            // It can only fail by overflow of a counter that is raised once.
            let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
        }
        for thread in self.threads.drain(..) {
            // A thread that failed has nothing more to stop.
            let _ = thread.join();
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.join();
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

fn check(options: &BackendOptions) -> Result<(), BackendError> {
    if options.listen.is_empty() {
        return Err(BackendError::NoAddress);
    }
    if !(200..=599).contains(&options.status) {
        return Err(BackendError::Status(options.status));
    }
    if !options
        .name
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic())
    {
        return Err(BackendError::Name);
    }
    Ok(())
}

/// One set of accept sockets per thread.
fn bind_all(options: &BackendOptions) -> Result<Vec<Vec<TcpListener>>, BackendError> {
    let threads = options.threads.max(1);
    let mut sets: Vec<Vec<TcpListener>> = (0..threads).map(|_| Vec::new()).collect();
    for address in &options.listen {
        let failed = |reason| BackendError::Listen {
            address: *address,
            reason,
        };
        if threads > 1 && address.port() != 0 {
            // With SO_REUSEPORT another backend on the same port would be no error but half the answers.
            bind(*address, false).map_err(failed)?;
        }
        let first = bind(*address, threads > 1).map_err(failed)?;
        let bound = first.local_addr().map_err(failed)?;
        sets[0].push(first);
        for set in &mut sets[1..] {
            set.push(bind(bound, true).map_err(failed)?);
        }
    }
    Ok(sets)
}

/// What to do about it, where that is known.
fn remedy(reason: &std::io::Error) -> &'static str {
    match reason.kind() {
        std::io::ErrorKind::AddrInUse => "; choose another port, or port 0 for a free one",
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges",
        std::io::ErrorKind::AddrNotAvailable => "; it is no address of this machine",
        _ => "",
    }
}

fn bind(address: SocketAddr, reuse_port: bool) -> std::io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    socket.set_tcp_nodelay(true)?; // accepted sockets inherit it
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Cut to net.core.somaxconn by the kernel.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests;
