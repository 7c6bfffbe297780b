//! The access log: one line per exchange, encoded by the worker, written by a thread of its own.
//!
//! ```text
//!   worker ── record ──> own buffer ── 32 KiB or tick ──> bounded queue ──> writer thread ──> file, stdout
//!                            ^                                                   │
//!                            └───────────────── emptied buffers <────────────────┘
//! ```
//!
//! Traffic never waits for the log: when the queue is full (a blocked pipe, a slow disk) the buffer's lines
//! are dropped and counted in `balance_access_log_lines_dropped_total`.

mod escape;
mod record;
mod timestamp;
mod writer;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::registry::Registry;

pub use record::{AccessRecord, PhaseTimes};
pub use timestamp::TimestampCache;

pub use writer::open_file;
use writer::{Batch, Queue};

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum LogFormat {
    /// The combined log format, with what a proxy adds behind it as `name=value`.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum LogTarget {
    #[default]
    Stdout,
    Stderr,
    /// Opened for append, made with mode 0640 if missing.
    File(PathBuf),
}

/// What to write, and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct AccessLogOptions {
    pub target: LogTarget,
    pub format: LogFormat,
}

/// An access log and its writer thread. The thread ends when this and all [`WorkerLog`]s are gone.
#[derive(Debug)]
pub struct AccessLog {
    options: AccessLogOptions,
    queue: Arc<Queue>,
}

/// One worker's end of the log.
#[derive(Debug)]
pub struct WorkerLog {
    format: LogFormat,
    queue: Arc<Queue>,
    pending: RefCell<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    batch: Batch,
    timestamps: TimestampCache,
}

impl AccessLog {
    /// Opens the target and starts the writer. Dropped lines are counted in `registry`.
    ///
    /// # Errors
    /// The target cannot be opened, or no thread can be started.
    pub fn spawn(options: AccessLogOptions, registry: Arc<Registry>) -> io::Result<Self> {
        let queue = writer::spawn(&options.target, registry)?;
        Ok(Self { options, queue })
    }

    /// What it was started with.
    pub fn options(&self) -> &AccessLogOptions {
        &self.options
    }

    /// An end for the worker that calls.
    pub fn worker(&self) -> WorkerLog {
        WorkerLog {
            format: self.options.format,
            queue: Arc::clone(&self.queue),
            pending: RefCell::default(),
        }
    }

    /// Opens the file anew, after log rotation renamed it (SIGUSR1). Takes effect with the next write or
    /// sooner; if opening fails, the old file stays in use and a warning says so.
    pub fn reopen(&self) {
        self.queue.request_reopen();
    }

    /// Waits until everything that workers have flushed is written, at most `deadline`. Whether it was.
    pub fn flush(&self, deadline: Duration) -> bool {
        self.queue.wait_written(deadline)
    }
}

impl WorkerLog {
    /// Appends a line to the worker's buffer, and hands the buffer over when it is full. Never blocks.
    pub fn record(&self, record: &AccessRecord<'_>) {
        let mut pending = self.pending.borrow_mut();
        let Pending { batch, timestamps } = &mut *pending;
        if batch.bytes.capacity() == 0 {
            batch.bytes = self.queue.take_buffer();
        }
        match self.format {
            LogFormat::Text => record.encode_text(timestamps, &mut batch.bytes),
            LogFormat::Json => record.encode_json(timestamps, &mut batch.bytes),
        }
        batch.lines += 1;
        if batch.bytes.len() >= BATCH_BYTES {
            self.queue.send(batch);
        }
    }

    /// Hands the buffer over as it is. The worker's tick calls this, so that a quiet worker's lines do not
    /// wait; an idle worker holds no buffer.
    pub fn flush(&self) {
        let mut pending = self.pending.borrow_mut();
        if pending.batch.lines > 0 {
            self.queue.send(&mut pending.batch);
        }
    }
}

impl Drop for WorkerLog {
    fn drop(&mut self) {
        self.flush();
    }
}

/// About a hundred lines: few enough writes to cost nothing, small enough to stay in cache.
const BATCH_BYTES: usize = 32 * 1024;
