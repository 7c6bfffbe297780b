//! A connection as the accept loop hands it to its protocol, and its places in what is counted.

use std::net::IpAddr;
use std::rc::Rc;

use balance_net::Stream;
use balance_proto::proxy_protocol::ConnectionEnds;

use super::WorkerListener;
use crate::maybe_tls::MaybeTls;
use crate::shared::{ConnectionGuard, Refused};

/// A connection that is ready for its protocol.
pub(crate) struct Connected {
    pub(crate) stream: MaybeTls,
    /// The client: the peer, or whom its PROXY header names.
    pub(crate) peer: IpAddr,
    /// Both ends, where a PROXY header told them.
    pub(crate) ends: Option<Box<ConnectionEnds>>,
    /// What was read of the protocol already.
    pub(crate) unread: Vec<u8>,
    pub(crate) counted: Counted,
}

/// A connection's place in the process and in the listener's metrics.
pub(crate) struct Counted {
    listener: Rc<WorkerListener>,
    guard: ConnectionGuard,
    is_busy: bool,
}

impl Counted {
    pub(super) fn new(listener: &Rc<WorkerListener>, guard: ConnectionGuard) -> Self {
        listener.series.opened();
        Self {
            listener: Rc::clone(listener),
            guard,
            is_busy: false,
        }
    }

    /// Whether it has an exchange or a session under way. It has none at first.
    #[inline]
    pub(crate) fn set_busy(&mut self, is_busy: bool) {
        if self.is_busy == is_busy {
            return;
        }
        self.is_busy = is_busy;
        if is_busy {
            self.listener.series.became_busy();
        } else {
            self.listener.series.became_idle();
        }
    }

    /// Counts it among the connections of its client, where that was not known when it was accepted.
    pub(super) fn claim(&mut self, client: IpAddr, per_ip_max: usize) -> Result<(), Refused> {
        self.guard.claim(client, per_ip_max)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.set_busy(false);
        self.listener.series.closed();
    }
}

/// Both ends of a connection as the kernel knows them. `None`: a unix socket, or a peer that is gone.
pub(crate) fn ends_of(stream: &Stream) -> Option<ConnectionEnds> {
    let (peer, local) = balance_net::ends(stream).ok()??;
    Some(ConnectionEnds::new(peer, local))
}
