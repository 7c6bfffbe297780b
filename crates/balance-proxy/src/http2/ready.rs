//! Which exchanges of a connection have something to do: one bit each, set by their wakers.
//!
//! Polling all of them whenever one is woken would make a hundred slow streams the price of each fast one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};

use parking_lot::Mutex;

/// The ready list of a connection. It owns nothing while there are no exchanges.
pub(super) struct ReadyList {
    places_max: usize,
    bits: Option<Arc<Bits>>,
    /// One per place that was used, made when it first is.
    wakers: Vec<Waker>,
    /// Where the next round begins, so that none is always first.
    next: usize,
}

struct Bits {
    words: Box<[AtomicU64]>,
    /// The connection's own task.
    task: Mutex<Waker>,
    /// The task was woken and has not looked since: to wake it again for each of many exchanges would change nothing.
    is_woken: AtomicBool,
}

struct PlaceWaker {
    bits: Arc<Bits>,
    place: usize,
}

impl ReadyList {
    /// Of at most `places_max` exchanges.
    pub(super) fn new(places_max: usize) -> Self {
        Self {
            places_max,
            bits: None,
            wakers: Vec::new(),
            next: 0,
        }
    }

    /// The exchange in this place has something to do. For the connection's own task, which looks at once.
    pub(super) fn mark(&mut self, place: usize) {
        let places_max = self.places_max;
        self.bits
            .get_or_insert_with(|| Arc::new(Bits::new(places_max)))
            .mark(place);
    }

    /// The waker of the exchange in a place.
    pub(super) fn waker(&mut self, place: usize) -> &Waker {
        let places_max = self.places_max;
        let bits = self
            .bits
            .get_or_insert_with(|| Arc::new(Bits::new(places_max)));
        for place in self.wakers.len()..=place {
            self.wakers.push(Waker::from(Arc::new(PlaceWaker {
                bits: Arc::clone(bits),
                place,
            })));
        }
        &self.wakers[place]
    }

    /// Takes all that have something to do, in `places`; what wakes them from now on wakes the task. What they mark themselves meanwhile is for the next round: a
    /// worker whose turn is used up would otherwise spin here.
    pub(super) fn take_round(&mut self, cx: &Context<'_>, places: &mut Vec<usize>) {
        places.clear();
        let Some(bits) = &self.bits else {
            return;
        };
        bits.set_task(cx);
        // Before the words are read: who marks a place behind that wakes the task again. A swap, so that what was marked
        // by those who find it woken is seen below.
        bits.is_woken.swap(false, Ordering::AcqRel);
        for (index, word) in bits.words.iter().enumerate() {
            let mut word = word.swap(0, Ordering::AcqRel);
            while word != 0 {
                places.push(index * WORD_BITS + word.trailing_zeros() as usize);
                word &= word - 1;
            }
        }
        let first = places.partition_point(|place| *place < self.next);
        places.rotate_left(first);
        self.next = places.first().map_or(0, |place| place + 1);
    }

    /// Gives back what only exchanges need. There are none: who holds an old waker wakes the task in vain.
    pub(super) fn release_memory(&mut self) {
        self.bits = None;
        self.wakers = Vec::new();
    }
}

impl Bits {
    fn new(places_max: usize) -> Self {
        Self {
            words: (0..places_max.div_ceil(WORD_BITS))
                .map(|_| AtomicU64::new(0))
                .collect(),
            task: Mutex::new(Waker::noop().clone()),
            is_woken: AtomicBool::new(false),
        }
    }

    /// Whom the exchanges' wakers wake.
    fn set_task(&self, cx: &Context<'_>) {
        let mut task = self.task.lock();
        if !task.will_wake(cx.waker()) {
            *task = cx.waker().clone();
        }
    }

    fn mark(&self, place: usize) {
        if let Some(word) = self.words.get(place / WORD_BITS) {
            word.fetch_or(1 << (place % WORD_BITS), Ordering::AcqRel);
        }
    }
}

impl Wake for PlaceWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.bits.mark(self.place);
        if !self.bits.is_woken.swap(true, Ordering::AcqRel) {
            let task = self.bits.task.lock().clone();
            task.wake();
        }
    }
}

const WORD_BITS: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};

    use super::ReadyList;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn rounds_hold_what_was_woken_and_begin_behind_the_last_first() {
        let mut list = ReadyList::new(130);
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let cx = Context::from_waker(&task);
        list.mark(0);
        let mut round = Vec::new();
        list.take_round(&cx, &mut round);
        assert_eq!(round, [0]);
        for expected in [[3, 64, 129], [64, 129, 3], [129, 3, 64], [3, 64, 129]] {
            list.mark(3);
            list.mark(64);
            list.waker(129).wake_by_ref();
            list.waker(3).wake_by_ref(); // which finds the task woken already
            list.take_round(&cx, &mut round);
            assert_eq!(round, expected);
        }
        list.take_round(&cx, &mut round);
        assert_eq!(round, []);
        assert_eq!(count.0.load(Ordering::Relaxed), 4);
    }
}
