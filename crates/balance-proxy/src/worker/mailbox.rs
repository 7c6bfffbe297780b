//! How control reaches the workers: one bounded mailbox each.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use balance_core::WorkerId;
use tokio::sync::{mpsc, oneshot};

use super::thread;
use crate::listener::{ListenerKey, ListenerSocket};
use crate::shared::Shared;
use crate::snapshot::Snapshot;

/// What control tells a worker.
pub enum Message {
    /// Use this snapshot for every exchange that starts from now on, and say so on `seen`.
    Publish {
        snapshot: Arc<Snapshot>,
        seen: mpsc::Sender<WorkerId>,
    },
    /// Accept on this socket too.
    AddListener(ListenerSocket),
    /// Accept what is queued, then close the socket. Its connections end with their next response.
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
    #[error("the worker did not take the snapshot in time")]
    TimedOut,
}

/// All workers of the process.
pub struct Workers {
    handles: Vec<WorkerHandle>,
}

struct WorkerHandle {
    mailbox: mpsc::Sender<Message>,
    ended: oneshot::Receiver<bool>,
    thread: JoinHandle<()>,
}

impl Workers {
    /// Starts `shared.worker_count` threads, each already serving `snapshot`.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn spawn(shared: &Arc<Shared>, snapshot: &Arc<Snapshot>) -> io::Result<Self> {
        let mut handles = Vec::new();
        for index in 0..shared.worker_count {
            let id = WorkerId::from_index(index);
            let (mailbox, messages) = mpsc::channel(MESSAGES_MAX);
            let (ending, ended) = oneshot::channel();
            let start = thread::Start {
                id,
                shared: Arc::clone(shared),
                snapshot: Arc::clone(snapshot),
                messages,
                ending,
            };
            handles.push(WorkerHandle {
                mailbox,
                ended,
                thread: thread::spawn(start)?,
            });
        }
        Ok(Self { handles })
    }

    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// Hands one socket to each worker, in order; there are as many as workers.
    ///
    /// # Errors
    /// When a worker takes no messages any more.
    pub fn add_listener(&self, sockets: Vec<ListenerSocket>) -> Result<(), SendError> {
        debug_assert_eq!(sockets.len(), self.handles.len(), "one socket per worker");
        for (handle, socket) in self.handles.iter().zip(sockets) {
            handle.send(Message::AddListener(socket))?;
        }
        Ok(())
    }

    /// Tells every worker to stop accepting on a listener.
    ///
    /// # Errors
    /// When a worker takes no messages any more.
    pub fn remove_listener(&self, key: &ListenerKey) -> Result<(), SendError> {
        self.handles
            .iter()
            .try_for_each(|handle| handle.send(Message::RemoveListener(key.clone())))
    }

    /// Tells every worker to close its idle connections to a backend.
    ///
    /// # Errors
    /// When a worker takes no messages any more.
    pub fn close_idle(&self, pool: &str, backend: &str) -> Result<(), SendError> {
        self.handles.iter().try_for_each(|handle| {
            handle.send(Message::CloseIdle {
                pool: pool.to_owned(),
                backend: backend.to_owned(),
            })
        })
    }

    /// Posts the snapshot to every worker and waits until each has taken it, at most `limit`.
    ///
    /// # Errors
    /// When a worker takes no messages any more, or not in time; it takes the snapshot later.
    pub async fn publish(
        &self,
        snapshot: &Arc<Snapshot>,
        limit: Duration,
    ) -> Result<(), SendError> {
        let (seen, mut all_seen) = mpsc::channel(self.handles.len().max(1));
        for handle in &self.handles {
            handle.send(Message::Publish {
                snapshot: Arc::clone(snapshot),
                seen: seen.clone(),
            })?;
        }
        drop(seen);
        let wait = async {
            for _ in &self.handles {
                all_seen.recv().await.ok_or(SendError::Ended)?;
            }
            Ok(())
        };
        tokio::time::timeout(limit, wait)
            .await
            .unwrap_or(Err(SendError::TimedOut))
    }

    /// Tells every worker to drain; `Shared::set_draining` is called first. A worker that has ended
    /// already has nothing left to drain.
    pub fn drain(&self, limit: Option<Duration>) {
        for handle in &self.handles {
            if let Err(error) = handle.send(Message::Drain { limit }) {
                tracing::debug!(%error, "a worker is not there to be drained");
            }
        }
    }

    /// Ends every worker at once: connections are cut.
    pub fn stop(&self) {
        self.drain(Some(Duration::ZERO));
    }

    /// Waits until every worker has ended (after `drain` or `stop`). Whether all of them finished what was
    /// in flight.
    pub async fn finished(&mut self) -> bool {
        let mut finished_all = true;
        for handle in &mut self.handles {
            // A dropped sender: the thread panicked, and with it its connections are gone.
            finished_all &= (&mut handle.ended).await.unwrap_or(false);
        }
        for handle in self.handles.drain(..) {
            finished_all &= handle.thread.join().is_ok();
        }
        finished_all
    }
}

impl WorkerHandle {
    fn send(&self, message: Message) -> Result<(), SendError> {
        self.mailbox.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Ended,
        })
    }
}

/// Messages that may wait for a worker. It takes each in microseconds.
const MESSAGES_MAX: usize = 256;
