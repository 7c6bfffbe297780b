//! Accepting: from a listening socket to a connection's own task.

use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use balance_net::{
    ACCEPTS_PER_WAKE_MAX, AcceptError, Accepted, Acceptor, first_read, set_linger_zero,
};

use balance_proto::http2::frame::PREFACE;

use super::complaint::Complaint;
use super::connected::{Connected, Counted};
use super::preamble::{self, Preamble};
use super::{Worker, WorkerListener, tracker};
use crate::http1;
use crate::http2;
use crate::isolate::{Panicked, isolate};
use crate::maybe_tls::MaybeTls;
use crate::planted;
use crate::shared::Refused;
use crate::snapshot::Mode;
use crate::tcp;
use crate::tls;

/// Accepts until the listener is retired, then what is still queued, and closes the socket.
pub(super) async fn run(worker: Rc<Worker>, listener: Rc<WorkerListener>, acceptor: Acceptor) {
    let mut accepted_in_turn = 0;
    let mut complaint = Complaint::default();
    loop {
        wait_for_place(&worker, &listener).await;
        match next(&listener, &acceptor).await {
            Next::Accepted(accepted) => take_in(&worker, &listener, accepted).await,
            Next::Failed(error) => {
                worker.metrics.accept_error();
                if let Some(errors) = complaint.on_failure(worker.clock.now_ms()) {
                    tracing::warn!(
                        listener = %listener.key(), %error, errors, "cannot accept; trying again"
                    );
                }
                pause().await;
            }
            Next::Stop => break,
        }
        accepted_in_turn += 1;
        if accepted_in_turn >= ACCEPTS_PER_WAKE_MAX {
            accepted_in_turn = 0;
            tokio::task::yield_now().await;
        }
    }
    // Whoever completed the handshake is served: closing now would reset them.
    while let Ok(Some(accepted)) = acceptor.try_accept() {
        take_in(&worker, &listener, accepted).await;
    }
}

/// Starts the connection. A panic in that ends it alone: this loop is all that accepts here.
async fn take_in(worker: &Rc<Worker>, listener: &Rc<WorkerListener>, accepted: Accepted) {
    if let Err(Panicked) = isolate(start(worker, listener, accepted)).await {
        worker.on_panic();
    }
}

enum Next {
    Accepted(Accepted),
    /// Out of descriptors or memory, or an error that nobody expects: in both cases it is tried again, for a
    /// socket that nobody accepts on would swallow its share of the connections.
    Failed(AcceptError),
    Stop,
}

async fn next(listener: &WorkerListener, acceptor: &Acceptor) -> Next {
    if listener.is_retired() {
        return Next::Stop;
    }
    let mut stopped = pin!(listener.stop.notified());
    poll_fn(|cx| {
        if stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Next::Stop);
        }
        acceptor.poll_accept(cx).map(|result| match result {
            Ok(accepted) => Next::Accepted(accepted),
            Err(error) => Next::Failed(error),
        })
    })
    .await
}

/// Whether the process has as many client connections as it may: the next ones wait in the kernel's queue.
fn is_full(worker: &Worker, listener: &WorkerListener) -> bool {
    let snapshot = listener.snapshot();
    let max = snapshot.rules.listeners[listener.index()]
        .limits
        .connections_max;
    max != 0 && worker.shared.connections() >= max
}

/// While the process has as many connections as it may, the next ones wait in the kernel's queue.
async fn wait_for_place(worker: &Worker, listener: &WorkerListener) {
    while is_full(worker, listener) && !listener.is_retired() {
        pause().await;
    }
}

