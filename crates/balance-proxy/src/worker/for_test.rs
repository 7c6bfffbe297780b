//! A worker for tests: on the test's own thread, without sockets, mailbox or tasks.
//!
//! Whoever has deadlines to wait for drives the wheel beside what is tested.

use std::rc::Rc;
use std::sync::Arc;

use balance_core::WorkerId;
use tokio::sync::{mpsc, oneshot};

use super::thread::Start;
use super::{Worker, WorkerSnapshot};
use crate::shared::Shared;
use crate::snapshot::Snapshot;

impl Worker {
    /// A worker that serves `snapshot`.
    pub(crate) fn for_test(shared: &Arc<Shared>, snapshot: &Arc<Snapshot>) -> Rc<Self> {
        let (_, messages) = mpsc::channel(1);
        let (ending, _) = oneshot::channel();
        Rc::new(Self::new(&Start {
            id: WorkerId(0),
            shared: Arc::clone(shared),
            snapshot: Arc::clone(snapshot),
            messages,
            ending,
        }))
    }

    /// What a connection accepted now would be served by.
    pub(crate) fn snapshot_for_test(&self) -> Rc<WorkerSnapshot> {
        Rc::clone(&self.snapshot.borrow())
    }

    /// Waits until no task is left.
    pub(crate) async fn idle_for_test(&self) {
        self.tracker.idle().await;
    }

    /// As after [`Message::Drain`](super::Message), without waiting for anything.
    pub(crate) fn set_draining_for_test(&self) {
        self.is_draining.set(true);
        self.wheel.wake_all();
    }
}
