use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use proptest::prelude::*;

use super::{COARSE_MS, FINE_MS, Inner, Wheel};

#[derive(Default)]
struct CountingWaker(AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn turn(inner: &mut Inner, now_ms: u64) -> Option<u64> {
    inner.poll_turn(now_ms, &Context::from_waker(Waker::noop()))
}

fn is_fired(inner: &mut Inner, key: u32) -> bool {
    inner
        .poll_expired(key, &mut Context::from_waker(Waker::noop()))
        .is_ready()
}

#[test]
fn a_deadline_is_never_early_and_at_most_one_slot_late() {
    for deadline_ms in [
        1, 9, 10, 11, 999, 5_000, 9_999, 10_239, 10_250, 61_234, 5_000_000,
    ] {
        let mut inner = Inner::new(0);
        let key = inner.insert();
        inner.set(key, 0, deadline_ms);
        let mut now_ms = 0;
        while !is_fired(&mut inner, key) {
            now_ms = turn(&mut inner, now_ms)
                .expect("a set timer has a next turn")
                .max(now_ms + 1);
            turn(&mut inner, now_ms);
        }
        let slot_ms = if deadline_ms < 10_000 {
            FINE_MS
        } else {
            COARSE_MS
        };
        assert!(now_ms >= deadline_ms, "{deadline_ms} fired at {now_ms}");
        assert!(
            now_ms <= deadline_ms + slot_ms,
            "{deadline_ms} fired at {now_ms}"
        );
    }
}

#[test]
fn a_near_deadline_set_after_a_long_sleep_is_not_late() {
    let mut inner = Inner::new(0);
    let (far, near) = (inner.insert(), inner.insert());
    inner.set(far, 0, 3_600_000);
    inner.set(near, 1_000_000, 1_000_050);
    assert_eq!(turn(&mut inner, 1_000_001), Some(1_000_050));
}

#[test]
fn moving_a_deadline_later_is_lazy_and_earlier_is_not() {
    let mut inner = Inner::new(0);
    let key = inner.insert();
    inner.set(key, 0, 100);
    inner.set(key, 0, 300);
    turn(&mut inner, 200);
    assert!(!is_fired(&mut inner, key));
    inner.set(key, 200, 250);
    turn(&mut inner, 260);
    assert!(is_fired(&mut inner, key));
}

#[test]
fn a_cleared_timer_does_not_fire_and_a_removed_one_leaves_no_trace() {
    let mut inner = Inner::new(0);
    let (cleared, removed) = (inner.insert(), inner.insert());
    inner.set(cleared, 0, 50);
    inner.set(removed, 0, 50);
    inner.clear(cleared);
    inner.remove(removed);
    assert_eq!(turn(&mut inner, 1_000), None);
    assert!(!is_fired(&mut inner, cleared));
    assert_eq!(inner.insert(), removed, "its entry is reused");
}

#[test]
fn a_timer_that_rests_wakes_nobody_and_serves_again() {
    let mut inner = Inner::new(0);
    let key = inner.insert();
    let (before, after) = (
        Arc::new(CountingWaker::default()),
        Arc::new(CountingWaker::default()),
    );
    for (count, deadline_ms) in [(&before, 50), (&after, 100)] {
        inner.rest(key);
        inner.set(key, 0, deadline_ms);
        let waker = Waker::from(Arc::clone(count));
        let mut cx = Context::from_waker(&waker);
        assert!(inner.poll_expired(key, &mut cx).is_pending());
    }
    turn(&mut inner, 60);
    turn(&mut inner, 110);
    assert_eq!(before.0.load(Ordering::Relaxed), 0);
    assert_eq!(after.0.load(Ordering::Relaxed), 1);
    inner.rest(key);
    assert_eq!(Arc::strong_count(&after), 1, "its waker is gone");
    assert_eq!(turn(&mut inner, 10_000), None);
}

#[test]
fn when_all_have_expired_no_timer_waits() {
    let wheel = Wheel::new(0);
    let (unset, set) = (wheel.timer(), wheel.timer());
    set.set(0, 1_000);
    wheel.expire_all();
    set.set(0, 2_000);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(unset.poll_expired(&mut cx).is_ready() && set.poll_expired(&mut cx).is_ready());
}

#[test]
fn an_earlier_deadline_wakes_the_sleeping_driver() {
    let counter = Arc::new(CountingWaker::default());
    let waker = Waker::from(Arc::clone(&counter));
    let mut inner = Inner::new(0);
    let (late, early) = (inner.insert(), inner.insert());
    inner.set(late, 0, 60_000);
    assert_eq!(
        inner.poll_turn(0, &Context::from_waker(&waker)),
        Some(60_000)
    );
    inner.set(early, 0, 20);
    assert_eq!(counter.0.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_driver_wakes_whoever_waits() {
    let clock = crate::clock::Clock::start();
    let wheel = Wheel::new(clock.now_ms());
    let timer = wheel.timer();
    timer.set(clock.now_ms(), 20);
    tokio::select! {
        () = wheel.drive(clock) => unreachable!("the driver never ends"),
        () = timer.expired() => {}
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set { timer: usize, in_ms: u64 },
    Clear { timer: usize },
    Pass { ms: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..8_usize, 0..40_000_u64).prop_map(|(timer, in_ms)| Step::Set { timer, in_ms }),
        1 => (0..8_usize).prop_map(|timer| Step::Clear { timer }),
        4 => (1..15_000_u64).prop_map(|ms| Step::Pass { ms }),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    /// Against a model: a plain map of deadlines.
    #[test]
    fn fires_exactly_what_a_model_says(steps in steps()) {
        let mut inner = Inner::new(0);
        let keys: Vec<u32> = (0..8).map(|_| inner.insert()).collect();
        let mut model: BTreeMap<usize, u64> = BTreeMap::new();
        let mut now_ms = 0;
        for step in steps {
            match step {
                Step::Set { timer, in_ms } => {
                    inner.set(keys[timer], now_ms, now_ms + in_ms);
                    model.insert(timer, now_ms + in_ms);
                }
                Step::Clear { timer } => {
                    inner.clear(keys[timer]);
                    model.remove(&timer);
                }
                Step::Pass { ms } => {
                    now_ms += ms;
                    turn(&mut inner, now_ms);
                    for (timer, key) in keys.iter().enumerate() {
                        let fired = is_fired(&mut inner, *key);
                        match model.get(&timer) {
                            None => prop_assert!(!fired),
                            Some(deadline) if *deadline > now_ms => prop_assert!(!fired),
                            // Late by at most one coarse slot.
                            Some(deadline) if deadline + COARSE_MS <= now_ms => prop_assert!(fired),
                            Some(_) => {}
                        }
                    }
                }
            }
        }
    }

    /// A driver that sleeps as it is told, to the moment: whoever waits is woken in time, near or far, and timers
    /// that come, go and move in between change nothing about that.
    #[test]
    fn a_driver_that_sleeps_as_told_is_one_slot_late_at_most(steps in steps(), dropped in 0..8_usize) {
        let mut inner = Inner::new(0);
        let mut keys: Vec<u32> = (0..8).map(|_| inner.insert()).collect();
        // By timer: its deadline, and how late it may be.
        let mut model: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
        let mut now_ms = 0;
        for step in steps {
            match step {
                Step::Set { timer, in_ms } => {
                    inner.set(keys[timer], now_ms, now_ms + in_ms);
                    model.insert(timer, (now_ms + in_ms, if in_ms < 10_000 { FINE_MS } else { COARSE_MS }));
                }
                Step::Clear { timer } if timer == dropped => {
                    inner.remove(keys[timer]);
                    keys[timer] = inner.insert();
                    model.remove(&timer);
                }
                Step::Clear { timer } => {
                    inner.clear(keys[timer]);
                    model.remove(&timer);
                }
                Step::Pass { ms } => {
                    let end_ms = now_ms + ms;
                    loop {
                        let next_ms = turn(&mut inner, now_ms);
                        for (timer, (deadline_ms, late_ms)) in &model {
                            let fired = is_fired(&mut inner, keys[*timer]);
                            prop_assert!(!fired || *deadline_ms <= now_ms, "early");
                            prop_assert!(fired || now_ms < deadline_ms + late_ms, "late");
                        }
                        match next_ms {
                            Some(next_ms) if next_ms <= end_ms => now_ms = next_ms.max(now_ms + 1),
                            _ => break,
                        }
                    }
                    now_ms = end_ms;
                }
            }
        }
    }
}
