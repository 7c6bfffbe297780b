//! Pipes, and moving bytes between sockets through them without copying.
//!
//! A pipe's pages count against the user's limit (pipe-user-pages-soft, 64 MiB): beyond it the kernel hands
//! out tiny pipes. So the process has a budget below that, the size is read back, and a pipe that came out
//! too small is not used: the relay stays with copying, which always works.
//!
//! A peer that is gone makes splice(2) raise SIGPIPE, like write(2); Rust programs ignore that signal.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;

use crate::stream::Stream;

/// How much pipe memory the process may use. Cloned handles share one budget.
#[derive(Clone, Debug)]
pub struct PipePool {
    budget: Arc<Budget>,
}

/// The idle pipes of one worker, on top of a [`PipePool`].
#[derive(Debug)]
pub struct PipeCache {
    pool: PipePool,
    idle: RefCell<Vec<Pipe>>,
}

/// A pipe, and how many bytes are in it.
#[derive(Debug)]
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
    held: usize,
    _share: Share,
}

/// One pipe's part of the budget, given back when dropped.
#[derive(Debug)]
struct Share {
    budget: Arc<Budget>,
}

#[derive(Debug)]
struct Budget {
    bytes_max: usize,
    bytes: AtomicUsize,
}

impl PipePool {
    /// A budget of 48 MiB.
    pub fn new() -> Self {
        Self::with_budget(BUDGET_BYTES)
    }

    /// A budget of `bytes_max`.
    pub fn with_budget(bytes_max: usize) -> Self {
        let bytes = AtomicUsize::new(0);
        Self {
            budget: Arc::new(Budget { bytes_max, bytes }),
        }
    }

    /// The bytes of all pipes that exist, idle ones included.
    pub fn bytes(&self) -> usize {
        self.budget.bytes.load(Ordering::Relaxed)
    }

    /// A cache for the worker that calls.
    pub fn worker(&self) -> PipeCache {
        PipeCache {
            pool: self.clone(),
            idle: RefCell::default(),
        }
    }

    fn make(&self) -> Option<Pipe> {
        let share = Share::reserve(&self.budget)?;
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        let capacity = fcntl_setpipe_size(&writer, PIPE_BYTES).ok()?;
        // Beyond the user's limit the kernel does not fail, it gives less.
        (capacity >= PIPE_BYTES).then_some(Pipe {
            reader,
            writer,
            capacity,
            held: 0,
            _share: share,
        })
    }
}

impl Default for PipePool {
    fn default() -> Self {
        Self::new()
    }
}

impl PipeCache {
    /// An empty pipe; `None` when the budget or the kernel has none left.
    pub fn take(&self) -> Option<Pipe> {
        let idle = self.idle.borrow_mut().pop();
        idle.or_else(|| self.pool.make())
    }

    /// Keeps an empty pipe for the next taker. One that still holds bytes of a broken connection is closed.
    pub fn give(&self, pipe: Pipe) {
        let mut idle = self.idle.borrow_mut();
        if pipe.held == 0 && idle.len() < IDLE_PIPES_MAX {
            idle.push(pipe);
        }
    }
}

impl Pipe {
    /// How many bytes fit, at most: the kernel counts pages, and half-full ones count whole.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many bytes are in it.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Moves what `from` has received into the pipe, which must be empty: "would block" could not be told
    /// from "the pipe is full" otherwise. 0 means the peer's FIN.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, from: &Stream) -> Poll<io::Result<usize>> {
        debug_assert_eq!(self.held, 0, "a pipe is drained before it is filled again");
        loop {
            ready!(from.poll_read_ready(cx))?;
            let moved = from.try_io(Interest::READABLE, || {
                move_bytes(from, &self.writer, self.capacity)
            });
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(bytes) => {
                    self.held = bytes;
                    return Poll::Ready(Ok(bytes));
                }
            }
        }
    }

    /// Moves what the pipe holds to `to`, as much as the socket takes.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, to: &Stream) -> Poll<io::Result<usize>> {
        loop {
            ready!(to.poll_write_ready(cx))?;
            let moved = to.try_io(Interest::WRITABLE, || {
                move_bytes(&self.reader, to, self.held)
            });
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(bytes) => {
                    self.held -= bytes;
                    return Poll::Ready(Ok(bytes));
                }
            }
        }
    }
}

impl Share {
    fn reserve(budget: &Arc<Budget>) -> Option<Self> {
        let before = budget.bytes.fetch_add(PIPE_BYTES, Ordering::Relaxed);
        let share = Self {
            budget: Arc::clone(budget),
        };
        (before + PIPE_BYTES <= budget.bytes_max).then_some(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.bytes.fetch_sub(PIPE_BYTES, Ordering::Relaxed);
    }
}

fn move_bytes(from: impl AsFd, to: impl AsFd, bytes_max: usize) -> io::Result<usize> {
    let (from, to) = (from.as_fd(), to.as_fd());
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    loop {
        match splice(from, None, to, None, bytes_max, flags) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Below pipe-user-pages-soft of 64 MiB, with room for what else the user runs.
const BUDGET_BYTES: usize = 48 * 1024 * 1024;

/// 48 of them fit the budget. A direction holds one only while bytes are in it.
const PIPE_BYTES: usize = 1024 * 1024;

/// Per worker. A pipe is in use only while bytes are in it, so a few serve many connections.
const IDLE_PIPES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::{PIPE_BYTES, PipePool};

    #[test]
    fn the_budget_holds_and_comes_back() {
        let pool = PipePool::with_budget(2 * PIPE_BYTES);
        let (one, other) = (pool.worker(), pool.worker());
        let first = one.take().expect("the budget has two");
        let second = other.take().expect("the budget has two");
        assert!(first.capacity() >= PIPE_BYTES);
        assert!(one.take().is_none());
        assert_eq!(pool.bytes(), 2 * PIPE_BYTES, "a refusal reserves nothing");

        one.give(first);
        assert_eq!(pool.bytes(), 2 * PIPE_BYTES, "idle pipes exist");
        assert!(one.take().is_some(), "used again");
        assert_eq!(pool.bytes(), PIPE_BYTES);
        drop((second, one, other));
        assert_eq!(pool.bytes(), 0);
    }
}
