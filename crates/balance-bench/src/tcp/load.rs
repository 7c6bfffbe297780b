//! The connections of a TCP measurement, as tasks of a few threads.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinSet, LocalSet};

use super::{Bulk, Tally};
use crate::amount::Amount;
use crate::failures::Kind;
use crate::source::Sources;
use crate::threads::{Counts, Crew, share};

/// How much is read or written at once in bulk.
const BULK_BLOCK_BYTES: usize = 256 * 1024;
/// A message that has been under way for so long at the end of the run counts as lost.
const STALLED_AFTER: Duration = Duration::from_secs(1);
/// Before a failed connection is tried again: a target that refuses must not be asked in a busy loop.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// How often it is looked whether the run is over.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Where a number of messages is the end: without any event for so long, the rest will not come.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// What one connection of the load does and shares.
#[derive(Clone)]
struct Lane {
    target: SocketAddr,
    message: Rc<[u8]>,
    tally: Rc<RefCell<Tally>>,
    /// When the message that is under way was begun.
    begun: Rc<RefCell<Vec<Option<Instant>>>>,
    /// Messages that may still be begun, by all lanes.
    left: Rc<Cell<u64>>,
    number: usize,
    has_new_connections: bool,
    /// Over all connections of the run.
    sources: Rc<RefCell<Sources>>,
}

/// What is sent, over what, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) target: SocketAddr,
    pub(crate) connections: u32,
    /// At most as many as connections.
    pub(crate) threads: usize,
    /// Of a message, in bytes.
    pub(crate) size: u32,
    pub(crate) new_connections: bool,
    pub(crate) bulk: Option<Bulk>,
    pub(crate) amount: Amount,
}

/// Runs the load until its amount is done, or until `stop` becomes true. `watch` is told the messages that came back and
/// the errors so far, a few times a second.
///
/// # Errors
/// A thread or its runtime could not be started.
pub(crate) fn run(
    load: &Load,
    stop: &AtomicBool,
    watch: impl FnMut(u64, u64),
) -> io::Result<(Tally, Duration)> {
    let crew = Crew::new(load.threads);
    let job = |thread| {
        let counts = crew.counts(thread);
        move || run_thread(load, thread, stop, counts)
    };
    let results = crew.run((0..load.threads).map(job), watch)?;
    let all = results
        .into_iter()
        .reduce(|(mut all, longest), (one, elapsed)| {
            all.merge(&one);
            (all, longest.max(elapsed))
        });
    Ok(all.unwrap_or_default())
}

fn run_thread(
    load: &Load,
    thread: usize,
    stop: &AtomicBool,
    counts: &Counts,
) -> io::Result<(Tally, Duration)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tally = Rc::new(RefCell::new(Tally::default()));
    let part = |whole| share(whole, thread, load.threads);
    let connections = part(u64::from(load.connections)) as usize;
    let lane = Lane {
        target: load.target,
        message: message(load.size as usize).into(),
        tally: Rc::clone(&tally),
        begun: Rc::new(RefCell::new(vec![None; connections])),
        left: Rc::new(Cell::new(match load.amount {
            Amount::Time(_) => u64::MAX,
            Amount::Requests(count) => part(count),
        })),
        number: 0,
        has_new_connections: load.new_connections,
        sources: Rc::new(RefCell::new(Sources::from(thread as u32 * 101))),
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
            lanes.spawn_local(lane.run(load.bulk, load.new_connections));
        }
        tokio::select! {
            () = until_over(load.amount, &tally, stop, counts) => {}
            () = async { while lanes.join_next().await.is_some() {} } => {}
        }
    });
    let elapsed = start.elapsed();
    let is_stalled =
        |begun: &&Option<Instant>| begun.is_some_and(|at| at.elapsed() >= STALLED_AFTER);
    let stalled = begun.borrow().iter().filter(is_stalled).count();
    drop(lane);
    let mut tally = tally.take();
    tally.failures.count_n(Kind::TimedOut, stalled as u64);
    Ok((tally, elapsed))
}

/// Completes when the time is over, when it is to stop, or when nothing has happened for so long that the rest of a
/// number of messages will not come.
async fn until_over(amount: Amount, tally: &RefCell<Tally>, stop: &AtomicBool, counts: &Counts) {
    let start = Instant::now();
    let mut last = (start, 0);
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        let (completed, failed) = {
            let tally = tally.borrow();
            (tally.latency.count(), tally.failures.total())
        };
        counts.publish(completed, failed);
        if completed + failed > last.1 {
            last = (now, completed + failed);
        }
        let left = match amount {
            Amount::Time(duration) => (start + duration).saturating_duration_since(now),
            Amount::Requests(_) => (last.0 + SILENCE_MAX).saturating_duration_since(now),
        };
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(CHECK_INTERVAL)).await;
    }
}

impl Lane {
    /// Ends when no message is left to be sent; before that the run drops it.
    async fn run(self, bulk: Option<Bulk>, new_connections: bool) {
        while self.left.get() > 0 {
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
        while let Some(start) = self.begin() {
            self.echo(&mut stream, &mut received).await?;
            self.complete(start);
        }
        Ok(())
    }

    async fn connect_and_echo(&self) -> io::Result<()> {
        let Some(start) = self.begin() else {
            return Ok(());
        };
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

    /// None: no message is left to be sent.
    fn begin(&self) -> Option<Instant> {
        self.left.set(self.left.get().checked_sub(1)?);
        let now = Instant::now();
        self.begun.borrow_mut()[self.number] = Some(now);
        Some(now)
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
