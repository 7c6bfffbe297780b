//! How many handshakes are made in one turn of a worker.
//!
//! A full handshake costs some 150 µs of signing and key exchange, a hundred times what a request costs. A burst
//! of them would stall the traffic that is there: so after a few, the runtime looks after its sockets first.

use tokio::sync::{Notify, Semaphore};

/// A worker's handshakes, in the order they come.
pub(crate) struct HandshakeTurns {
    places: Semaphore,
    taken: Notify,
}

impl HandshakeTurns {
    pub(crate) fn new() -> Self {
        Self {
            places: Semaphore::new(HANDSHAKES_PER_TURN_MAX),
            taken: Notify::new(),
        }
    }

    /// Waits for a place in a turn.
    pub(crate) async fn wait(&self) {
        if let Ok(place) = self.places.acquire().await {
            place.forget();
        }
        self.taken.notify_one();
    }

    /// Frees the places, turn after turn, for the worker's life.
    pub(crate) async fn run(&self) {
        loop {
            self.taken.notified().await;
            // The runtime polls its sockets before it goes on with whoever yielded.
            tokio::task::yield_now().await;
            let free = self.places.available_permits();
            self.places.add_permits(HANDSHAKES_PER_TURN_MAX - free);
        }
    }
}

/// 0.6 ms of a turn.
const HANDSHAKES_PER_TURN_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::rc::Rc;
    use std::task::{Context, Waker};

    use super::{HANDSHAKES_PER_TURN_MAX, HandshakeTurns};

    /// How many of `count` that wait have their place after each turn.
    async fn served(count: usize, turns: usize) -> Vec<usize> {
        let gate = Rc::new(HandshakeTurns::new());
        let mut cx = Context::from_waker(Waker::noop());
        let mut run = pin!(gate.run());
        let mut waiting: Vec<_> = (0..count).map(|_| Box::pin(gate.wait())).collect();
        let mut served = Vec::new();
        for _ in 0..turns {
            waiting.retain_mut(|one| one.as_mut().poll(&mut cx).is_pending());
            served.push(count - waiting.len());
            // The first poll sees that places were taken, the next one is after the turn.
            for _ in 0..2 {
                assert!(run.as_mut().poll(&mut cx).is_pending());
            }
        }
        served
    }

    #[tokio::test]
    async fn a_burst_is_served_over_several_turns() {
        const FOUR: usize = HANDSHAKES_PER_TURN_MAX;
        assert_eq!(served(10, 4).await, [FOUR, 2 * FOUR, 10, 10]);
        assert_eq!(served(1, 2).await, [1, 1]);
    }
}
