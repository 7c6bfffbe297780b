//! A future that serves one job after the other: what it needs is allocated once, not per job.
//!
//! ```text
//!   start ── job ──► desk ──► future: serves it
//!   poll_served ◄── result ── desk ◄──┘
//! ```

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Serves jobs `J`, each with a result `S`. Dropped in the middle of one, it drops what that owns.
pub(crate) struct Coroutine<J, S> {
    desk: Rc<Desk<J, S>>,
    future: Pin<Box<dyn Future<Output = Infallible>>>,
}

/// Where work is handed over and taken back.
pub(crate) struct Desk<J, S> {
    job: Cell<Option<J>>,
    served: Cell<Option<S>>,
}

impl<J, S> Coroutine<J, S> {
    /// `serve` takes jobs off the desk and gives their results back, for ever.
    pub(crate) fn new<F>(serve: impl FnOnce(Rc<Desk<J, S>>) -> F) -> Self
    where
        F: Future<Output = Infallible> + 'static,
    {
        let desk = Rc::new(Desk {
            job: Cell::new(None),
            served: Cell::new(None),
        });
        Self {
            future: Box::pin(serve(Rc::clone(&desk))),
            desk,
        }
    }

    /// Hands a job over; the one before it is over.
    pub(crate) fn start(&mut self, job: J) {
        self.desk.job.set(Some(job));
    }

    /// Ready when the job is over.
    pub(crate) fn poll_served(&mut self, cx: &mut Context<'_>) -> Poll<S> {
        match self.future.as_mut().poll(cx) {
            Poll::Ready(never) => match never {},
            Poll::Pending => {}
        }
        self.desk.served.take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl<J, S> Desk<J, S> {
    /// Waits for a job. Woken by being polled: whoever hands one over polls next.
    pub(crate) async fn next_job(&self) -> J {
        poll_fn(|_| self.job.take().map_or(Poll::Pending, Poll::Ready)).await
    }

    /// The job is over.
    pub(crate) fn give_back(&self, served: S) {
        self.served.set(Some(served));
    }
}