/// Gives the connection its place and its task. Of two workers that accept for the last place, one has to
/// wait with its connection.
async fn start(worker: &Rc<Worker>, listener: &Rc<WorkerListener>, accepted: Accepted) {
    // A unix socket's peer has no address; it is as local as 127.0.0.1.
    let ip = accepted.peer.ip().map(|address| address.ip());
    let peer = ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let (guard, mode, preamble) = loop {
        let admitted = {
            let snapshot = listener.snapshot();
            let rules = &snapshot.rules.listeners[listener.index()];
            let limits = &rules.limits;
            let preamble = Preamble::of(rules, peer);
            // Behind a proxy each client has its own places, once the header has told who it is.
            let counted = ip.filter(|_| preamble == Preamble::None);
            worker
                .shared
                .admit(
                    counted,
                    limits.connections_max,
                    limits.connections_per_ip_max,
                )
                .map(|guard| (guard, rules.mode, preamble))
        };
        match admitted {
            Ok(admitted) => break admitted,
            Err(Refused::Total) if !worker.is_cut() => pause().await,
            Err(Refused::Total | Refused::PerIp) => {
                worker.metrics.accept_error();
                // Failing to reset is no loss: the socket is closed in the next moment.
                let _ = set_linger_zero(&accepted.fd);
                return;
            }
        }
    };
    let admitted = Admitted {
        peer,
        counted: Counted::new(listener, guard),
    };
    match preamble {
        Preamble::None => start_protocol(worker, listener, accepted, mode, admitted),
        Preamble::ProxyHeader => {
            if let Some(connected) = register(worker, accepted, Vec::new(), admitted) {
                let (owner, rules) = (Rc::clone(worker), Rc::clone(listener));
                tracker::spawn(worker, preamble::run(owner, rules, mode, connected));
            }
        }
        Preamble::Refused => preamble::refuse(worker, listener, peer),
    }
}

/// A connection that has its place.
struct Admitted {
    peer: IpAddr,
    counted: Counted,
}

fn start_protocol(
    worker: &Rc<Worker>,
    listener: &Rc<WorkerListener>,
    accepted: Accepted,
    mode: Mode,
    admitted: Admitted,
) {
    let unread = match mode {
        Mode::Tcp => Vec::new(),
        // TCP_DEFER_ACCEPT: the request is usually there already, and reading it now saves a turn of epoll.
        Mode::Http => {
            let mut scratch = worker.scratch.borrow();
            match first_read(&accepted.fd, &mut scratch) {
                Ok(Some(0)) | Err(_) => return, // gone already
                Ok(Some(len)) => {
                    planted::panic_over("accept", &scratch[..len]);
                    scratch[..len].to_vec()
                }
                Ok(None) => Vec::new(),
            }
        }
    };
    if let Some(connected) = register(worker, accepted, unread, admitted) {
        serve(worker, listener, mode, connected);
    }
}

/// Registers the connection with the runtime.
fn register(
    worker: &Rc<Worker>,
    accepted: Accepted,
    unread: Vec<u8>,
    admitted: Admitted,
) -> Option<Connected> {
    let Ok(stream) = accepted.into_stream() else {
        worker.metrics.accept_error();
        return None;
    };
    Some(Connected {
        stream: MaybeTls::Plain(stream),
        peer: admitted.peer,
        ends: None,
        unread,
        counted: admitted.counted,
    })
}

/// Gives a connection the task of its handshake, or where there is none that of its protocol.
pub(super) fn serve(
    worker: &Rc<Worker>,
    listener: &Rc<WorkerListener>,
    mode: Mode,
    connected: Connected,
) {
    match listener.tls() {
        Some(policy) => {
            let (owner, rules) = (Rc::clone(worker), Rc::clone(listener));
            tracker::spawn(worker, tls::serve(owner, rules, policy, mode, connected));
        }
        None => serve_protocol(worker, listener, mode, connected),
    }
}

/// Gives a connection the task of its protocol.
pub(crate) fn serve_protocol(
    worker: &Rc<Worker>,
    listener: &Rc<WorkerListener>,
    mode: Mode,
    connected: Connected,
) {
    let (owner, rules) = (Rc::clone(worker), Rc::clone(listener));
    match mode {
        Mode::Http if speaks_http2(listener, &connected) => {
            tracker::spawn(worker, http2::serve(owner, rules, connected));
        }
        Mode::Http => tracker::spawn(worker, http1::serve(owner, rules, connected)),
        Mode::Tcp => tracker::spawn(worker, tcp::serve(owner, rules, connected)),
    }
}

/// By what was agreed on under TLS; in the clear by what a client that knew begins with (RFC 9113 §3.3). Where that has
/// not come yet, the HTTP/1 connection finds it.
fn speaks_http2(listener: &WorkerListener, connected: &Connected) -> bool {
    match &connected.stream {
        MaybeTls::Tls(tls) => tls.speaks_http2(),
        MaybeTls::Plain(_) => connected.unread.starts_with(PREFACE) && listener.enables_http2(),
    }
}

/// Out of descriptors or of places: looking again at once would spin.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}
