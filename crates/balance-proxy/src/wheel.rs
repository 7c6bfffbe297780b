//! One hashed timer wheel per worker: every deadline of its connections, O(1) each, never a scan.
//!
//! Two levels of slots: 10 ms wide below ten seconds, 1 s wide above. A timer sits in the slot of the
//! deadline it was *placed* for; moving its deadline later only stores a number (progress moves
//! deadlines with every request), and the slot puts it right when its turn comes. Moving it earlier
//! places it anew. Deadlines are never early and at most one slot late.
//!
//! The wheel is pure: it is told the time. [`Wheel::drive`] is the one task of a worker that sleeps
//! until the next slot that holds anything; an idle worker has nothing to wake for.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::clock::Clock;

/// The deadlines of one worker.
#[derive(Clone)]
pub(crate) struct Wheel {
    inner: Rc<RefCell<Inner>>,
}

/// One deadline that can be moved any number of times. Dropping it takes it off the wheel.
pub(crate) struct Timer {
    wheel: Wheel,
    key: u32,
}

impl Wheel {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            inner: Rc::new(RefCell::new(Inner::new(now_ms))),
        }
    }

    /// A timer that is not set.
    pub(crate) fn timer(&self) -> Timer {
        let key = self.inner.borrow_mut().insert();
        Timer {
            wheel: self.clone(),
            key,
        }
    }

    /// Wakes every waiting task, due or not: something all of them must look at has changed.
    pub(crate) fn wake_all(&self) {
        for entry in &self.inner.borrow().entries {
            if let Some(waker) = &entry.waker {
                waker.wake_by_ref();
            }
        }
    }

    /// From now on every deadline has passed, also those that are set later: whoever waits ends.
    pub(crate) fn expire_all(&self) {
        self.inner.borrow_mut().is_over = true;
        self.wake_all();
    }

    /// Runs the wheel for ever: wakes tasks whose deadline has passed.
    pub(crate) async fn drive(self, clock: Clock) {
        let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
        loop {
            let looks = self.inner.borrow().looks_before_turn(clock.now_ms());
            for _ in 0..looks {
                tokio::task::yield_now().await; // which comes back after a look at the sockets
            }
            let mut is_turned = false;
            poll_fn(|cx| {
                if std::mem::replace(&mut is_turned, true) {
                    return Poll::Ready(()); // time has passed, or there is an earlier deadline
                }
                let now_ms = clock.now_ms();
                let next = self.inner.borrow_mut().poll_turn(now_ms, cx);
                let Some(next_ms) = next else {
                    return Poll::Pending;
                };
                let until = Duration::from_millis(next_ms.saturating_sub(now_ms));
                sleep.as_mut().reset(tokio::time::Instant::now() + until);
                sleep.as_mut().poll(cx)
            })
            .await;
        }
    }
}

impl Timer {
    /// Sets or moves the deadline to `after_ms` from `now_ms` of the process clock.
    pub(crate) fn set(&self, now_ms: u64, after_ms: u64) {
        self.wheel
            .inner
            .borrow_mut()
            .set(self.key, now_ms, now_ms.saturating_add(after_ms));
    }

    /// As [`Timer::set`]; 0 is no deadline, as in a configuration.
    pub(crate) fn set_unless_zero(&self, now_ms: u64, after_ms: u64) {
        match after_ms {
            0 => self.clear(),
            _ => self.set(now_ms, after_ms),
        }
    }

    /// As [`Timer::set`]; `u64::MAX` is no deadline.
    pub(crate) fn set_unless_never(&self, now_ms: u64, after_ms: u64) {
        match after_ms {
            u64::MAX => self.clear(),
            _ => self.set(now_ms, after_ms),
        }
    }

    /// Takes the deadline away. The timer's place on the wheel is given up when its slot comes.
    pub(crate) fn clear(&self) {
        self.wheel.inner.borrow_mut().clear(self.key);
    }

    /// As [`Timer::clear`], and forgets whom it would wake: it serves somebody else next.
    pub(crate) fn rest(&self) {
        self.wheel.inner.borrow_mut().rest(self.key);
    }

    /// Whether the deadline has passed; if not, the task is woken when it does.
    pub(crate) fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.wheel.inner.borrow_mut().poll_expired(self.key, cx)
    }

    /// Waits for the deadline.
    pub(crate) async fn expired(&self) {
        poll_fn(|cx| self.poll_expired(cx)).await;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.wheel.inner.borrow_mut().remove(self.key);
    }
}

struct Inner {
    entries: Vec<Entry>,
    free: u32,
    fine: Level<FINE_SLOTS, { FINE_SLOTS / 64 }>,
    coarse: Level<COARSE_SLOTS, { COARSE_SLOTS / 64 }>,
    /// When `poll_turn` asked to be called again, in ms; `u64::MAX` = not at all.
    armed_ms: u64,
    driver: Option<Waker>,
    /// All deadlines have passed.
    is_over: bool,
}

