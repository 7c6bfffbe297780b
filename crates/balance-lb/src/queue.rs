//! Who waits for a place at the backends of a pool: first in, first out over all workers.
//!
//! ```text
//!            the pool is full                 called: it is the first, and      a place: served
//!   pick ───────────────────────► waiting ──── perhaps a place is free ───► try ──────────────► gone, calls the next
//!                                    ▲                                       │
//!                                    └───────────────────────────────────────┘ still full
//! ```
//!
//! - **No place is lost.** Whoever gives a place back looks whether somebody waits *after* giving it back, and whoever
//!   joins tries *after* it can be seen to wait; a fence on both sides keeps these orders, so one of the two sees the
//!   other. A call that comes while the first one tries is kept for it. Who leaves from the front, for whatever reason,
//!   hands the call on.
//! - **Lanes.** A pool's views share its backends, but one may be full while another is not. Each view has its own lane;
//!   order is kept within a lane, and the first of every lane is called.
//! - While nobody waits it costs a fence and a load for each place that comes back, and only where there is a limit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::cache_line::CacheLine;
use crate::places::{Full, Place, Places};
use crate::sync::{AtomicU32, Mutex, Ordering, fence};

/// As many wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("as many wait as may")]
pub struct QueueFull;

/// What has become of those who came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueRecord {
    pub waiting: u32,
    /// They got a place.
    pub served: u64,
    /// As many as may were waiting.
    pub refused: u64,
    /// They waited for too long.
    pub timed_out: u64,
    /// They went away, or there was no backend left to wait for.
    pub left: u64,
}

/// The queue of one pool. Held as `Arc` by its backends and carried over reloads.
pub struct Queue {
    waiting: CacheLine<AtomicU32>,
    line: Mutex<Line>,
}

/// One that waits. Dropped, it leaves.
#[must_use = "dropping a ticket leaves the queue"]
pub struct Ticket {
    queue: Arc<Queue>,
    lane: u64,
    number: u64,
    end: End,
}

/// A place among those that a pool may use. Dropped, it calls whoever waits for it.
pub struct PoolPlace {
    /// `None` only while it is dropped.
    place: Option<Place>,
    queue: Arc<Queue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Served,
    TimedOut,
    Left,
}

#[derive(Default)]
struct Line {
    /// None of them is empty; as many as a pool has views.
    lanes: Vec<Lane>,
    next_number: u64,
    record: QueueRecord,
}

struct Lane {
    key: u64,
    entries: VecDeque<Entry>,
}

struct Entry {
    number: u64,
    /// It should try.
    is_called: bool,
    waker: Option<Waker>,
}

impl Queue {
    pub fn new() -> Self {
        Self {
            waiting: CacheLine(AtomicU32::new(0)),
            line: Mutex::new(Line::default()),
        }
    }

    /// Whether somebody waits in this lane, so that whoever comes now has to join. One relaxed load while nobody waits
    /// anywhere.
    pub fn is_waited_in(&self, lane: u64) -> bool {
        self.waiting.0.load(Ordering::Relaxed) != 0 && self.line.lock().find(lane).is_some()
    }

    /// Joins a lane of which `max` may wait with those of all others. Whoever is the first there should try at once.
    ///
    /// # Errors
    /// So many wait already.
    pub fn join(self: &Arc<Self>, lane: u64, max: u32) -> Result<Ticket, QueueFull> {
        let mut line = self.line.lock();
        if line.record.waiting >= max {
            line.record.refused += 1;
            return Err(QueueFull);
        }
        let number = line.push(lane);
        self.show(&line);
        drop(line);
        // Before the first try: see the top.
        fence(Ordering::SeqCst);
        Ok(Ticket {
            queue: Arc::clone(self),
            lane,
            number,
            end: End::Left,
        })
    }

    /// A place has been given back.
    pub fn on_free_place(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.0.load(Ordering::Relaxed) != 0 {
            let called = self.line.lock().call_all();
            called.into_iter().for_each(Waker::wake);
        }
    }

