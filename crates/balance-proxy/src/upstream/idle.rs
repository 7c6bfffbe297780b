//! Idle upstream connections of one worker to one backend, last in first out.
//!
//! The one used last is the one most likely to be alive, and the others may grow old and be closed:
//! the pool shrinks by itself when there is less to do. The newest stands at the back, so the oldest
//! is always at the front and expiring never scans.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};

use balance_net::Stream;

/// What one worker may keep idle over all its backends: its share of the process's `idle_upstream_max`.
#[derive(Debug)]
pub(crate) struct IdleLimits {
    total: Cell<usize>,
    total_max: usize,
}

impl IdleLimits {
    pub(crate) fn new(total_max: usize) -> Self {
        Self {
            total: Cell::new(0),
            total_max,
        }
    }

    /// Idle connections of this worker.
    #[cfg(test)]
    pub(crate) fn total(&self) -> usize {
        self.total.get()
    }

    fn is_full(&self) -> bool {
        self.total.get() >= self.total_max
    }

    fn add(&self, change: isize) {
        self.total
            .set(self.total.get().saturating_add_signed(change));
    }
}

/// A connection that waits for its next request.
pub(crate) struct IdleConnection {
    pub(crate) stream: Stream,
    /// When it must not be used any more: our idle timeout or the backend's announced one.
    pub(crate) expires_ms: u64,
}

/// The idle connections to one backend.
pub(crate) struct IdleConnections {
    connections: RefCell<VecDeque<IdleConnection>>,
    /// Of this worker, for this backend.
    max: Cell<usize>,
    timeout_ms: Cell<u64>,
    limits: Rc<IdleLimits>,
}

impl IdleConnections {
    pub(crate) fn new(max: usize, limits: Rc<IdleLimits>) -> Self {
        Self {
            connections: RefCell::new(VecDeque::new()),
            max: Cell::new(max),
            timeout_ms: Cell::new(u64::MAX),
            limits,
        }
    }

    /// Changes the limits (after a reload); what is above them goes as it grows old.
    pub(crate) fn configure(&self, max: usize, timeout_ms: u64) {
        self.max.set(max);
        self.timeout_ms.set(timeout_ms);
    }

    /// How long a connection may be idle.
    pub(crate) fn timeout_ms(&self) -> u64 {
        self.timeout_ms.get()
    }

    /// A connection that is believed to be alive. Those that are readable while they should be silent
    /// (closed, or garbage) and those that are too old are dropped on the way; no system call but
    /// their close.
    pub(crate) fn take(&self, now_ms: u64) -> Option<Stream> {
        let mut connections = self.connections.borrow_mut();
        while let Some(connection) = connections.pop_back() {
            self.limits.add(-1);
            let is_silent = {
                let mut cx = Context::from_waker(Waker::noop());
                connection.stream.poll_read_ready(&mut cx).is_pending()
            };
            if is_silent && now_ms < connection.expires_ms {
                return Some(connection.stream);
            }
        }
        None
    }

    /// Keeps a connection, or closes it if there is no room. At the worker's total, the oldest of this
    /// backend gives way; a backend that has none idle does not push out another's.
    pub(crate) fn keep(&self, connection: IdleConnection) {
        let mut connections = self.connections.borrow_mut();
        if self.max.get() == 0 {
            return;
        }
        if connections.len() >= self.max.get() || self.limits.is_full() {
            if connections.pop_front().is_none() {
                return;
            }
            self.limits.add(-1);
        }
        connections.push_back(connection);
        self.limits.add(1);
    }

    /// Closes those that are too old or were closed by the backend. The oldest are at the front: it
    /// stops at the first that may stay.
    pub(crate) fn expire(&self, now_ms: u64) {
        let mut connections = self.connections.borrow_mut();
        let mut cx = Context::from_waker(Waker::noop());
        while let Some(oldest) = connections.front() {
            let stays =
                now_ms < oldest.expires_ms && oldest.stream.poll_read_ready(&mut cx).is_pending();
            if stays {
                break;
            }
            connections.pop_front();
            self.limits.add(-1);
        }
    }

    /// Closes all of them.
    pub(crate) fn clear(&self) {
        let mut connections = self.connections.borrow_mut();
        self.limits
            .add(-isize::try_from(connections.len()).unwrap_or(isize::MAX));
        connections.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.borrow().len()
    }
}

impl Drop for IdleConnections {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use balance_net::Stream;
    use tokio::net::{TcpListener, TcpStream};

    use super::{IdleConnection, IdleConnections, IdleLimits};

    async fn pair(listener: &TcpListener) -> (Stream, TcpStream) {
        let address = listener.local_addr().unwrap();
        let ours = TcpStream::connect(address).await.unwrap();
        (Stream::from(ours), listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn last_in_is_first_out_within_both_limits() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let limits = Rc::new(IdleLimits::new(3));
        let idle = IdleConnections::new(2, Rc::clone(&limits));
        let other = IdleConnections::new(9, Rc::clone(&limits));
        let mut peers = Vec::new();
        for expires_ms in [10, 20, 30] {
            let (stream, peer) = pair(&listener).await;
            peers.push(peer);
            idle.keep(IdleConnection { stream, expires_ms });
        }
        assert_eq!((idle.len(), limits.total()), (2, 2), "the oldest gave way");
        for _ in 0..2 {
            let (stream, peer) = pair(&listener).await;
            peers.push(peer);
            other.keep(IdleConnection {
                stream,
                expires_ms: 99,
            });
        }
        assert_eq!((other.len(), limits.total()), (1, 3));
        assert!(idle.take(25).is_some(), "the newest is still good");
        assert!(idle.take(25).is_none(), "the other one is too old");
        drop(other);
        assert_eq!(limits.total(), 0);
    }

    #[tokio::test]
    async fn a_connection_that_the_backend_closed_is_not_handed_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let idle = IdleConnections::new(2, Rc::new(IdleLimits::new(3)));
        let (stream, peer) = pair(&listener).await;
        idle.keep(IdleConnection {
            stream,
            expires_ms: u64::MAX,
        });
        drop(peer);
        // The runtime learns of the FIN when it next looks at epoll.
        while idle.len() == 1 {
            tokio::task::yield_now().await;
            idle.expire(0);
        }
        assert!(idle.take(0).is_none());
    }
}
