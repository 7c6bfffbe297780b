//! TCP peers for layer 4: echo, sink, source, and one that answers only after FIN.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use socket2::{Domain, Socket, Type};

use crate::PATIENCE;
use crate::accepting::{ANY_PORT, Accepting, Incoming, Threads};
use crate::client::reset;

/// What the server does with each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMode {
    /// Sends every byte back, and FIN after FIN.
    Echo,
    /// Reads until FIN and sends nothing.
    Sink,
    /// Sends so many bytes (see [`EchoServer::pattern`]), then FIN, and reads until FIN.
    Source(usize),
    /// Reads until FIN and only then sends this: works only when half-closes pass.
    AnswerAfterFin(Vec<u8>),
    /// Sends this and FIN at once, then reads until FIN: the other half-close.
    FinFirst(Vec<u8>),
    /// Resets when so many bytes have arrived.
    ResetAfter(usize),
    /// Keeps the connection open and reads nothing.
    Ignore,
}

/// An address that refuses connections and that nobody else can take meanwhile: bound, but not listened on.
#[derive(Debug)]
pub struct DeadBackend {
    address: SocketAddr,
    _socket: Socket,
}

impl DeadBackend {
    pub fn new() -> std::io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Without SO_REUSEADDR: with it on both sides, others could bind the port as well.
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        let address = socket.local_addr()?.as_socket();
        Ok(Self {
            address: address.ok_or(ErrorKind::InvalidInput)?,
            _socket: socket,
        })
    }

    pub fn addr(&self) -> SocketAddr {
        self.address
    }
}

/// How the peer's side of a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Fin,
    Reset,
}

/// One connection to an [`EchoServer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub peer: SocketAddr,
    /// The first bytes it sent, at most 1 MiB of them.
    pub received: Vec<u8>,
    /// All bytes it sent.
    pub received_bytes: u64,
    /// `None` while it is open.
    pub end: Option<End>,
}

/// A running TCP server. Dropping it closes everything.
#[derive(Debug)]
pub struct EchoServer {
    shared: Arc<Shared>,
    accepting: Accepting,
}

#[derive(Debug)]
struct Shared {
    mode: PeerMode,
    stopping: Arc<AtomicBool>,
    log: Mutex<Log>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Log {
    sessions: Vec<Session>,
    streams: Vec<TcpStream>,
}

/// How much of a session's input is kept.
const KEPT_BYTES_MAX: usize = 1 << 20;

impl EchoServer {
    /// Listens on a free port of 127.0.0.1.
    pub fn start(mode: PeerMode) -> Self {
        let shared = Arc::new(Shared {
            mode,
            stopping: Arc::default(),
            log: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = Accepting::start(ANY_PORT, &shared.stopping, {
            let shared = Arc::clone(&shared);
            move |incoming| serve_all(incoming, &shared)
        });
        Self { shared, accepting }
    }

    pub fn addr(&self) -> SocketAddr {
        self.accepting.addr()
    }

    /// All sessions so far, in the order of accepting.
    pub fn sessions(&self) -> Vec<Session> {
        self.shared.log().sessions.clone()
    }

    /// Waits until `count` sessions have been accepted.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    pub fn wait_for(&self, count: usize) -> Vec<Session> {
        self.wait_until(&format!("{count} sessions"), |sessions| {
            sessions.len() >= count
        })
    }

    /// Waits until `count` sessions have ended.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    pub fn wait_for_ended(&self, count: usize) -> Vec<Session> {
        let ended = |sessions: &[Session]| sessions.iter().filter(|s| s.end.is_some()).count();
        self.wait_until(&format!("{count} ended sessions"), |sessions| {
            ended(sessions) >= count
        })
    }

    /// The bytes of a source: not periodic in any buffer size, so that a lost or doubled block shows.
    pub fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index % 251) as u8).collect()
    }

    /// Closes everything. The port refuses connections from now on.
    pub fn stop(self) {
        drop(self);
    }

    fn wait_until(&self, what: &str, is_met: impl Fn(&[Session]) -> bool) -> Vec<Session> {
        let deadline = Instant::now() + PATIENCE;
        let mut log = self.shared.log();
        while !is_met(&log.sessions) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what}: {:?}", log.sessions);
            let waited = self.shared.changed.wait_timeout(log, left);
            log = waited
                .expect("no thread of the server panics with the lock")
                .0;
        }
        log.sessions.clone()
    }
}

impl Shared {
    /// A test that fails in a wait panics with the lock; its log is as good as before, and the drop that
    /// follows needs it.
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, act: impl FnOnce(&mut Log)) {
        act(&mut self.log());
        self.changed.notify_all();
    }
}

fn serve_all(incoming: Incoming, shared: &Arc<Shared>) {
    let mut threads = Threads::default();
    for (stream, peer) in incoming {
        let Ok(kept) = stream.try_clone() else {
            continue;
        };
        let number = shared.log().sessions.len();
        shared.change(|log| {
            log.streams.push(kept);
            log.sessions.push(Session {
                peer,
                received: Vec::new(),
                received_bytes: 0,
                end: None,
            });
        });
        let shared = Arc::clone(shared);
        threads.spawn(move || {
            let end = serve(stream, &shared, number);
            shared.change(|log| log.sessions[number].end = Some(end));
        });
    }
    for stream in &shared.log().streams {
        let _ = stream.shutdown(Shutdown::Both); // wakes its thread, if it still has one
    }
    threads.join();
}

