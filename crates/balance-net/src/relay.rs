//! Copying between two connections, both ways, with half-close: TCP mode and upgraded HTTP connections.
//!
//! Each direction is a state machine of its own:
//!
//! ```text
//!            several full reads, zero-copy allowed,
//!                both TCP, a pipe to be had
//!          ┌──────────────────────────────────────> Splice
//!        Copy                                          │
//!        │ ^ <─────── several short reads, no pipe ────┘
//!        │ │                                           │
//!        │ │ all written                               │ FIN read and pipe empty:
//!        │ v                                           │ pass the FIN on
//!      Blocked ── FIN read, all written: pass it on ─> Closed
//! ```
//!
//! *Copy* reads into the worker's scratch buffer and writes from it, so that an idle connection holds
//! no buffer. *Blocked* is a Copy whose receiver took only part: the rest moves into a buffer of its own
//! until it is written, and nothing is read meanwhile, which passes the pressure on. *Splice* costs less for
//! bulk (0.22 CPU seconds per GB against 0.37) and more for small messages (9.9 µs against 8.2), hence the
//! switching. It holds a pipe only while bytes are in it.
//!
//! Deadlines are the caller's: it compares [`Relay::progress`] before and after.

mod direction;

#[cfg(test)]
mod tests;

use std::io;
use std::task::{Context, Poll};

use crate::splice::PipeCache;
use crate::stream::Stream;

pub use direction::DirectionBytes;

use direction::{Direction, Failure};

/// Both directions of a relayed pair of connections.
#[derive(Debug)]
pub struct Relay {
    options: RelayOptions,
    to_upstream: Direction,
    to_downstream: Direction,
    /// A failed write, while what its peer sent before is still being passed on.
    failure: Option<RelayError>,
}

/// A connection, as a relay needs it: a socket, or what stands on one.
pub trait RelayEnd {
    /// Reads into `buffer`, of at least 16 KiB. 0: the peer sends no more.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes what can be written of `bytes`. After `Pending`, what is offered next begins with the same bytes.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Says that we send no more; reading goes on.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The socket, if it carries the bytes as they are: only then can they be spliced.
    fn bare(&self) -> Option<&Stream>;
}

/// How a relay may work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayOptions {
    /// Whether bulk may be spliced.
    pub zero_copy: bool,
}

/// What a relay borrows from its worker during a poll.
pub struct RelayIo<'a> {
    /// Where reads go first; 256 KiB is what was measured as best.
    pub scratch: &'a mut [u8],
    pub pipes: &'a PipeCache,
    pub buffers: &'a dyn BufferSource,
}

/// Where buffers for unsent bytes come from and go to. Asked only when a receiver is slow.
pub trait BufferSource {
    /// An empty buffer.
    fn take(&self) -> Vec<u8>;
    /// A buffer that is not needed any more; its content does not matter.
    fn give(&self, buffer: Vec<u8>);
}

/// One of the two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Downstream,
    Upstream,
}

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Read,
    Write,
}

/// Which connection failed first, and how.
#[derive(Debug, thiserror::Error)]
#[error("{operation:?} failed, {side:?}: {source}")]
pub struct RelayError {
    pub side: Side,
    pub operation: Operation,
    pub source: io::Error,
    /// What one side sent broke off. The other must see that: a reset ([`crate::set_linger_zero`]), not a
    /// tidy end. Otherwise everything that came was passed on with its FIN, and a reset could destroy it.
    pub is_truncated: bool,
}

impl Relay {
    /// A relay that has not moved anything.
    pub fn new(options: RelayOptions) -> Self {
        Self {
            options,
            to_upstream: Direction::new(),
            to_downstream: Direction::new(),
            failure: None,
        }
    }

    /// Puts bytes in front of what will be read: what the caller had read already before it relayed.
    pub fn queue(&mut self, to: Side, bytes: &[u8], buffers: &dyn BufferSource) {
        match to {
            Side::Upstream => self.to_upstream.queue(bytes, buffers),
            Side::Downstream => self.to_downstream.queue(bytes, buffers),
        }
    }

