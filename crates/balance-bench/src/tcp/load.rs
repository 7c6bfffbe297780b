//! The connections of a TCP measurement, as tasks of one thread.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinSet, LocalSet};

use super::{Bulk, Tally, TcpArgs};
use crate::failures::Kind;
use crate::source::Sources;

/// How much is read or written at once in bulk.
const BULK_BLOCK_BYTES: usize = 256 * 1024;
/// A message that has been under way for so long at the end of the run counts as lost.
const STALLED_AFTER: Duration = Duration::from_secs(1);
/// Before a failed connection is tried again: a target that refuses must not be asked in a busy loop.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// What one connection of the load does and shares.
#[derive(Clone)]
struct Lane {
    target: SocketAddr,
    message: Rc<[u8]>,
    tally: Rc<RefCell<Tally>>,
    /// When the message that is under way was begun.
    begun: Rc<RefCell<Vec<Option<Instant>>>>,
    number: usize,
    has_new_connections: bool,
    /// Over all connections of the run.
    sources: Rc<RefCell<Sources>>,
}

/// Runs the load until its time is over or the process is interrupted.
///
/// # Errors
/// The runtime could not be started.
pub(super) fn run(target: SocketAddr, args: &TcpArgs) -> io::Result<(Tally, Duration)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tally = Rc::new(RefCell::new(Tally::default()));
    let connections = args.connections as usize;
    let lane = Lane {
        target,
        message: message(args.size as usize).into(),
        tally: Rc::clone(&tally),
        begun: Rc::new(RefCell::new(vec![None; connections])),
        number: 0,
        has_new_connections: args.new_connections,
        sources: Rc::default(),
    };
    let begun = Rc::clone(&lane.begun);
    let start = Instant::now();
    LocalSet::new().block_on(&runtime, async {
        let mut lanes = JoinSet::new();
        for number in 0..connections {
            let lane = Lane {
                number,
                ..lane.clone()
            };
            lanes.spawn_local(lane.run(args.bulk, args.new_connections));
        }
        tokio::select! {
            () = tokio::time::sleep(args.duration) => {}
            result = crate::interrupt::signalled() => result?,
        }
        io::Result::Ok(())
    })?;
    let elapsed = start.elapsed();
    let is_stalled =
        |begun: &&Option<Instant>| begun.is_some_and(|at| at.elapsed() >= STALLED_AFTER);
    let stalled = begun.borrow().iter().filter(is_stalled).count();
    drop(lane);
    let mut tally = tally.take();
    (0..stalled).for_each(|_| tally.failures.count(Kind::TimedOut));
    Ok((tally, elapsed))
}

impl Lane {
    /// Never ends by itself: the run drops it.
    async fn run(self, bulk: Option<Bulk>, new_connections: bool) {
        loop {
            let result = match bulk {
                Some(Bulk::Read) => self.read_bulk().await,
                Some(Bulk::Write) => self.write_bulk().await,
                None if new_connections => self.connect_and_echo().await,
                None => self.echo_on_one_connection().await,
            };
            self.begun.borrow_mut()[self.number] = None;
            if let Err(error) = result {
                self.tally.borrow_mut().failures.count_error(&error);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let source = self
            .has_new_connections
            .then(|| self.sources.borrow_mut().next(self.target.ip()));
        let stream = match source.flatten() {
            None => TcpStream::connect(self.target).await?,
            Some(source) => {
                let socket = TcpSocket::new_v4()?;
                socket.bind(SocketAddr::new(source, 0))?;
                socket.connect(self.target).await?
            }
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn echo_on_one_connection(&self) -> io::Result<()> {
        let mut stream = self.connect().await?;
        let mut received = vec![0; self.message.len()];
        loop {
            let start = self.begin();
            self.echo(&mut stream, &mut received).await?;
            self.complete(start);
        }
    }

    async fn connect_and_echo(&self) -> io::Result<()> {
        let start = self.begin();
        let mut stream = self.connect().await?;
        let mut received = vec![0; self.message.len()];
        self.echo(&mut stream, &mut received).await?;
        self.complete(start);
        Ok(())
    }

    async fn echo(&self, stream: &mut TcpStream, received: &mut [u8]) -> io::Result<()> {
        if self.message.len() <= ONE_WAY_AT_A_TIME_BYTES {
            stream.write_all(&self.message).await?;
            stream.read_exact(received).await?;
        } else {
            // A long message fills every buffer on its way: it has to be read while it is written.
            let (mut reader, mut writer) = stream.split();
            tokio::try_join!(writer.write_all(&self.message), reader.read_exact(received))?;
        }
        if received == &*self.message {
            Ok(())
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    async fn read_bulk(&self) -> io::Result<()> {
        let mut stream = self.connect().await?;
        let mut block = vec![0; BULK_BLOCK_BYTES];
        loop {
            let read = stream.read(&mut block).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.tally.borrow_mut().bytes += read as u64;
        }
    }

    async fn write_bulk(&self) -> io::Result<()> {
        let mut stream = self.connect().await?;
        let block = vec![b'.'; BULK_BLOCK_BYTES];
        loop {
            let written = stream.write(&block).await?;
            self.tally.borrow_mut().bytes += written as u64;
        }
    }

    fn begin(&self) -> Instant {
        let now = Instant::now();
        self.begun.borrow_mut()[self.number] = Some(now);
        now
    }

    fn complete(&self, start: Instant) {
        let mut tally = self.tally.borrow_mut();
        tally.latency.record(start.elapsed());
        tally.bytes += self.message.len() as u64;
    }
}

/// Shorter messages fit into socket buffers whole.
const ONE_WAY_AT_A_TIME_BYTES: usize = 8 * 1024;

/// Not periodic in powers of two, so that a lost or doubled block does not look right.
fn message(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}
