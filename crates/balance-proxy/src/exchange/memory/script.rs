//! What somebody does, step by step.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::Journal;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<T> {
    /// Not ready this time, but at once again.
    Later,
    /// Not before this line is in the journal.
    Until(&'static str),
    /// Not before this time has passed since the step before.
    Passes(Duration),
    /// Nothing ever again.
    Never,
    Do(T),
}

/// The steps that are left.
#[derive(Debug)]
pub(crate) struct Script<T> {
    steps: VecDeque<Step<T>>,
    passing: Option<Pin<Box<Sleep>>>,
}

impl<T> Script<T> {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step<T>>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            passing: None,
        }
    }

    /// The next action; `None` at the end of the script.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>, journal: &Journal) -> Poll<Option<T>> {
        loop {
            match self.steps.front() {
                None => return Poll::Ready(None),
                Some(Step::Never) => return Poll::Pending,
                Some(Step::Later) => {
                    self.steps.pop_front();
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Step::Until(line)) => {
                    if journal.poll_line(cx, line).is_pending() {
                        return Poll::Pending;
                    }
                    self.steps.pop_front();
                }
                Some(Step::Passes(time)) => {
                    let passing = self.passing.get_or_insert_with(|| Box::pin(sleep(*time)));
                    ready!(passing.as_mut().poll(cx));
                    self.passing = None;
                    self.steps.pop_front();
                }
                Some(Step::Do(_)) => {
                    let Some(Step::Do(action)) = self.steps.pop_front() else {
                        return Poll::Ready(None);
                    };
                    return Poll::Ready(Some(action));
                }
            }
        }
    }

    /// All that is left, if none of it has to be waited for.
    pub(super) fn take_all_ready(&mut self) -> Option<Vec<T>> {
        if !self.steps.iter().all(|step| matches!(step, Step::Do(_))) {
            return None;
        }
        let all = self.steps.drain(..);
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
        Self::new([])
    }
}
