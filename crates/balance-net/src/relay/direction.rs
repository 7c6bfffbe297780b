//! One direction of a relay.

use std::io;
use std::task::{Context, Poll, ready};

use super::{BufferSource, RelayEnd, RelayIo};
use crate::splice::Pipe;

/// How many bytes went in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectionBytes {
    /// Read from the sender.
    pub received: u64,
    /// Written to the receiver.
    pub sent: u64,
    /// The part of `sent` that was spliced.
    pub spliced: u64,
}

/// Invariants: bytes are either in `residue` or in `pipe`, never in both; nothing is read while there are
/// any; without them, neither buffer nor pipe is held.
#[derive(Debug)]
pub(super) struct Direction {
    mode: Mode,
    residue: Residue,
    pipe: Option<Pipe>,
    /// How much a copy reads at once. Small after a blocked write, so that what a slow receiver leaves
    /// unsent, and with it the memory it holds, is small.
    window: usize,
    /// Reads in a row that speak for the other mode.
    streak: u32,
    bytes: DirectionBytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Copy,
    Splice,
    /// The FIN was read; it is passed on once nothing is left to write.
    Finishing,
    Closed,
}

/// Read, not yet written.
#[derive(Debug, Default)]
struct Residue {
    buffer: Vec<u8>,
    written: usize,
}

pub(super) enum Failure {
    Read(io::Error),
    Write(io::Error),
}

impl Direction {
    pub(super) fn new() -> Self {
        Self {
            mode: Mode::Copy,
            residue: Residue::default(),
            pipe: None,
            window: WINDOW_START_BYTES,
            streak: 0,
            bytes: DirectionBytes::default(),
        }
    }

    pub(super) fn queue(&mut self, bytes: &[u8], buffers: &dyn BufferSource) {
        if !bytes.is_empty() {
            self.residue.hold(bytes, buffers);
        }
    }