    pub fn record(&self) -> QueueRecord {
        self.line.lock().record
    }

    /// Takes a place of the pool, if fewer than `max` are taken.
    ///
    /// # Errors
    /// None is left.
    pub fn take_place(self: &Arc<Self>, places: &Arc<Places>, max: u32) -> Result<PoolPlace, Full> {
        Ok(PoolPlace {
            place: Some(places.take(max)?),
            queue: Arc::clone(self),
        })
    }

    /// Under the lock, so that the number never tells an older state.
    fn show(&self, line: &Line) {
        self.waiting.0.store(line.record.waiting, Ordering::Relaxed);
    }
}

impl Ticket {
    /// Ready when it is the first of its lane and a place may have come free since it was last.
    pub fn poll_turn(&self, cx: &Context<'_>) -> Poll<()> {
        let mut line = self.queue.line.lock();
        let Some(entry) = line.entry(self.lane, self.number) else {
            return Poll::Pending; // never: it leaves when it is dropped
        };
        if std::mem::take(&mut entry.is_called) {
            return Poll::Ready(());
        }
        match &mut entry.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            waker => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Whether nobody in its lane waits for longer.
    pub fn is_first(&self) -> bool {
        let mut line = self.queue.line.lock();
        let lane = line.find(self.lane).map(|index| &mut line.lanes[index]);
        lane.is_some_and(|lane| {
            let first = lane.entries.front();
            first.is_some_and(|first| first.number == self.number)
        })
    }

    /// It has its place.
    pub fn served(mut self) {
        self.end = End::Served;
    }

    /// It has waited for too long.
    pub fn timed_out(mut self) {
        self.end = End::TimedOut;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut line = self.queue.line.lock();
        let next = line.remove(self.lane, self.number);
        let record = &mut line.record;
        match self.end {
            End::Served => record.served += 1,
            End::TimedOut => record.timed_out += 1,
            End::Left => record.left += 1,
        }
        self.queue.show(&line);
        drop(line);
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

impl Drop for PoolPlace {
    fn drop(&mut self) {
        self.place = None;
        self.queue.on_free_place();
    }
}

impl Line {
    fn find(&self, lane: u64) -> Option<usize> {
        self.lanes.iter().position(|one| one.key == lane)
    }

    fn entry(&mut self, lane: u64, number: u64) -> Option<&mut Entry> {
        let index = self.find(lane)?;
        let entries = &mut self.lanes[index].entries;
        let at = entries.partition_point(|one| one.number < number);
        entries.get_mut(at).filter(|one| one.number == number)
    }

    fn push(&mut self, lane: u64) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.record.waiting += 1;
        let index = self.find(lane).unwrap_or_else(|| {
            self.lanes.push(Lane {
                key: lane,
                entries: VecDeque::new(),
            });
            self.lanes.len() - 1
        });
        let entries = &mut self.lanes[index].entries;
        entries.push_back(Entry {
            number,
            is_called: entries.is_empty(),
            waker: None,
        });
        number
    }

    /// Returns whom to wake: the next one, if it was the first that left.
    fn remove(&mut self, lane: u64, number: u64) -> Option<Waker> {
        let index = self.find(lane)?;
        let entries = &mut self.lanes[index].entries;
        let at = entries.partition_point(|one| one.number < number);
        entries.remove(at)?;
        self.record.waiting -= 1;
        if entries.is_empty() {
            self.lanes.swap_remove(index);
            return None;
        }
        if at > 0 {
            return None;
        }
        // Perhaps more than one place came free, or the call was not used.
        entries.front_mut().and_then(Entry::call)
    }

    fn call_all(&mut self) -> Vec<Waker> {
        let fronts = self.lanes.iter_mut();
        fronts
            .filter_map(|lane| lane.entries.front_mut()?.call())
            .collect()
    }
}

impl Entry {
    /// Returns whom to wake.
    fn call(&mut self) -> Option<Waker> {
        self.is_called = true;
        self.waker.take()
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
