//! The tasks of a worker: every connection belongs here, and a drain waits until none is left.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;
use tokio::task::JoinHandle;

use super::Worker;

/// Counts running connections.
#[derive(Default)]
pub(super) struct Tracker {
    active: Cell<usize>,
    waiting: RefCell<Option<Waker>>,
}

impl Tracker {
    pub(super) fn active(&self) -> usize {
        self.active.get()
    }

    /// Waits until nothing runs any more.
    pub(super) async fn idle(&self) {
        poll_fn(|cx| {
            if self.active.get() == 0 {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Runs a connection as a task of its own. A panic in it ends it alone, and is counted.
pub(super) fn spawn(worker: &Rc<Worker>, connection: impl Future<Output = ()> + 'static) {
    spawn_local(Tracked {
        connection,
        _guard: Guard::new(worker),
    });
}

pin_project! {
    /// A connection with its guard. Not an async block: that would store the connection's future twice,
    /// captured and awaited, in every task.
    struct Tracked<F> {
        #[pin]
        connection: F,
        _guard: Guard,
    }
}

impl<F: Future<Output = ()>> Future for Tracked<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().connection.poll(cx)
    }
}

/// Runs a part of the worker itself; it ends with the worker.
#[expect(clippy::disallowed_methods, reason = "this is the place that spawns")]
pub(super) fn spawn_local(future: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    tokio::task::spawn_local(future)
}

struct Guard {
    worker: Rc<Worker>,
}

impl Guard {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.tracker.active.set(worker.tracker.active.get() + 1);
        Self {
            worker: Rc::clone(worker),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.worker.on_panic();
        }
        let tracker = &self.worker.tracker;
        tracker.active.set(tracker.active.get() - 1);
        if tracker.active.get() == 0
            && let Some(waiting) = tracker.waiting.borrow_mut().take()
        {
            waiting.wake();
        }
    }
}