    /// Ready when closed. After a failure it counts as closed.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl RelayEnd,
        to: &mut impl RelayEnd,
        io: &mut RelayIo<'_>,
        zero_copy: bool,
    ) -> Poll<Result<(), Failure>> {
        if self.is_closed() {
            return Poll::Ready(Ok(()));
        }
        let result = self.poll_rounds(cx, from, to, io, zero_copy);
        if let Poll::Ready(Err(_)) = result {
            self.mode = Mode::Closed;
            self.residue.free(io.buffers);
            self.pipe = None;
        }
        result
    }

    pub(super) fn is_closed(&self) -> bool {
        self.mode == Mode::Closed
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.residue.buffer.len()
    }

    pub(super) fn is_write_blocked(&self) -> bool {
        !self.residue.is_empty() || self.pipe.is_some()
    }

    pub(super) fn progress(&self) -> u64 {
        self.bytes.received + self.bytes.sent
    }

    pub(super) fn bytes(&self) -> DirectionBytes {
        self.bytes
    }

    pub(super) fn release(mut self, io: &RelayIo<'_>) {
        self.residue.free(io.buffers);
        if let Some(pipe) = self.pipe {
            io.pipes.give(pipe);
        }
    }

    fn poll_rounds(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl RelayEnd,
        to: &mut impl RelayEnd,
        io: &mut RelayIo<'_>,
        zero_copy: bool,
    ) -> Poll<Result<(), Failure>> {
        for _ in 0..ROUNDS_MAX {
            ready!(self.poll_flush(cx, to, io))?;
            match self.mode {
                Mode::Copy => ready!(self.poll_copy(cx, from, to, io, zero_copy))?,
                Mode::Splice => ready!(self.poll_splice(cx, from, io))?,
                Mode::Finishing => {
                    ready!(to.poll_shutdown(cx)).map_err(Failure::Write)?;
                    self.mode = Mode::Closed;
                    return Poll::Ready(Ok(()));
                }
                Mode::Closed => return Poll::Ready(Ok(())),
            }
        }
        // Both sides are fast: others of this worker get their turn first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what was read before. Ready when nothing is left.
    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut impl RelayEnd,
        io: &RelayIo<'_>,
    ) -> Poll<Result<(), Failure>> {
        while !self.residue.is_empty() {
            let bytes = ready!(write_some(cx, to, self.residue.left()))?;
            self.bytes.sent += bytes as u64;
            self.residue.advance(bytes);
        }
        self.residue.free(io.buffers);
        if let (Some(pipe), Some(to)) = (&mut self.pipe, to.bare()) {
            while pipe.held() > 0 {
                let bytes = ready!(pipe.poll_drain(cx, to)).map_err(Failure::Write)?;
                self.bytes.sent += bytes as u64;
                self.bytes.spliced += bytes as u64;
            }
        }
        if let Some(pipe) = self.pipe.take() {
            io.pipes.give(pipe);
        }
        Poll::Ready(Ok(()))
    }

    /// One read into the scratch buffer, and the writes for it.
    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl RelayEnd,
        to: &mut impl RelayEnd,
        io: &mut RelayIo<'_>,
        zero_copy: bool,
    ) -> Poll<Result<(), Failure>> {
        let window = self.window.min(io.scratch.len());
        let read = from.poll_read(cx, &mut io.scratch[..window]);
        let bytes = ready!(read).map_err(Failure::Read)?;
        self.bytes.received += bytes as u64;
        if bytes == 0 {
            self.mode = Mode::Finishing;
            return Poll::Ready(Ok(()));
        }
        self.streak = if bytes == window { self.streak + 1 } else { 0 };
        if zero_copy && self.streak >= FULL_READS_TO_SPLICE {
            self.mode = Mode::Splice;
            self.streak = 0;
        }

        let mut left = &io.scratch[..bytes];
        while !left.is_empty() {
            match write_some(cx, to, left) {
                Poll::Ready(written) => {
                    let written = written?;
                    self.bytes.sent += written as u64;
                    left = &left[written..];
                }
                Poll::Pending => {
                    self.residue.hold(left, io.buffers);
                    self.window = WINDOW_BLOCKED_BYTES;
                    return Poll::Pending;
                }
            }
        }
        if bytes == window {
            self.window = (window * 4).min(io.scratch.len());
        }
        Poll::Ready(Ok(()))
    }

    /// Fills a pipe; the next round's flush drains it.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        from: &impl RelayEnd,
        io: &RelayIo<'_>,
    ) -> Poll<Result<(), Failure>> {
        let (Some(from), Some(mut pipe)) = (from.bare(), io.pipes.take()) else {
            // The budget is used up. Copying goes on, and asks again after more full reads.
            self.mode = Mode::Copy;
            return Poll::Ready(Ok(()));
        };
        let filled = pipe.poll_fill(cx, from);
        let bytes = match filled {
            Poll::Ready(Ok(bytes)) if bytes > 0 => bytes,
            other => {
                // An idle direction holds no pipe.
                io.pipes.give(pipe);
                if ready!(other).map_err(Failure::Read)? == 0 {
                    self.mode = Mode::Finishing;
                }
                return Poll::Ready(Ok(()));
            }
        };
        self.pipe = Some(pipe);
        self.bytes.received += bytes as u64;
        self.streak = if bytes < SHORT_READ_BYTES {
            self.streak + 1
        } else {
            0
        };
        if self.streak >= SHORT_READS_TO_COPY {
            self.mode = Mode::Copy;
            self.streak = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl Residue {
    fn is_empty(&self) -> bool {
        self.written == self.buffer.len()
    }

    fn left(&self) -> &[u8] {
        &self.buffer[self.written..]
    }

    fn advance(&mut self, bytes: usize) {
        self.written += bytes;
    }

    fn hold(&mut self, bytes: &[u8], buffers: &dyn BufferSource) {
        if self.buffer.capacity() == 0 {
            self.buffer = buffers.take();
            self.buffer.clear();
        }
        self.buffer.extend_from_slice(bytes);
    }

    fn free(&mut self, buffers: &dyn BufferSource) {
        if self.buffer.capacity() > 0 {
            buffers.give(std::mem::take(&mut self.buffer));
        }
        self.written = 0;
    }
}

fn write_some(
    cx: &mut Context<'_>,
    to: &mut impl RelayEnd,
    bytes: &[u8],
) -> Poll<Result<usize, Failure>> {
    match ready!(to.poll_write(cx, bytes)) {
        Ok(0) => Poll::Ready(Err(Failure::Write(io::ErrorKind::WriteZero.into()))),
        Ok(written) => Poll::Ready(Ok(written)),
        Err(error) => Poll::Ready(Err(Failure::Write(error))),
    }
}

/// Reads of one direction per poll: at most 4 MiB, some 2 ms, before others get their turn.
const ROUNDS_MAX: usize = 16;

/// Holds any message that is not bulk.
const WINDOW_START_BYTES: usize = 64 * 1024;

/// What a slow receiver may keep us holding, after its first blocked write.
const WINDOW_BLOCKED_BYTES: usize = 16 * 1024;

const FULL_READS_TO_SPLICE: u32 = 4;

/// A page-sized message costs less to copy than to splice; a pipe of small network packets still carries
/// more than this.
const SHORT_READ_BYTES: usize = 16 * 1024;

const SHORT_READS_TO_COPY: u32 = 4;