fn serve(mut stream: TcpStream, shared: &Shared, number: usize) -> End {
    let result = match &shared.mode {
        PeerMode::Echo => read_until_fin(&mut stream, shared, number, usize::MAX, true),
        PeerMode::Sink => read_until_fin(&mut stream, shared, number, usize::MAX, false),
        PeerMode::Source(length) => stream
            .write_all(&EchoServer::pattern(*length))
            .and_then(|()| stream.shutdown(Shutdown::Write))
            .and_then(|()| read_until_fin(&mut stream, shared, number, usize::MAX, false)),
        PeerMode::AnswerAfterFin(answer) => {
            read_until_fin(&mut stream, shared, number, usize::MAX, false)
                .and_then(|()| stream.write_all(answer))
        }
        PeerMode::FinFirst(answer) => stream
            .write_all(answer)
            .and_then(|()| stream.shutdown(Shutdown::Write))
            .and_then(|()| read_until_fin(&mut stream, shared, number, usize::MAX, false)),
        PeerMode::ResetAfter(length) => read_until_fin(&mut stream, shared, number, *length, false)
            .and_then(|()| reset(&stream)),
        PeerMode::Ignore => wait_for_end(&stream, shared),
    };
    // Our own FIN goes out although the log still holds a copy of the socket.
    let _ = stream.shutdown(Shutdown::Both);
    match result {
        Err(error) if is_reset(&error) => End::Reset,
        _ => End::Fin,
    }
}

fn read_until_fin(
    stream: &mut TcpStream,
    shared: &Shared,
    number: usize,
    bytes_max: usize,
    sends_back: bool,
) -> std::io::Result<()> {
    let mut block = vec![0; 64 * 1024];
    let mut total = 0;
    while total < bytes_max {
        let read = stream.read(&mut block)?;
        if read == 0 {
            return Ok(());
        }
        total += read;
        shared.change(|log| {
            let session = &mut log.sessions[number];
            let room = KEPT_BYTES_MAX
                .saturating_sub(session.received.len())
                .min(read);
            session.received.extend_from_slice(&block[..room]);
            session.received_bytes += read as u64;
        });
        if sends_back {
            stream.write_all(&block[..read])?;
        }
    }
    Ok(())
}

/// Blocks without reading until the connection breaks or the server stops.
fn wait_for_end(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut log = shared.log();
    while !shared.stopping.load(Ordering::Acquire) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.take_error()?.is_some() {
            break;
        }
        let step = left.min(std::time::Duration::from_millis(10));
        log = shared
            .changed
            .wait_timeout(log, step)
            .expect("the lock is not poisoned")
            .0;
    }
    Ok(())
}

fn is_reset(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

#[cfg(test)]
mod tests {
    use super::{EchoServer, End, PeerMode};
    use crate::RawClient;

    #[test]
    fn echoes_until_fin() {
        let server = EchoServer::start(PeerMode::Echo);
        let mut client = RawClient::connect(server.addr()).unwrap();
        client.send("hello").unwrap();
        assert_eq!(client.read_exact(5).unwrap(), b"hello");
        client.half_close().unwrap();
        assert!(client.is_closed_by_peer());
        let sessions = server.wait_for_ended(1);
        assert_eq!(
            (sessions[0].received.as_slice(), sessions[0].end),
            (&b"hello"[..], Some(End::Fin))
        );
    }

    #[test]
    fn half_closes_work_in_both_directions() {
        let late = EchoServer::start(PeerMode::AnswerAfterFin(b"bye".to_vec()));
        let mut client = RawClient::connect(late.addr()).unwrap();
        client.send("x").unwrap();
        client.half_close().unwrap();
        assert_eq!(client.read_to_end().unwrap(), b"bye");

        let early = EchoServer::start(PeerMode::FinFirst(b"hi".to_vec()));
        let mut client = RawClient::connect(early.addr()).unwrap();
        assert_eq!(client.read_to_end().unwrap(), b"hi");
        client.send("after").unwrap();
        drop(client);
        assert_eq!(early.wait_for_ended(1)[0].received, b"after");
    }

    #[test]
    fn resets_are_seen_on_both_sides() {
        let server = EchoServer::start(PeerMode::ResetAfter(1));
        let mut client = RawClient::connect(server.addr()).unwrap();
        client.send("x").unwrap();
        assert_eq!(client.read_to_end(), Err(crate::StrictError::Reset));

        let server = EchoServer::start(PeerMode::Sink);
        let client = RawClient::connect(server.addr()).unwrap();
        server.wait_for(1);
        client.reset().unwrap();
        assert_eq!(server.wait_for_ended(1)[0].end, Some(End::Reset));
    }

    #[test]
    fn a_source_sends_its_pattern() {
        let server = EchoServer::start(PeerMode::Source(300_000));
        let mut client = RawClient::connect(server.addr()).unwrap();
        assert!(client.read_to_end().unwrap() == EchoServer::pattern(300_000));
    }
}