struct Entry {
    deadline_ms: u64,
    /// The tick of the slot this entry hangs in.
    tick: u64,
    next: u32,
    previous: u32,
    place: Place,
    fired: bool,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    Loose,
    Fine,
    Coarse,
}

impl Inner {
    fn new(now_ms: u64) -> Self {
        Self {
            entries: Vec::new(),
            free: NIL,
            fine: Level::new(FINE_MS, now_ms),
            coarse: Level::new(COARSE_MS, now_ms),
            armed_ms: u64::MAX,
            driver: None,
            is_over: false,
        }
    }

    fn insert(&mut self) -> u32 {
        let entry = Entry {
            deadline_ms: u64::MAX,
            tick: 0,
            next: NIL,
            previous: NIL,
            place: Place::Loose,
            fired: false,
            waker: None,
        };
        if self.free == NIL {
            self.entries.push(entry);
            return u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 timers");
        }
        let key = self.free;
        self.free = self.entries[key as usize].next;
        self.entries[key as usize] = entry;
        key
    }

    fn remove(&mut self, key: u32) {
        self.unlink(key);
        let entry = &mut self.entries[key as usize];
        entry.place = Place::Free;
        entry.waker = None;
        entry.next = self.free;
        self.free = key;
    }

    fn set(&mut self, key: u32, now_ms: u64, deadline_ms: u64) {
        let entry = &mut self.entries[key as usize];
        entry.deadline_ms = deadline_ms;
        entry.fired = false;
        let placed_ms = match entry.place {
            Place::Fine => entry.tick * FINE_MS,
            Place::Coarse => entry.tick * COARSE_MS,
            Place::Loose | Place::Free => u64::MAX,
        };
        if deadline_ms < placed_ms {
            self.unlink(key);
            self.place(key, now_ms);
        }
    }

    fn clear(&mut self, key: u32) {
        let entry = &mut self.entries[key as usize];
        entry.deadline_ms = u64::MAX;
        entry.fired = false;
    }

    fn rest(&mut self, key: u32) {
        self.clear(key);
        self.entries[key as usize].waker = None;
    }

    fn poll_expired(&mut self, key: u32, cx: &mut Context<'_>) -> Poll<()> {
        let entry = &mut self.entries[key as usize];
        if entry.fired || self.is_over {
            return Poll::Ready(());
        }
        match &entry.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => entry.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Hangs a loose entry into the slot of its deadline.
    fn place(&mut self, key: u32, now_ms: u64) {
        // The wheel last turned when something was due, perhaps long ago; without this a near deadline
        // would seem far away and land in a coarse slot.
        self.fine.catch_up(now_ms / FINE_MS);
        self.coarse.catch_up(now_ms / COARSE_MS);
        let entry = &mut self.entries[key as usize];
        if entry.deadline_ms == u64::MAX {
            return;
        }
        let fine_tick = entry.deadline_ms.div_ceil(FINE_MS);
        let (place, tick) = if fine_tick < self.fine.turned + FINE_SLOTS as u64 {
            // A deadline that has already passed fires with the next slot.
            (Place::Fine, fine_tick.max(self.fine.turned + 1))
        } else {
            let tick = entry.deadline_ms.div_ceil(COARSE_MS);
            // Further than the wheel reaches: the last slot, from where it is placed again.
            let last = self.coarse.turned + COARSE_SLOTS as u64 - 1;
            (Place::Coarse, tick.clamp(self.coarse.turned + 1, last))
        };
        entry.place = place;
        entry.tick = tick;
        let wake_ms = match place {
            Place::Fine => {
                self.fine.push(&mut self.entries, key, tick);
                tick * FINE_MS
            }
            _ => {
                self.coarse.push(&mut self.entries, key, tick);
                tick * COARSE_MS
            }
        };
        if wake_ms < self.armed_ms
            && let Some(driver) = self.driver.take()
        {
            driver.wake();
        }
    }

    fn unlink(&mut self, key: u32) {
        match self.entries[key as usize].place {
            Place::Fine => self.fine.unlink(&mut self.entries, key),
            Place::Coarse => self.coarse.unlink(&mut self.entries, key),
            Place::Loose | Place::Free => {}
        }
        self.entries[key as usize].place = Place::Loose;
    }

    /// How often the worker looks at its sockets before a turn of the wheel. One that stood still (SIGSTOP, a frozen
    /// container) finds its deadlines passed, and what came meanwhile unread: that is not late. The interrupted wait
    /// tells of no socket, so that without this the deadlines would be first.
    fn looks_before_turn(&self, now_ms: u64) -> usize {
        let is_late = now_ms.saturating_sub(self.armed_ms) >= LATE_MS;
        if is_late {
            1 + self.entries.len() / TIMERS_PER_LOOK
        } else {
            0
        }
    }

    /// Fires what is due and says when to come back, in ms.
    fn poll_turn(&mut self, now_ms: u64, cx: &Context<'_>) -> Option<u64> {
        self.turn(now_ms);
        let fine = self.fine.next_tick().map(|tick| tick * FINE_MS);
        let coarse = self.coarse.next_tick().map(|tick| tick * COARSE_MS);
        let next = match (fine, coarse) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        };
        self.armed_ms = next.unwrap_or(u64::MAX);
        self.driver = Some(cx.waker().clone());
        next
    }

