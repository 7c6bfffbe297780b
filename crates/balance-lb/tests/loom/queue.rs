//! Places that come free while somebody joins, waits or leaves: none is lost, or the model stands still.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use balance_lb::{Backend, Lease, Places, Queue, Ticket, lease};
use loom::thread;

use super::{backend, on, together};

/// Wakes the thread that waits.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for its turn and tries, until it has what it tries for.
fn wait<T>(ticket: Ticket, mut attempt: impl FnMut() -> Option<T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        match ticket.poll_turn(&mut cx) {
            Poll::Pending => thread::park(),
            Poll::Ready(()) => {
                if let Some(taken) = attempt() {
                    ticket.served();
                    return taken;
                }
            }
        }
    }
}

/// As an exchange does: it takes a place, or waits for one.
fn take(queue: &Arc<Queue>, mut attempt: impl FnMut() -> bool) {
    if attempt() {
        return;
    }
    let ticket = queue.join(1, 9).unwrap();
    wait(ticket, || attempt().then_some(()));
}

#[test]
fn a_place_of_the_pool_that_comes_free_while_somebody_joins_is_not_lost() {
    loom::model(|| {
        let (queue, places) = (Arc::new(Queue::new()), Arc::new(Places::new()));
        let place = queue.take_place(&places, 1).unwrap();
        let waiter = {
            let (queue, places) = (Arc::clone(&queue), Arc::clone(&places));
            thread::spawn(move || {
                take(&queue, || queue.take_place(&places, 1).map(drop).is_ok());
            })
        };
        drop(place);
        waiter.join().unwrap();
        assert_eq!((places.in_use(), queue.record().waiting), (0, 0));
    });
}

#[test]
fn a_lease_that_comes_back_while_somebody_joins_is_not_lost() {
    loom::model(|| {
        let queue = Arc::new(Queue::new());
        let backend = loom::sync::Arc::new(Backend::in_pool(
            backend().identity().clone(),
            Arc::clone(&queue),
        ));
        backend.set_max_connections(1);
        backend.try_lease().unwrap();
        together([
            on(&backend, |it| drop(Lease::adopt(it))),
            on(&backend, move |it| take(&queue, || lease(it).is_ok())),
        ]);
        assert_eq!(backend.in_flight(), 0);
    });
}

/// The first of two leaves while the place that it is called for comes free.
#[test]
fn who_leaves_takes_no_call_along() {
    loom::model(|| {
        let (queue, places) = (Arc::new(Queue::new()), Arc::new(Places::new()));
        let place = queue.take_place(&places, 1).unwrap();
        let first = queue.join(1, 9).unwrap();
        let second = queue.join(1, 9).unwrap();
        let waiter = {
            let (queue, places) = (Arc::clone(&queue), Arc::clone(&places));
            thread::spawn(move || {
                wait(second, || queue.take_place(&places, 1).map(drop).ok());
            })
        };
        let leaver = thread::spawn(move || drop(first));
        drop(place);
        leaver.join().unwrap();
        waiter.join().unwrap();
        assert_eq!((places.in_use(), queue.record().waiting), (0, 0));
    });
}
