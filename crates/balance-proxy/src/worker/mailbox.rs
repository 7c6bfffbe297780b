//! How control reaches the workers: one bounded mailbox each.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
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
    /// Whether everything was finished, once the thread says so.
    ended: oneshot::Receiver<bool>,
    outcome: Option<bool>,
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
                outcome: None,
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
    /// When a worker takes no messages any more; the others have theirs.
    pub fn add_listener(&self, sockets: Vec<ListenerSocket>) -> Result<(), SendError> {
        debug_assert_eq!(sockets.len(), self.handles.len(), "one socket per worker");
        let mut sockets = sockets.into_iter();
        self.send_all(|| sockets.next().map(Message::AddListener))
    }

    /// Tells every worker to stop accepting on a listener.
    ///
    /// # Errors
    /// When a worker takes no messages any more; the others were told.
    pub fn remove_listener(&self, key: &ListenerKey) -> Result<(), SendError> {
        self.send_all(|| Some(Message::RemoveListener(key.clone())))
    }

    /// Tells every worker to close its idle connections to a backend.
    ///
    /// # Errors
    /// When a worker takes no messages any more; the others were told.
    pub fn close_idle(&self, pool: &str, backend: &str) -> Result<(), SendError> {
        self.send_all(|| {
            Some(Message::CloseIdle {
                pool: pool.to_owned(),
                backend: backend.to_owned(),
            })
        })
    }

    /// Posts the snapshot to every worker and waits until each has taken it, at most `limit`.
    ///
    /// # Errors
    /// When a worker takes no messages any more, or not in time (it takes the snapshot later); the others
    /// have it.
    pub async fn publish(
        &self,
        snapshot: &Arc<Snapshot>,
        limit: Duration,
    ) -> Result<(), SendError> {
        let (seen, mut all_seen) = mpsc::channel(self.handles.len().max(1));
        let sent = self.send_all(|| {
            Some(Message::Publish {
                snapshot: Arc::clone(snapshot),
                seen: seen.clone(),
            })
        });
        drop(seen);
        let wait = async {
            let mut count = 0;
            while all_seen.recv().await.is_some() {
                count += 1;
            }
            if count == self.handles.len() {
                Ok(())
            } else {
                Err(SendError::Ended)
            }
        };
        let taken = tokio::time::timeout(limit, wait)
            .await
            .unwrap_or(Err(SendError::TimedOut));
        sent.and(taken)
    }

    /// Waits until a worker ends that nobody told to: its thread panicked, and its sockets queue connections
    /// for nobody. Can be dropped and called again.
    pub async fn any_ended(&mut self) -> WorkerId {
        poll_fn(|cx| {
            for (index, handle) in self.handles.iter_mut().enumerate() {
                if handle.poll_outcome(cx).is_ready() {
                    return Poll::Ready(WorkerId::from_index(index));
                }
            }
            Poll::Pending
        })
        .await
    }

    fn send_all(&self, mut message: impl FnMut() -> Option<Message>) -> Result<(), SendError> {
        let mut result = Ok(());
        for handle in &self.handles {
            if let Some(message) = message() {
                result = result.and(handle.send(message));
            }
        }
        result
    }

    /// Tells every worker to drain. One that has ended already has nothing left to drain.
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
    /// in flight. Can be dropped and called again.
    pub async fn finished(&mut self) -> bool {
        let mut finished_all = true;
        for handle in &mut self.handles {
            finished_all &= poll_fn(|cx| handle.poll_outcome(cx)).await;
        }
        for handle in self.handles.drain(..) {
            finished_all &= handle.thread.join().is_ok();
        }
        finished_all
    }
}

impl WorkerHandle {
    /// Whether it finished what was in flight, once it has ended.
    fn poll_outcome(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.outcome.is_none() {
            // A dropped sender: the thread panicked, and with it its connections are gone.
            self.outcome = Some(ready!(Pin::new(&mut self.ended).poll(cx)).unwrap_or(false));
        }
        Poll::Ready(self.outcome.unwrap_or(false))
    }

    fn send(&self, message: Message) -> Result<(), SendError> {
        self.mailbox.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Ended,
        })
    }
}

/// Messages that may wait for a worker. It takes each in microseconds.
const MESSAGES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use balance_core::WorkerId;
    use tokio::runtime::Builder;
    use tokio::sync::{mpsc, oneshot};

    use super::{Message, SendError, WorkerHandle, Workers};
    use crate::snapshot::Snapshot;

    struct Played {
        workers: Workers,
        mailboxes: Vec<mpsc::Receiver<Message>>,
        /// Dropped, it is a worker that panicked.
        endings: Vec<oneshot::Sender<bool>>,
    }

    /// Workers whose messages the test takes.
    fn played(count: usize) -> Played {
        let (mut handles, mut mailboxes, mut endings) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..count {
            let (mailbox, messages) = mpsc::channel(4);
            let (ending, ended) = oneshot::channel();
            mailboxes.push(messages);
            endings.push(ending);
            handles.push(WorkerHandle {
                mailbox,
                ended,
                outcome: None,
                thread: std::thread::spawn(|| {}),
            });
        }
        Played {
            workers: Workers { handles },
            mailboxes,
            endings,
        }
    }

    fn wait_for<T>(future: impl Future<Output = T>) -> T {
        let runtime = Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(future)
    }

    #[test]
    fn what_is_told_reaches_all_though_one_has_ended() {
        let Played {
            workers,
            mut mailboxes,
            ..
        } = played(3);
        drop(mailboxes.remove(0));
        assert_eq!(workers.close_idle("p", "a"), Err(SendError::Ended));
        for mailbox in &mut mailboxes {
            assert!(matches!(mailbox.try_recv(), Ok(Message::CloseIdle { .. })));
        }
    }

    #[test]
    fn a_snapshot_reaches_all_though_one_has_ended() {
        let Played {
            workers,
            mut mailboxes,
            ..
        } = played(3);
        drop(mailboxes.remove(0));
        let snapshot = Arc::new(Snapshot {
            generation: 7,
            listeners: Vec::new(),
            routes: Vec::new(),
            splits: Vec::new(),
            mirrors: Vec::new(),
            pools: Vec::new(),
            access_log: None,
        });
        let took = std::thread::spawn(move || {
            let take = |mailbox: &mut mpsc::Receiver<Message>| match mailbox.blocking_recv() {
                Some(Message::Publish { snapshot, seen }) => {
                    seen.blocking_send(WorkerId(0)).unwrap();
                    snapshot.generation
                }
                _ => 0,
            };
            mailboxes.iter_mut().map(take).collect::<Vec<_>>()
        });
        let published = wait_for(workers.publish(&snapshot, Duration::from_secs(20)));
        assert_eq!(published, Err(SendError::Ended));
        drop(workers);
        assert_eq!(took.join().unwrap(), [7, 7]);
    }

    #[test]
    fn a_worker_that_panicked_is_told_apart() {
        let mut played = played(3);
        let patience = Duration::from_millis(20);
        let none =
            wait_for(async { tokio::time::timeout(patience, played.workers.any_ended()).await });
        assert!(none.is_err(), "all of them run");
        drop(played.endings.remove(1));
        assert_eq!(wait_for(played.workers.any_ended()), WorkerId(1));
        for ending in played.endings {
            ending.send(true).unwrap();
        }
        assert!(!wait_for(played.workers.finished()), "one did not finish");
    }
}
