//! A backend that records the exact bytes it received, parses them strictly and answers by script.
//!
//! A request that a strict parser refuses is kept with the reason ([`Recorded::violation`]) and answered 400:
//! a test that expects "nothing reaches the backend" or "only this" compares [`Origin::requests`].

mod request;
mod script;
mod serve;

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::accepting::{ANY_PORT, Accepting};
use crate::strict::{Field, values};

pub use script::Script;

/// One request, from its first byte on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The number of its connection, from 0 in the order of accepting.
    pub connection: usize,
    /// Its place on that connection, from 0.
    pub index: usize,
    pub method: String,
    pub target: String,
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    pub fields: Vec<Field>,
    /// Without its framing.
    pub body: Vec<u8>,
    pub trailers: Vec<Field>,
    /// The exact bytes, framing included.
    pub raw: Vec<u8>,
    /// Whether the body has ended too.
    pub is_complete: bool,
    /// Why a strict backend refuses it.
    pub violation: Option<String>,
}

impl Recorded {
    /// The value of the first field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).first().copied()
    }

    /// The values of all fields of this name, in order.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        values(&self.fields, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What happens to a connection before any request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnConnect {
    #[default]
    Serve,
    /// FIN at once.
    Close,
    /// RST at once.
    Reset,
    /// Keeps it open and never reads.
    Ignore,
    /// Sends bytes nobody asked for, then serves.
    SendFirst(Vec<u8>),
}

/// How an origin treats its connections.
#[derive(Clone, Debug, Default)]
pub struct OriginOptions {
    pub on_connect: OnConnect,
    /// Closes a connection that is idle for this long after a response, as Node does after 5 s.
    pub idle_timeout: Option<Duration>,
    /// Closes after this many responses without having said so. 0 = never.
    pub requests_per_connection_max: usize,
    /// Where to listen; any free port when absent.
    pub listen: Option<SocketAddr>,
}

/// The running backend. Dropping it closes everything.
pub struct Origin {
    shared: Arc<Shared>,
    accepting: Accepting,
}

type Scripted = dyn Fn(&Recorded) -> Script + Send + Sync;

struct Shared {
    script: Box<Scripted>,
    options: OriginOptions,
    stopping: Arc<AtomicBool>,
    log: Mutex<Log>,
    changed: Condvar,
}

#[derive(Default)]
struct Log {
    requests: Vec<Recorded>,
    /// All connections ever accepted; the stream is gone when the connection has ended.
    connections: Vec<Option<TcpStream>>,
    /// What came after a 101, by connection.
    tunnelled: Vec<(usize, Vec<u8>)>,
}

impl Origin {
    /// Listens on 127.0.0.1 and answers each request as `script` says. It is asked once per request, when the
    /// head is there and the body is not.
    pub fn start(script: impl Fn(&Recorded) -> Script + Send + Sync + 'static) -> Self {
        Self::with_options(OriginOptions::default(), script)
    }

    /// Answers every request alike.
    pub fn answering(script: Script) -> Self {
        Self::start(move |_| script.clone())
    }

    /// Answers the first request with the first script and so on; the last one repeats.
    pub fn sequence(scripts: Vec<Script>) -> Self {
        let next = std::sync::atomic::AtomicUsize::new(0);
        Self::start(move |_| {
            let index = next
                .fetch_add(1, Ordering::Relaxed)
                .min(scripts.len().saturating_sub(1));
            scripts.get(index).cloned().unwrap_or_default()
        })
    }

    /// As [`Origin::start`] with options for the connections.
    pub fn with_options(
        options: OriginOptions,
        script: impl Fn(&Recorded) -> Script + Send + Sync + 'static,
    ) -> Self {
        let listen = options.listen.unwrap_or(ANY_PORT);
        let shared = Arc::new(Shared {
            script: Box::new(script),
            options,
            stopping: Arc::default(),
            log: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = Accepting::start(listen, &shared.stopping, {
            let shared = Arc::clone(&shared);
            move |incoming| serve::serve_all(incoming, &shared)
        });
        Self { shared, accepting }
    }

    pub fn addr(&self) -> SocketAddr {
        self.accepting.addr()
    }

    /// All requests so far, incomplete ones too, in the order of their heads.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.log().requests.clone()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.log().connections.len()
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.log().connections.iter().flatten().count()
    }

    /// What arrived after a 101 on this connection.
    pub fn tunnelled(&self, connection: usize) -> Vec<u8> {
        let log = self.shared.log();
        let parts = log
            .tunnelled
            .iter()
            .filter(|(number, _)| *number == connection);
        parts.flat_map(|(_, bytes)| bytes.iter().copied()).collect()
    }

    /// The reasons why requests were refused, in order.
    pub fn violations(&self) -> Vec<String> {
        self.shared
            .log()
            .requests
            .iter()
            .filter_map(|each| each.violation.clone())
            .collect()
    }

    /// Waits until `count` requests are complete and returns all requests.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    pub fn wait_for(&self, count: usize) -> Vec<Recorded> {
        let complete = |log: &Log| log.requests.iter().filter(|each| each.is_complete).count();
        self.wait_until(&format!("{count} complete requests"), |log| {
            complete(log) >= count
        });
        self.requests()
    }

    /// Waits until `count` request heads have arrived and returns all requests.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    pub fn wait_for_heads(&self, count: usize) -> Vec<Recorded> {
        self.wait_until(&format!("{count} request heads"), |log| {
            log.requests.len() >= count
        });
        self.requests()
    }

    /// Waits until the head of a request to this target has arrived.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    pub fn wait_for_head_of(&self, target: &str) {
        self.wait_until(&format!("request to {target}"), |log| {
            log.requests.iter().any(|each| each.target == target)
        });
    }

    /// Waits until `count` connections have been accepted.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    pub fn wait_for_connections(&self, count: usize) {
        self.wait_until(&format!("{count} connections"), |log| {
            log.connections.len() >= count
        });
    }

    /// Waits until exactly `count` connections are open.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    pub fn wait_for_open_connections(&self, count: usize) {
        let open = |log: &Log| log.connections.iter().flatten().count();
        self.wait_until(&format!("{count} open connections"), |log| {
            open(log) == count
        });
    }

    /// Closes every connection that is open now; new ones are served.
    pub fn close_connections(&self) {
        for stream in self.shared.log().connections.iter().flatten() {
            // It may have been closed by its peer in between, which is the same.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Closes everything and waits for it. The port refuses connections from now on.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn wait_until(&self, what: &str, is_met: impl Fn(&Log) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut log = self.shared.log();
        while !is_met(&log) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "no {what} at the origin; {} connections, requests: {:?}",
                log.connections.len(),
                log.requests
            );
            let waited = self.shared.changed.wait_timeout(log, left);
            log = waited
                .expect("no thread of the origin panics with the lock")
                .0;
        }
    }

    fn shut_down(&mut self) {
        self.accepting.stop();
        self.close_connections();
        self.accepting.join();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin")
            .field("address", &self.addr())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// A test that fails in a wait panics with the lock; its log is as good as before, and the drop that
    /// follows needs it.
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, act: impl FnOnce(&mut Log) -> T) -> T {
        let result = act(&mut self.log());
        self.changed.notify_all();
        result
    }
}

#[cfg(test)]
mod tests;
