use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use proptest::prelude::{Strategy, any};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{PoolPlace, Queue, QueueFull, QueueRecord, Ticket};
use crate::Places;

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Woken {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

fn is_called(ticket: &Ticket, waker: &Waker) -> bool {
    ticket.poll_turn(&Context::from_waker(waker)).is_ready()
}

/// The one lane of most tests.
const LANE: u64 = 1;

#[test]
fn the_first_tries_at_once_and_then_when_it_is_called() {
    let queue = Arc::new(Queue::new());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    queue.on_free_place();
    assert!(!queue.is_waited_in(LANE));
    let first = queue.join(LANE, 2).unwrap();
    let second = queue.join(LANE, 2).unwrap();
    assert_eq!(queue.join(LANE, 2).err(), Some(QueueFull));
    assert!(queue.is_waited_in(LANE) && !queue.is_waited_in(2));
    assert!(is_called(&first, &waker) && !is_called(&first, &waker));
    assert!(!is_called(&second, &waker));
    assert!(first.is_first() && !second.is_first());
    queue.on_free_place();
    assert_eq!(woken.take(), 1);
    assert!(is_called(&first, &waker) && !is_called(&second, &waker));
    first.served();
    assert_eq!(woken.take(), 1, "there may be another place");
    assert!(is_called(&second, &waker));
    second.timed_out();
    let expected = QueueRecord {
        served: 1,
        timed_out: 1,
        refused: 1,
        ..QueueRecord::default()
    };
    assert_eq!(queue.record(), expected);
}

#[test]
fn whoever_leaves_hands_its_call_on_and_disturbs_nobody_before_it() {
    let queue = Arc::new(Queue::new());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut tickets: Vec<Ticket> = (0..3).map(|_| queue.join(LANE, 9).unwrap()).collect();
    assert!(is_called(&tickets[0], &waker));
    assert!(!tickets.iter().any(|one| is_called(one, &waker)));
    drop(tickets.remove(1));
    assert_eq!(woken.take(), 0);
    queue.on_free_place();
    assert_eq!(woken.take(), 1);
    drop(tickets.remove(0)); // it never tried
    assert_eq!(woken.take(), 1);
    assert!(is_called(&tickets[0], &waker));
    drop(tickets);
    assert_eq!(queue.record().left, 3);
    assert!(!queue.is_waited_in(LANE));
}

#[test]
fn a_free_place_calls_the_first_of_every_lane() {
    let queue = Arc::new(Queue::new());
    let waker = Waker::noop();
    let tickets = [1, 1, 2].map(|lane| queue.join(lane, 9).unwrap());
    let calls = || tickets.each_ref().map(|one| is_called(one, waker));
    assert_eq!(calls(), [true, false, true]);
    queue.on_free_place();
    assert_eq!(calls(), [true, false, true]);
    assert_eq!(
        queue.join(3, 3).err(),
        Some(QueueFull),
        "the limit is for all"
    );
}

#[test]
fn a_place_of_the_pool_calls_when_it_comes_back() {
    let (queue, places) = (Arc::new(Queue::new()), Arc::new(Places::new()));
    let place = queue.take_place(&places, 1).unwrap();
    assert!(queue.take_place(&places, 1).is_err());
    let ticket = queue.join(LANE, 1).unwrap();
    assert!(is_called(&ticket, Waker::noop()));
    assert!(!is_called(&ticket, Waker::noop()));
    drop(place);
    assert!(is_called(&ticket, Waker::noop()));
    assert!(queue.take_place(&places, 1).is_ok());
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Come,
    /// The `n`th that holds a place, modulo their number, gives it back.
    Finish(usize),
    /// The `n`th that waits leaves.
    Leave(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => proptest::strategy::Just(Event::Come),
        2 => any::<usize>().prop_map(Event::Finish),
        1 => any::<usize>().prop_map(Event::Leave),
    ];
    proptest::collection::vec(event, 0..100)
}

proptest! {
    /// Everybody who may have a place has one, in the order of their coming, and nobody has one too many.
    #[test]
    fn nobody_waits_beside_a_free_place_and_nobody_overtakes(events in events(), max in 1..4_u32, queue_max in 1..6_u32) {
        let (queue, places) = (Arc::new(Queue::new()), Arc::new(Places::new()));
        let mut holding: Vec<PoolPlace> = Vec::new();
        let mut waiting: Vec<(usize, Ticket)> = Vec::new();
        let mut served: Vec<usize> = Vec::new();
        let mut came = 0;
        for event in events {
            match event {
                Event::Come => {
                    let taken = match queue.is_waited_in(LANE) {
                        true => None,
                        false => queue.take_place(&places, max).ok(),
                    };
                    match taken {
                        Some(place) => holding.push(place),
                        None => match queue.join(LANE, queue_max) {
                            Ok(ticket) => waiting.push((came, ticket)),
                            Err(QueueFull) => prop_assert_eq!(waiting.len(), queue_max as usize),
                        },
                    }
                    came += 1;
                }
                Event::Finish(_) if holding.is_empty() => {}
                Event::Finish(n) => drop(holding.swap_remove(n % holding.len())),
                Event::Leave(_) if waiting.is_empty() => {}
                Event::Leave(n) => drop(waiting.remove(n % waiting.len())),
            }
            // Those who are called try, as often as they are.
            while let Some(index) = waiting.iter().position(|(_, one)| is_called(one, Waker::noop())) {
                prop_assert_eq!(index, 0, "only the first is called");
                if let Ok(place) = queue.take_place(&places, max) {
                    holding.push(place);
                    let (number, ticket) = waiting.remove(0);
                    served.push(number);
                    ticket.served();
                }
            }
            prop_assert!(holding.len() <= max as usize);
            prop_assert!(waiting.is_empty() || holding.len() == max as usize, "a free place, and somebody waits");
            prop_assert_eq!(queue.record().waiting as usize, waiting.len());
        }
        prop_assert!(served.is_sorted());
    }
}
