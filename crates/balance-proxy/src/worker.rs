//! Workers: one thread each, one runtime, its own sockets; control reaches them only by mailbox.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use balance_core::WorkerId;
use tokio::sync::mpsc;

use crate::listener::{ListenerKey, ListenerSocket};
use crate::shared::Shared;
use crate::snapshot::Snapshot;

/// What control tells a worker.
pub enum Message {
    /// Use this snapshot for every exchange that starts from now on, and say so on `seen`.
    Publish { snapshot: Arc<Snapshot>, seen: mpsc::Sender<WorkerId> },
    /// Accept on this socket too.
    AddListener(ListenerSocket),
    /// Accept what is queued, then close the socket. Its connections stay.
    RemoveListener(ListenerKey),
    /// Close idle upstream connections to a backend that is gone or changed.
    CloseIdle { pool: String, backend: String },
    /// Stop accepting, finish what is in flight within `limit` (`None`: however long it takes), then
    /// end the thread.
    Drain { limit: Option<Duration> },
}

/// Why a message could not be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("the worker's mailbox is full: it does not take messages any more")]
    Full,
    #[error("the worker has ended")]
    Ended,
}

/// All workers of the process.
pub struct Workers {
    shared: Arc<Shared>,
}

impl Workers {
    /// Starts `shared.worker_count` threads, each already serving `snapshot`.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn spawn(shared: Arc<Shared>, snapshot: &Arc<Snapshot>) -> io::Result<Self> { unimplemented!() }

    pub fn count(&self) -> usize { unimplemented!() }

    /// Hands one socket to each worker, in order; there are as many as workers.
    pub fn add_listener(&self, sockets: Vec<ListenerSocket>) -> Result<(), SendError> { unimplemented!() }

    pub fn remove_listener(&self, key: &ListenerKey) -> Result<(), SendError> { unimplemented!() }

    pub fn close_idle(&self, pool: &str, backend: &str) -> Result<(), SendError> { unimplemented!() }

    /// Posts the snapshot to every worker and waits until each has taken it, at most `limit`.
    pub async fn publish(&self, snapshot: &Arc<Snapshot>, limit: Duration) -> Result<(), SendError> { unimplemented!() }

    /// Tells every worker to drain; `Shared::set_draining` is called first.
    pub fn drain(&self, limit: Option<Duration>) { unimplemented!() }

    /// Ends every worker at once: connections are cut.
    pub fn stop(&self) { unimplemented!() }

    /// Waits until every worker has ended (after `drain` or `stop`).
    pub async fn finished(&mut self) { unimplemented!() }
}
