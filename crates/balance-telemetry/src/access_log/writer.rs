//! The thread that writes, and the queue to it.
//!
//! The queue holds at most `BATCHES_MAX` batches; senders never wait. A batch that meets a full queue, or
//! an error of the target (a full disk), is dropped and its lines counted.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{BATCH_BYTES, LogTarget};
use crate::registry::Registry;

/// Encoded lines on their way to the writer.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: u64,
}

/// Between workers and writer. The lock is held for a push or a pop only, never while writing.
pub(super) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    written: Condvar,
    registry: Arc<Registry>,
}

#[derive(Default)]
struct State {
    batches: VecDeque<Batch>,
    /// Emptied buffers.
    pool: Vec<Vec<u8>>,
    /// Counts batches taken in and done with, for who waits until all are written.
    accepted: u64,
    done: u64,
    reopen: bool,
}

/// Opens `target` and starts its thread.
pub(super) fn spawn(target: &LogTarget, registry: Arc<Registry>) -> io::Result<Arc<Queue>> {
    let sink = Sink {
        file: open(target)?,
        target: target.clone(),
        is_torn: false,
        is_failing: false,
    };
    let queue = Arc::new(Queue {
        state: Mutex::new(State {
            batches: VecDeque::with_capacity(BATCHES_MAX),
            ..State::default()
        }),
        work: Condvar::new(),
        written: Condvar::new(),
        registry,
    });
    let served = Arc::clone(&queue);
    thread::Builder::new()
        .name("balance-log".to_owned())
        .spawn(move || serve(&served, sink))?;
    Ok(queue)
}

impl Queue {
    /// An empty buffer, used before if possible.
    pub(super) fn take_buffer(&self) -> Vec<u8> {
        let pooled = self.lock().pool.pop();
        pooled.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
    }

    /// Takes the batch's lines, to be written or dropped; the batch is empty afterwards. A dropped batch
    /// keeps its buffer for the next lines.
    pub(super) fn send(&self, batch: &mut Batch) {
        let mut state = self.lock();
        if state.batches.len() < BATCHES_MAX {
            state.batches.push_back(mem::take(batch));
            state.accepted += 1;
            drop(state);
            self.work.notify_one();
        } else {
            drop(state);
            self.registry.log_lines_dropped(batch.lines);
            batch.bytes.clear();
            batch.lines = 0;
        }
    }

    pub(super) fn request_reopen(&self) {
        self.lock().reopen = true;
        self.work.notify_one();
    }

    /// Waits until what was accepted before is done with. Whether that came before `timeout`.
    pub(super) fn wait_written(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        let goal = state.accepted;
        while state.done < goal {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.written.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn finish(&self, mut batch: Batch) {
        batch.bytes.clear();
        let mut state = self.lock();
        state.done += 1;
        // A buffer that a few giant lines blew up is not kept.
        if state.pool.len() < BATCHES_MAX && batch.bytes.capacity() <= 2 * BUFFER_BYTES {
            state.pool.push(batch.bytes);
        }
        drop(state);
        self.written.notify_all();
    }

    /// Nothing is left half done where a panic could strike, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

enum Work {
    Write(Batch),
    Reopen,
    End,
}

fn serve(queue: &Arc<Queue>, mut sink: Sink) {
    loop {
        match next_work(queue) {
            Work::Write(batch) => {
                if let Err(error) = sink.write(&batch.bytes) {
                    queue.registry.log_lines_dropped(batch.lines);
                    sink.report(&error);
                }
                queue.finish(batch);
            }
            Work::Reopen => sink.reopen(),
            Work::End => return,
        }
    }
}

fn next_work(queue: &Arc<Queue>) -> Work {
    let mut state = queue.lock();
    loop {
        if mem::take(&mut state.reopen) {
            return Work::Reopen;
        }
        if let Some(batch) = state.batches.pop_front() {
            return Work::Write(batch);
        }
        // The only other owners are the log and its workers: without them nothing can come any more.
        if Arc::strong_count(queue) == 1 {
            return Work::End;
        }
        let waited = queue.work.wait_timeout(state, ORPHAN_CHECK);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// The open target.
struct Sink {
    file: File,
    target: LogTarget,
    /// The last write broke off in the middle of a line.
    is_torn: bool,
    is_failing: bool,
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_torn {
            // The next lines must not grow together with the stump.
            write_all(&mut self.file, b"\n").map_err(|(error, _)| error)?;
            self.is_torn = false;
        }
        let result = write_all(&mut self.file, bytes);
        if let Err((error, written)) = result {
            self.is_torn = written > 0 && bytes.get(written - 1) != Some(&b'\n');
            return Err(error);
        }
        if mem::take(&mut self.is_failing) {
            tracing::info!(target = ?self.target, "the access log can be written again");
        }
        Ok(())
    }

    fn reopen(&mut self) {
        match open(&self.target) {
            Ok(file) => {
                self.file = file;
                self.is_torn = false;
            }
            Err(error) => tracing::warn!(
                target = ?self.target,
                %error,
                "cannot reopen the access log: the old file stays in use"
            ),
        }
    }

    /// Once per failure, not per batch: the process log may be on the same full disk.
    fn report(&mut self, error: &io::Error) {
        if !mem::replace(&mut self.is_failing, true) {
            tracing::warn!(
                target = ?self.target,
                %error,
                "cannot write the access log: lines are dropped and counted"
            );
        }
    }
}

/// As `Write::write_all`, but tells how far it came, and waits on a target that somebody else made
/// non-blocking (a shell's pipe).
fn write_all(file: &mut File, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return Err((ErrorKind::WriteZero.into(), written)),
            Ok(n) => written += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::park_timeout(RETRY_PAUSE)
            }
            Err(error) => return Err((error, written)),
        }
    }
    Ok(())
}

fn open(target: &LogTarget) -> io::Result<File> {
    match target {
        LogTarget::Stdout => Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        LogTarget::Stderr => Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
        LogTarget::File(path) => open_file(OpenOptions::new().create(true), path),
    }
}

/// Opens a file for appending, as the writer does, with `options` more. A named pipe without a reader would
/// keep who opens it waiting for one, and with it the start or the reload: it is an error instead.
///
/// # Errors
/// It cannot be opened, or is a pipe that nobody reads.
pub fn open_file(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let opened = options
        .append(true)
        .mode(0o640)
        .custom_flags(nonblocking)
        .open(path);
    opened.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NXIO) => io::Error::other("nobody reads this pipe"),
        _ => error,
    })
}

/// A batch and the line that overfills it.
const BUFFER_BYTES: usize = BATCH_BYTES + 8 * 1024;

/// 2 MiB of lines: a second's worth at 10,000 requests per second, so that a hiccup of the disk loses none.
pub(super) const BATCHES_MAX: usize = 64;

/// How soon an abandoned writer notices. Its log was replaced by a reload; nobody waits for it.
const ORPHAN_CHECK: Duration = Duration::from_secs(1);

const RETRY_PAUSE: Duration = Duration::from_millis(10);
