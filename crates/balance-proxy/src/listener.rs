//! Listening sockets as control hands them to workers.

use std::fmt;

use balance_core::ListenAddress;
use balance_net::ListenSocket;

use crate::snapshot::Mode;

/// What makes a listener the same over a reload: where it accepts and what it speaks.
///
/// Its name is not part of it: renaming a listener does not rebind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    pub address: ListenAddress,
    pub mode: Mode,
}

impl fmt::Display for ListenerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// One worker's own accept socket of a listener: bound, listening, non-blocking.
pub struct ListenerSocket {
    pub key: ListenerKey,
    pub socket: ListenSocket,
}
