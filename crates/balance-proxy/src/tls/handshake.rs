//! From an accepted connection to one under TLS, in a task of its own: what a handshake needs is larger than what an
//! idle connection should hold.
//!
//! ```text
//!   accepted ── ClientHello ──► turn ──► handshake ──► the listener's protocol
//!      │             │                       │
//!      │             └ a request: 400        └ refused: alert, tls_handshake_failed
//!      └ deadline: closed
//! ```

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;

use balance_core::Cause;
use balance_net::{Stream, set_linger_zero};
use balance_tls::ServerPolicy;

use super::stream::TlsStream;
use crate::client_hello::{Peeked, peek_within};
use crate::clock::millis;
use crate::http1;
use crate::maybe_tls::MaybeTls;
use crate::snapshot::Mode;
use crate::wheel::Timer;
use crate::worker::{Connected, Session, Worker, WorkerListener, serve_protocol};

/// Makes the handshake, and gives the connection to its protocol.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    listener: Rc<WorkerListener>,
    policy: Arc<ServerPolicy>,
    mode: Mode,
    mut connected: Connected,
) {
    let mut session = Session::new(connected.peer, worker.clock.now_us());
    let (handshakes_max, timeout_ms) = {
        let snapshot = listener.snapshot();
        let limits = &snapshot.rules.listeners[listener.index()].limits;
        (limits.handshakes_max, millis(limits.handshake_timeout))
    };
    let Some(_place) = worker.shared.begin_handshake(handshakes_max) else {
        worker.metrics.accept_error();
        // Failing to reset is no loss: the socket is closed in the next moment.
        let _ = set_linger_zero(&connected.stream);
        return;
    };
    let stream = match connected.stream {
        MaybeTls::Plain(stream) => stream,
        MaybeTls::Tls(_) => return, // cannot be: TLS begins here
    };
    let timer = worker.wheel.timer();
    timer.set(worker.clock.now_ms(), timeout_ms);
    let unread = std::mem::take(&mut connected.unread);
    let begun = tokio::select! {
        begun = begin(&worker, &policy, &timer, stream, unread, mode) => Some(begun),
        () = timer.expired() => None,
    };
    let cause = match begun {
        Some(Begun::Tls(stream)) => {
            if let Some(agreement) = stream.agreement() {
                worker
                    .metrics
                    .tls_handshake(agreement.version, agreement.is_resumed);
            }
            connected.stream = MaybeTls::Tls(stream);
            return serve_protocol(&worker, &listener, mode, connected);
        }
        Some(Begun::Cleartext { stream, unread }) => {
            connected.stream = MaybeTls::Plain(stream);
            connected.unread = unread;
            return Box::pin(http1::refuse_cleartext(worker, listener, connected)).await;
        }
        // Whoever only looks whether somebody answers.
        Some(Begun::Nothing) => return,
        Some(Begun::Ended(Cause::ClientTimeout)) => Cause::TlsHandshakeFailed,
        Some(Begun::Ended(cause)) => cause,
        Some(Begun::Failed(error)) => {
            tracing::debug!(client = %connected.peer, error, "a TLS handshake failed");
            Cause::TlsHandshakeFailed
        }
        None if worker.is_cut() => Cause::Draining,
        None => Cause::TlsHandshakeFailed,
    };
    session.peer = connected.peer;
    session.settle(&worker, &listener, cause);
}

/// What a connection began with.
enum Begun {
    Tls(Box<TlsStream>),
    /// HTTP without TLS.
    Cleartext {
        stream: Stream,
        unread: Vec<u8>,
    },
    /// It was closed before it said anything.
    Nothing,
    Failed(String),
    /// Before it had said whom it wants.
    Ended(Cause),
}

async fn begin(
    worker: &Worker,
    policy: &ServerPolicy,
    timer: &Timer,
    mut stream: Stream,
    mut unread: Vec<u8>,
    mode: Mode,
) -> Begun {
    let peeked = match peek_within(worker, timer, &mut stream, &mut unread).await {
        Ok(peeked) => peeked,
        Err(cause) => return Begun::Ended(cause),
    };
    // rustls says what is wrong with what is no ClientHello, by an alert.
    let server_name = match peeked {
        Peeked::Hello(name) => Ok(name),
        Peeked::NotTls if mode == Mode::Http && begins_request(&unread) => {
            return Begun::Cleartext { stream, unread };
        }
        Peeked::NotTls => Ok(None),
        Peeked::Malformed(error) => Err(error),
        Peeked::Closed if unread.is_empty() => return Begun::Nothing,
        Peeked::Closed => return Begun::Failed("the client closed it".to_owned()),
    };
    worker.handshakes.wait().await;
    let session = match policy.accept(&unread) {
        Ok(session) => session,
        Err(error) => return Begun::Failed(error.to_string()),
    };
    let buffers = Rc::clone(&worker.records);
    let mut tls = Box::new(TlsStream::new(stream, session, buffers, unread));
    match (poll_fn(|cx| tls.poll_handshake(cx)).await, server_name) {
        (Ok(()), Ok(name)) => {
            tls.set_server_name(name);
            Begun::Tls(tls)
        }
        // Nobody knows whom it meant.
        (Ok(()), Err(error)) => Begun::Failed(error.to_string()),
        (Err(error), _) => Begun::Failed(match tls.take_failure() {
            Some(failure) => failure.to_string(),
            None => error.to_string(),
        }),
    }
}

/// Whether it looks like the method of a request. No record of TLS begins with a letter (RFC 8446 §5.1).
fn begins_request(first_bytes: &[u8]) -> bool {
    first_bytes.first().is_some_and(u8::is_ascii_uppercase)
}
