//! Writing what a connection and its exchanges have to say: the same towards clients and towards backends.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::link::{Link, Slot};
use crate::budget::{Budget, Held};
use crate::maybe_tls::MaybeTls;

/// How far a connection's output ([`Link::out`]) is written.
pub(super) struct Output {
    /// How much of it the socket took.
    written: usize,
    /// The socket did not take the rest when it was offered.
    is_blocked: bool,
    /// What waits counts against the worker's budget.
    held: Held,
}

/// What came of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// There was nothing to write.
    Nothing,
    /// All is written now, and was not before.
    All,
    /// The socket takes no more at the moment; the task is woken when it does.
    Blocked,
    /// The peer takes nothing any more.
    Broken,
}

impl Output {
    pub(super) fn new(budget: &Rc<Budget>) -> Self {
        Self {
            written: 0,
            is_blocked: false,
            held: budget.holder(),
        }
    }

    /// Writes what there is. Exchanges that waited until it is written are told by `on_place`.
    pub(super) fn poll_write<S: Slot>(
        &mut self,
        stream: &mut MaybeTls,
        link: &mut Link<S>,
        cx: &mut Context<'_>,
        on_place: impl FnMut(usize, &S),
    ) -> Written {
        if link.out.is_empty() {
            return Written::Nothing;
        }
        while self.written < link.out.len() {
            match stream.poll_write(cx, &link.out[self.written..]) {
                Poll::Ready(Ok(taken @ 1..)) => self.written += taken,
                Poll::Ready(Ok(0) | Err(_)) => return Written::Broken,
                Poll::Pending => {
                    self.is_blocked = true;
                    link.on_blocked();
                    self.held.set(link.out.len());
                    return Written::Blocked;
                }
            }
        }
        self.reset();
        link.on_written(on_place);
        Written::All
    }

    /// Gives up what nobody will take.
    pub(super) fn discard<S>(&mut self, link: &mut Link<S>) {
        self.reset();
        link.out.clear();
    }

    fn reset(&mut self) {
        self.written = 0;
        self.is_blocked = false;
        self.held.set(0);
    }

    /// How much of what waits the socket took, if it did not take all.
    pub(super) fn blocked_at(&self) -> Option<usize> {
        self.is_blocked.then_some(self.written)
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked
    }
}
