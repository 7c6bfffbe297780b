//! Idle upstream connections of one worker to one backend, last in first out.
//!
//! The one used last is the one most likely to be alive, and the others may grow old and be closed: the
//! pool shrinks by itself when there is less to do. A worker may keep a number of them over all its
//! backends; above it, the one that has been idle longest gives way, whosever it is.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::{Rc, Weak};

use tokio::io::Interest;

use super::announced::Announced;
use crate::maybe_tls::MaybeTls;

/// What one worker may keep idle over all its backends: its share of the process's `idle_upstream_max`.
pub(crate) struct IdleLimits {
    total: Cell<usize>,
    total_max: usize,
    /// Every backend's connections, for finding the oldest of all.
    all: RefCell<Vec<Weak<Kept>>>,
}

/// A connection that waits for its next request.
pub(crate) struct IdleConnection {
    pub(crate) stream: MaybeTls,
    /// The PROXY header that it began with.
    pub(crate) announced: Option<Rc<Announced>>,
    /// Since when, by the process clock.
    pub(crate) since_ms: u64,
    /// When it must not be used any more: our idle timeout or the backend's announced one.
    pub(crate) expires_ms: u64,
}

/// The idle connections to one backend.
pub(crate) struct IdleConnections {
    kept: Rc<Kept>,
    /// Of this worker, for this backend.
    max: Cell<usize>,
    timeout_ms: Cell<u64>,
    limits: Rc<IdleLimits>,
}

/// Invariant: `IdleLimits::total` is the sum of all lengths and of the [`IdlePlace`]s. The longest idle stands in front.
#[derive(Default)]
struct Kept(RefCell<VecDeque<IdleConnection>>);

impl IdleLimits {
    pub(crate) fn new(total_max: usize) -> Self {
        Self {
            total: Cell::new(0),
            total_max,
            all: RefCell::new(Vec::new()),
        }
    }

    /// Idle connections of this worker.
    #[cfg(test)]
    pub(crate) fn total(&self) -> usize {
        self.total.get()
    }

    fn forget(&self, count: usize) {
        self.total.set(self.total.get() - count);
    }

    fn register(&self, kept: &Rc<Kept>) {
        let mut all = self.all.borrow_mut();
        all.retain(|other| other.strong_count() > 0);
        all.push(Rc::downgrade(kept));
    }

    /// Closes the connection that has been idle longest. Looks at every backend: only when the total is
    /// reached.
    fn evict_oldest(&self) {
        let all = self.all.borrow();
        let oldest = all
            .iter()
            .filter_map(Weak::upgrade)
            .filter_map(|kept| {
                let since_ms = kept.0.borrow().front()?.since_ms;
                Some((since_ms, kept))
            })
            .min_by_key(|(since_ms, _)| *since_ms);
        if let Some((_, kept)) = oldest {
            let connection = kept.0.borrow_mut().pop_front();
            connection.into_iter().for_each(IdleConnection::close);
            self.forget(1);
        }
    }
}

/// The place of a connection that is idle and kept elsewhere. Dropping it gives it back.
pub(crate) struct IdlePlace(Rc<IdleLimits>);

impl Drop for IdlePlace {
    fn drop(&mut self) {
        self.0.forget(1);
    }
}

impl IdleConnection {
    /// Closes it, and tells the backend under TLS.
    fn close(mut self) {
        self.stream.end();
    }
}

