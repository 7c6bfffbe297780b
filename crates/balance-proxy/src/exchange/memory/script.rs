//! What somebody does, step by step.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use super::Journal;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<T> {
    /// Not ready this time, but at once again.
    Later,
    /// Not before this line is in the journal.
    Until(&'static str),
    /// Nothing ever again.
    Never,
    Do(T),
}

/// The steps that are left.
#[derive(Debug)]
pub(crate) struct Script<T>(VecDeque<Step<T>>);

impl<T> Script<T> {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step<T>>) -> Self {
        Self(steps.into_iter().collect())
    }

    /// The next action; `None` at the end of the script.
    pub(super) fn poll_next(&mut self, cx: &Context<'_>, journal: &Journal) -> Poll<Option<T>> {
        loop {
            match self.0.front() {
                None => return Poll::Ready(None),
                Some(Step::Never) => return Poll::Pending,
                Some(Step::Later) => {
                    self.0.pop_front();
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Step::Until(line)) => {
                    if journal.poll_line(cx, line).is_pending() {
                        return Poll::Pending;
                    }
                    self.0.pop_front();
                }
                Some(Step::Do(_)) => {
                    let Some(Step::Do(action)) = self.0.pop_front() else {
                        return Poll::Ready(None);
                    };
                    return Poll::Ready(Some(action));
                }
            }
        }
    }

    /// All that is left, if none of it has to be waited for.
    pub(super) fn take_all_ready(&mut self) -> Option<Vec<T>> {
        if !self.0.iter().all(|step| matches!(step, Step::Do(_))) {
            return None;
        }
        let all = self.0.drain(..);
        Some(
            all.filter_map(|step| match step {
                Step::Do(action) => Some(action),
                _ => None,
            })
            .collect(),
        )
    }
}

impl<T> Default for Script<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}
