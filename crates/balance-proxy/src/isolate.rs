//! Catching panics where what panicked can still be settled: at the edge of an exchange, of a session, and of
//! taking in a connection. What is left is caught by the task's own edge (`worker/tracker.rs`).

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// The future panicked. What it owned was dropped by the unwinding: leases and connections are given back.
/// Whatever it had borrowed may be half changed, and must be dropped or made anew.
#[derive(Debug)]
pub(crate) struct Panicked;

/// Runs a future; a panic ends it alone. The process's hook has logged the panic by then.
pub(crate) fn isolate<F: Future>(future: F) -> Isolated<F> {
    Isolated { future }
}

pin_project! {
    /// Not an async block: that would store the future twice, captured and awaited.
    pub(crate) struct Isolated<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Isolated<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.project().future;
        // Unwind safe by what `Panicked` asks of the caller.
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(payload) => {
                forget(payload);
                Poll::Ready(Err(Panicked))
            }
        }
    }
}

/// A payload may be any type, and its drop may panic in its turn, here outside of any edge. Payloads of
/// `panic!` are strings; losing one is cheaper than the process.
fn forget(payload: Box<dyn Any + Send>) {
    if payload.is::<String>() || payload.is::<&'static str>() {
        drop(payload);
    } else {
        std::mem::forget(payload);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{Future, ready};
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::{Panicked, isolate};

    struct Gone<'c>(&'c Cell<bool>);

    impl Drop for Gone<'_> {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }

    #[test]
    fn a_panic_drops_what_the_future_owned_and_is_told() {
        let gone = Cell::new(false);
        let owned = Gone(&gone);
        let mut cx = Context::from_waker(Waker::noop());
        let mut panics = pin!(isolate(async {
            let _owned = owned;
            let numbers: Vec<u8> = Vec::new();
            ready(numbers[std::hint::black_box(0)]).await
        }));
        let poll = panics.as_mut().poll(&mut cx);
        assert!(matches!(poll, Poll::Ready(Err(Panicked))), "{poll:?}");
        assert!(gone.get());
        assert!(matches!(
            pin!(isolate(ready(1))).poll(&mut cx),
            Poll::Ready(Ok(1))
        ));
    }
}