    /// Moves what can be moved. Ready when both sides have sent their FIN and it was passed on, or one
    /// failed. When a write fails, the relay first passes on what that side had still sent (a server that
    /// answers and closes without reading everything), then reports.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        downstream: &mut impl RelayEnd,
        upstream: &mut impl RelayEnd,
        io: &mut RelayIo<'_>,
    ) -> Poll<Result<(), RelayError>> {
        let can_splice = |stream: Option<&Stream>| stream.is_some_and(Stream::is_tcp);
        let zero_copy =
            self.options.zero_copy && can_splice(downstream.bare()) && can_splice(upstream.bare());

        let up = self
            .to_upstream
            .poll(cx, downstream, upstream, io, zero_copy);
        if let Poll::Ready(Err(failure)) = up {
            self.settle(failure, Side::Downstream, Side::Upstream)?;
        }
        let down = self
            .to_downstream
            .poll(cx, upstream, downstream, io, zero_copy);
        if let Poll::Ready(Err(failure)) = down {
            self.settle(failure, Side::Upstream, Side::Downstream)?;
        }
        if !(self.to_upstream.is_closed() && self.to_downstream.is_closed()) {
            return Poll::Pending;
        }
        Poll::Ready(self.failure.take().map_or(Ok(()), Err))
    }

    /// Grows with every byte read or written. Equal before and after a poll: nothing moved.
    pub fn progress(&self) -> u64 {
        self.to_upstream.progress() + self.to_downstream.progress()
    }

    /// Whether a receiver is behind: bytes were read that it has not taken yet. The deadline for progress
    /// of writing holds then, else the idle one.
    pub fn is_write_blocked(&self) -> bool {
        self.to_upstream.is_write_blocked() || self.to_downstream.is_write_blocked()
    }

    /// Bytes that are held in memory for receivers that are behind; what is in a pipe is the kernel's.
    pub fn held_bytes(&self) -> usize {
        self.to_upstream.held_bytes() + self.to_downstream.held_bytes()
    }

    /// The receiver that is behind; the client's, if both are.
    pub fn blocked_receiver(&self) -> Option<Side> {
        if self.to_downstream.is_write_blocked() {
            Some(Side::Downstream)
        } else if self.to_upstream.is_write_blocked() {
            Some(Side::Upstream)
        } else {
            None
        }
    }

    /// What went from the client to the backend.
    pub fn to_upstream(&self) -> DirectionBytes {
        self.to_upstream.bytes()
    }

    /// What went from the backend to the client.
    pub fn to_downstream(&self) -> DirectionBytes {
        self.to_downstream.bytes()
    }

    /// Gives its buffers and pipes back to the worker, when the relay is given up before its end.
    pub fn release(self, io: &RelayIo<'_>) {
        self.to_upstream.release(io);
        self.to_downstream.release(io);
    }

    /// A failed read ends the relay at once. A failed write waits for the other direction, and an error of
    /// that does not replace it: the first one is the cause.
    fn settle(&mut self, failure: Failure, from: Side, to: Side) -> Result<(), RelayError> {
        match failure {
            Failure::Read(source) => {
                let read = RelayError {
                    side: from,
                    operation: Operation::Read,
                    source,
                    is_truncated: true,
                };
                let mut first = self.failure.take().unwrap_or(read);
                first.is_truncated = true;
                Err(first)
            }
            Failure::Write(source) => {
                self.failure.get_or_insert(RelayError {
                    side: to,
                    operation: Operation::Write,
                    source,
                    is_truncated: false,
                });
                Ok(())
            }
        }
    }
}

impl RelayEnd for Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Self::poll_read(self, cx, buffer)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Self::poll_write(self, cx, bytes)
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown_write())
    }

    fn bare(&self) -> Option<&Stream> {
        Some(self)
    }
}
