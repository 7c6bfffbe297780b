//! The end of a connection that may still be sent something.

use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::maybe_tls::MaybeTls;
use crate::wheel::Timer;
use crate::worker::{LINGER_IDLE_MS, LINGER_TOTAL_MS, Worker};

/// Sends our FIN, then reads and throws away what the client is still sending: a close with unread input would reset the
/// connection, and the client could lose our answer to it.
pub(crate) struct Linger {
    end_ms: u64,
    /// How much more is read.
    left: u64,
    is_shut: bool,
}

impl Linger {
    /// Reads at most `bytes_max` (0 = unlimited). From now on `timer` is its own.
    pub(crate) fn begin(worker: &Worker, timer: &Timer, bytes_max: u64) -> Self {
        let now_ms = worker.clock.now_ms();
        timer.set(now_ms, LINGER_IDLE_MS);
        Self {
            end_ms: now_ms + LINGER_TOTAL_MS,
            left: match bytes_max {
                0 => u64::MAX,
                bytes => bytes,
            },
            is_shut: false,
        }
    }

    /// Ready when the connection can be closed.
    pub(crate) fn poll(
        &mut self,
        worker: &Worker,
        stream: &mut MaybeTls,
        timer: &Timer,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            if !self.is_shut {
                match stream.poll_shutdown(cx) {
                    Poll::Pending => {} // what comes is read all the same
                    Poll::Ready(Ok(())) => self.is_shut = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                }
            }
            let mut scratch = worker.scratch.borrow();
            let len = match stream.poll_read(cx, &mut scratch) {
                Poll::Pending => return timer.poll_expired(cx),
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(len)) => len,
            };
            let now_ms = worker.clock.now_ms();
            self.left = self.left.saturating_sub(len as u64);
            if self.left == 0 || now_ms >= self.end_ms || worker.is_cut() {
                return Poll::Ready(());
            }
            timer.set(now_ms, LINGER_IDLE_MS.min(self.end_ms - now_ms));
        }
    }
}

/// A [`Linger`] from its beginning to its end.
pub(crate) async fn linger(worker: &Worker, stream: &mut MaybeTls, timer: &Timer, bytes_max: u64) {
    let mut linger = Linger::begin(worker, timer, bytes_max);
    poll_fn(|cx| linger.poll(worker, stream, timer, cx)).await;
}
