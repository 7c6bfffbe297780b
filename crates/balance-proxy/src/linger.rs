//! The end of a connection that may still be sent something.

use std::future::poll_fn;
use std::task::Poll;

use crate::maybe_tls::MaybeTls;
use crate::wheel::Timer;
use crate::worker::{LINGER_IDLE_MS, LINGER_TOTAL_MS, Worker};

/// Sends our FIN, then reads and throws away what the client is still sending, at most `bytes_max` (0 = unlimited): a
/// close with unread input would reset the connection, and the client could lose our answer to it.
pub(crate) async fn linger(worker: &Worker, stream: &mut MaybeTls, timer: &Timer, bytes_max: u64) {
    let clock = worker.clock;
    let end_ms = clock.now_ms() + LINGER_TOTAL_MS;
    timer.set(clock.now_ms(), LINGER_IDLE_MS);
    let mut left = match bytes_max {
        0 => u64::MAX,
        bytes => bytes,
    };
    let mut is_shut = false;
    poll_fn(|cx| {
        loop {
            if !is_shut {
                match stream.poll_shutdown(cx) {
                    Poll::Pending => {} // what comes is read all the same
                    Poll::Ready(Ok(())) => is_shut = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                }
            }
            let mut scratch = worker.scratch.borrow();
            let len = match stream.poll_read(cx, &mut scratch) {
                Poll::Pending => return timer.poll_expired(cx),
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(len)) => len,
            };
            let now_ms = clock.now_ms();
            left = left.saturating_sub(len as u64);
            if left == 0 || now_ms >= end_ms || worker.is_cut() {
                return Poll::Ready(());
            }
            timer.set(now_ms, LINGER_IDLE_MS.min(end_ms - now_ms));
        }
    })
    .await;
}