impl IdleConnections {
    pub(crate) fn new(max: usize, limits: Rc<IdleLimits>) -> Self {
        let kept = Rc::new(Kept::default());
        limits.register(&kept);
        Self {
            kept,
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

    /// A connection that is believed to be alive and began with this PROXY header, or without one. Those that are readable while they should be silent
    /// (closed, or garbage) and those that are too old are dropped on the way; no system call but
    /// their close.
    pub(crate) fn take(
        &self,
        now_ms: u64,
        announced: Option<&Announced>,
    ) -> Option<IdleConnection> {
        let is_wanted = |one: &IdleConnection| one.announced.as_deref() == announced;
        let mut kept = self.kept.0.borrow_mut();
        // Without PROXY headers all of them are wanted, and this is the last one.
        while let Some(index) = kept.iter().rposition(is_wanted) {
            let connection = kept.remove(index)?;
            self.limits.forget(1);
            if is_silent(&connection.stream) && now_ms < connection.expires_ms {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection, or closes it if this backend may keep none. At a limit the longest idle gives
    /// way: of this backend, or of all.
    pub(crate) fn keep(&self, connection: IdleConnection) {
        if self.max.get() == 0 || self.limits.total_max == 0 {
            return;
        }
        while self.len() >= self.max.get() {
            let connection = self.kept.0.borrow_mut().pop_front();
            connection.into_iter().for_each(IdleConnection::close);
            self.limits.forget(1);
        }
        if self.limits.total.get() >= self.limits.total_max {
            self.limits.evict_oldest();
        }
        self.kept.0.borrow_mut().push_back(connection);
        self.limits.total.set(self.limits.total.get() + 1);
    }

    /// A place for one that is kept elsewhere, if it may be kept at all. At the limit the longest idle of those that are
    /// kept here gives way.
    pub(crate) fn hold(&self) -> Option<IdlePlace> {
        if self.max.get() == 0 || self.limits.total_max == 0 {
            return None;
        }
        if self.limits.total.get() >= self.limits.total_max {
            self.limits.evict_oldest();
        }
        let total = self.limits.total.get();
        (total < self.limits.total_max).then(|| {
            self.limits.total.set(total + 1);
            IdlePlace(Rc::clone(&self.limits))
        })
    }

    /// Closes those that are too old or were closed by the backend: left alone they would wait in
    /// CLOSE_WAIT, a descriptor each, until somebody took them.
    pub(crate) fn expire(&self, now_ms: u64) {
        let mut kept = self.kept.0.borrow_mut();
        let before = kept.len();
        kept.retain_mut(|connection| {
            let is_good = now_ms < connection.expires_ms && is_silent(&connection.stream);
            if !is_good {
                connection.stream.end();
            }
            is_good
        });
        self.limits.forget(before - kept.len());
    }

    /// Closes all of them.
    pub(crate) fn clear(&self) {
        let mut kept = self.kept.0.borrow_mut();
        self.limits.forget(kept.len());
        kept.drain(..).for_each(IdleConnection::close);
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.0.borrow().len()
    }
}

impl Drop for IdleConnections {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Whether nothing came, as far as the runtime knows: no system call. Not `poll_read_ready`: that also says
/// "pending" when the task has used up its turn, and a closed connection would pass for a silent one.
fn is_silent(stream: &MaybeTls) -> bool {
    let seen = stream.stream().try_io(Interest::READABLE, || Ok(()));
    matches!(seen, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use balance_core::ProxyVersion;
    use balance_net::Stream;
    use balance_proto::proxy_protocol::ConnectionEnds;
    use tokio::net::{TcpListener, TcpStream};

    use super::{Announced, IdleConnection, IdleConnections, IdleLimits, MaybeTls};

    async fn pair(listener: &TcpListener) -> (MaybeTls, TcpStream) {
        let address = listener.local_addr().unwrap();
        let ours = TcpStream::connect(address).await.unwrap();
        (
            MaybeTls::from(Stream::from(ours)),
            listener.accept().await.unwrap().0,
        )
    }

    #[tokio::test]
    async fn last_in_is_first_out_within_both_limits() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let limits = Rc::new(IdleLimits::new(3));
        let idle = IdleConnections::new(2, Rc::clone(&limits));
        let other = IdleConnections::new(9, Rc::clone(&limits));
        let mut peers = Vec::new();
        let mut keep = async |at: &IdleConnections, since_ms, expires_ms| {
            let (stream, peer) = pair(&listener).await;
            peers.push(peer);
            at.keep(IdleConnection {
                stream,
                announced: None,
                since_ms,
                expires_ms,
            });
        };
        for since_ms in [10, 20, 30] {
            keep(&idle, since_ms, since_ms).await;
        }
        assert_eq!((idle.len(), limits.total()), (2, 2), "the oldest gave way");
        keep(&other, 40, 99).await;
        keep(&other, 50, 99).await;
        assert_eq!(
            (idle.len(), other.len()),
            (1, 2),
            "the oldest of all gave way"
        );
        assert_eq!(limits.total(), 3);
        assert!(idle.take(25, None).is_some(), "the newest is still good");
        assert!(other.take(99, None).is_none(), "too old, both");
        assert_eq!(limits.total(), 0);
    }

    #[tokio::test]
    async fn a_connection_that_the_backend_closed_is_not_handed_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let idle = IdleConnections::new(2, Rc::new(IdleLimits::new(3)));
        let (stream, peer) = pair(&listener).await;
        idle.keep(IdleConnection {
            stream,
            announced: None,
            since_ms: 0,
            expires_ms: u64::MAX,
        });
        drop(peer);
        // The runtime learns of the FIN when it next looks at epoll.
        while idle.len() == 1 {
            tokio::task::yield_now().await;
            idle.expire(0);
        }
        assert!(idle.take(0, None).is_none());
    }

    #[tokio::test]
    async fn a_connection_that_announced_a_client_is_for_no_other() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let idle = IdleConnections::new(9, Rc::new(IdleLimits::new(9)));
        let announced = |version, source: &str| {
            let (source, destination) = (source.parse().unwrap(), "127.0.0.1:80".parse().unwrap());
            Announced::new(version, Some(ConnectionEnds::new(source, destination)))
        };
        let anna = announced(ProxyVersion::V2, "192.0.2.1:1000");
        let mut peers = Vec::new();
        for owner in [None, Some(&anna), None] {
            let (stream, peer) = pair(&listener).await;
            peers.push(peer);
            idle.keep(IdleConnection {
                stream,
                announced: owner.map(|owner| Rc::new(owner.clone())),
                since_ms: 0,
                expires_ms: u64::MAX,
            });
        }
        for other in [
            announced(ProxyVersion::V2, "192.0.2.1:1001"),
            announced(ProxyVersion::V2, "192.0.2.2:1000"),
            announced(ProxyVersion::V1, "192.0.2.1:1000"),
            Announced::new(ProxyVersion::V2, None),
        ] {
            assert!(idle.take(0, Some(&other)).is_none(), "{other:?}");
        }
        assert!(idle.take(0, Some(&anna)).is_some());
        assert!(idle.take(0, Some(&anna)).is_none(), "there was one");
        assert!(idle.take(0, None).is_some() && idle.take(0, None).is_some());
        assert_eq!(idle.len(), 0);
    }
}