    fn turn(&mut self, now_ms: u64) {
        while let Some(key) = self.coarse.pop_due(&mut self.entries, now_ms / COARSE_MS) {
            self.fire_or_place(key, now_ms);
        }
        while let Some(key) = self.fine.pop_due(&mut self.entries, now_ms / FINE_MS) {
            self.fire_or_place(key, now_ms);
        }
    }

    fn fire_or_place(&mut self, key: u32, now_ms: u64) {
        let entry = &mut self.entries[key as usize];
        entry.place = Place::Loose;
        if entry.deadline_ms > now_ms {
            self.place(key, now_ms); // moved since it was placed
            return;
        }
        entry.fired = true;
        if let Some(waker) = entry.waker.take() {
            waker.wake();
        }
    }
}

/// A ring of slots, each the head of a doubly linked list through the entries.
struct Level<const SLOTS: usize, const WORDS: usize> {
    heads: Vec<u32>,
    /// One bit per slot that holds anything.
    occupied: [u64; WORDS],
    /// The last tick whose slot was emptied.
    turned: u64,
}

impl<const SLOTS: usize, const WORDS: usize> Level<SLOTS, WORDS> {
    fn new(slot_ms: u64, now_ms: u64) -> Self {
        Self {
            heads: vec![NIL; SLOTS],
            occupied: [0; WORDS],
            turned: now_ms / slot_ms,
        }
    }

    fn push(&mut self, entries: &mut [Entry], key: u32, tick: u64) {
        let slot = Self::slot(tick);
        let head = self.heads[slot];
        entries[key as usize].next = head;
        entries[key as usize].previous = NIL;
        if head != NIL {
            entries[head as usize].previous = key;
        }
        self.heads[slot] = key;
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    fn unlink(&mut self, entries: &mut [Entry], key: u32) {
        let Entry {
            next,
            previous,
            tick,
            ..
        } = entries[key as usize];
        if next != NIL {
            entries[next as usize].previous = previous;
        }
        if previous != NIL {
            entries[previous as usize].next = next;
            return;
        }
        let slot = Self::slot(tick);
        self.heads[slot] = next;
        if next == NIL {
            self.occupied[slot / 64] &= !(1 << (slot % 64));
        }
    }

    /// Takes one entry of a slot up to and including `tick`.
    fn pop_due(&mut self, entries: &mut [Entry], tick: u64) -> Option<u32> {
        match self.next_tick() {
            Some(next) if next <= tick => {
                self.turned = next - 1;
                let key = self.heads[Self::slot(next)];
                self.unlink(entries, key);
                Some(key)
            }
            _ => {
                self.turned = self.turned.max(tick);
                None
            }
        }
    }

    /// Passes over empty slots up to `tick`.
    fn catch_up(&mut self, tick: u64) {
        let next = self.next_tick().unwrap_or(u64::MAX);
        self.turned = self.turned.max(tick.min(next - 1));
    }

    /// The first tick after `turned` whose slot holds anything.
    fn next_tick(&self) -> Option<u64> {
        let first = self.turned + 1;
        let start = Self::slot(first);
        let mut word_index = start / 64;
        let mut word = self.occupied[word_index] & (u64::MAX << (start % 64));
        // One word more than there are: the first one's low bits come last.
        for _ in 0..=WORDS {
            if word != 0 {
                let slot = word_index * 64 + word.trailing_zeros() as usize;
                let ahead = (slot + SLOTS - start) % SLOTS;
                return Some(first + ahead as u64);
            }
            word_index = (word_index + 1) % WORDS;
            word = self.occupied[word_index];
        }
        None
    }

    fn slot(tick: u64) -> usize {
        (tick % SLOTS as u64) as usize
    }
}

const NIL: u32 = u32::MAX;
const FINE_MS: u64 = 10;
const FINE_SLOTS: usize = 1024;
const COARSE_MS: u64 = 1000;
const COARSE_SLOTS: usize = 4096;
/// A turn is late when the worker did not run for so long after it was due.
const LATE_MS: u64 = 50;
/// One look at the sockets tells of at most 1,024, and a timer stands for up to two.
const TIMERS_PER_LOOK: usize = 512;

#[cfg(test)]
mod tests;
