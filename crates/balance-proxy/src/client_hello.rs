//! The first message of a TLS client, read on until it is complete: whoever passes it on and whoever answers it want to
//! know whom it asks for.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use balance_core::Cause;
use balance_net::Stream;
use balance_proto::client_hello::{self, CLIENT_HELLO_BYTES_MAX, ClientHelloError, Progress};

use crate::wheel::Timer;
use crate::worker::Worker;

/// What a connection begins with.
#[derive(Debug)]
pub(crate) enum Peeked {
    /// TLS, and the server that is named.
    Hello(Option<String>),
    NotTls,
    /// TLS, and nothing that could be understood in one way only.
    Malformed(ClientHelloError),
    /// The client is gone before it was complete.
    Closed,
}

/// Reads until it is known, or the deadline is over, which is set. Everything that was read stays in `unread`, which may
/// have something already.
pub(crate) async fn peek_within(
    worker: &Worker,
    timer: &Timer,
    stream: &mut Stream,
    unread: &mut Vec<u8>,
) -> Result<Peeked, Cause> {
    let mut held = worker.budget.holder();
    poll_fn(|cx| match poll_peek(worker, stream, unread, cx) {
        Poll::Pending => {
            held.set(unread.len());
            worker.poll_preamble_end(cx, timer, unread.len()).map(Err)
        }
        Poll::Ready(peeked) => Poll::Ready(Ok(peeked)),
    })
    .await
}

fn poll_peek(
    worker: &Worker,
    stream: &mut Stream,
    unread: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Poll<Peeked> {
    loop {
        match client_hello::parse(unread) {
            Ok(Progress::Partial) => {}
            Ok(Progress::NotTls) => return Poll::Ready(Peeked::NotTls),
            Ok(Progress::Complete(hello)) => {
                return Poll::Ready(Peeked::Hello(hello.server_name().map(str::to_owned)));
            }
            Err(error) => return Poll::Ready(Peeked::Malformed(error)),
        }
        let mut scratch = worker.scratch.borrow();
        // Not more at once than is looked at: it is held until the whole hello is there.
        match ready!(stream.poll_read(cx, &mut scratch[..CLIENT_HELLO_BYTES_MAX])) {
            Ok(0) | Err(_) => return Poll::Ready(Peeked::Closed),
            Ok(bytes) => unread.extend_from_slice(&scratch[..bytes]),
        }
    }
}
