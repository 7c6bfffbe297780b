use proptest::prelude::{Strategy, any};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{Breaker, BreakerMachine, BreakerRules, BreakerState, Trial};
use crate::tally::Outcome;

const RULES: BreakerRules = BreakerRules {
    max_failures: 3,
    timeout_ms: 1_000,
    success_threshold: 2,
    max_concurrent_requests: 2,
};

/// One that opened at 0.
fn opened(rules: BreakerRules) -> BreakerMachine {
    let mut machine = BreakerMachine::new(rules);
    let change = machine.on_failure(0, rules.max_failures).unwrap();
    assert_eq!(change.to, BreakerState::Open);
    machine
}

#[test]
fn failures_in_a_row_open_it_and_trials_close_it() {
    let mut machine = BreakerMachine::new(RULES);
    assert_eq!(machine.begin_trial(0), None, "nothing to try");
    assert_eq!(machine.on_failure(0, 2), None);
    let change = machine.on_failure(5, 3).unwrap();
    assert_eq!(
        (change.to, &*change.reason),
        (BreakerState::Open, "3 failures in a row")
    );
    assert_eq!(machine.on_failure(6, 4), None, "it is open already");
    assert_eq!(machine.begin_trial(1_004), None);

    let first = machine.begin_trial(1_005).unwrap();
    let second = machine.begin_trial(1_005).unwrap();
    assert!(first.is_first && !second.is_first);
    assert_eq!(machine.begin_trial(1_006), None, "as many as may be");
    assert_eq!(machine.on_trial(1_010, first, Outcome::Success), None);
    let change = machine.on_trial(1_011, second, Outcome::Success).unwrap();
    assert_eq!(change.to, BreakerState::Closed);
    let record = machine.record();
    assert_eq!((record.since_ms, record.openings), (1_011, 1));
}

#[test]
fn a_trial_that_fails_opens_it_for_another_timeout_and_later_ones_are_not_heard() {
    let mut machine = opened(RULES);
    let trials = [
        machine.begin_trial(1_000).unwrap(),
        machine.begin_trial(1_000).unwrap(),
    ];
    let change = machine
        .on_trial(1_100, trials[0], Outcome::Failure)
        .unwrap();
    assert_eq!(
        (change.to, &*change.reason),
        (BreakerState::Open, "a trial failed")
    );
    for outcome in [Outcome::Success, Outcome::Failure] {
        assert_eq!(machine.on_trial(1_200, trials[1], outcome), None);
    }
    assert_eq!(machine.trial_ms(), 2_100);
    assert_eq!(machine.record().openings, 2);
}

#[test]
fn a_trial_that_says_nothing_gives_its_place_back() {
    let mut machine = opened(RULES);
    let trials = [
        machine.begin_trial(1_000).unwrap(),
        machine.begin_trial(1_000).unwrap(),
    ];
    machine.forget_trial(trials[0]);
    assert_eq!(machine.state(), BreakerState::HalfOpen);
    assert!(machine.begin_trial(1_001).is_some());
    assert_eq!(machine.begin_trial(1_001), None);
}

#[test]
fn trials_that_never_end_are_replaced_and_not_heard() {
    let mut machine = opened(RULES);
    let lost = [
        machine.begin_trial(1_000).unwrap(),
        machine.begin_trial(1_500).unwrap(),
    ];
    assert_eq!(machine.trial_ms(), 2_500);
    assert_eq!(machine.begin_trial(2_499), None);
    assert!(machine.begin_trial(2_500).is_some());
    for trial in lost {
        assert_eq!(machine.on_trial(2_600, trial, Outcome::Failure), None);
    }
    assert!(
        machine.begin_trial(2_600).is_some(),
        "one of two is under way"
    );
    assert_eq!(machine.begin_trial(2_600), None);
}

#[test]
fn rules_come_and_go() {
    let breaker = Breaker::new();
    let is_broken = std::cell::Cell::new(false);
    let tell = |broken| is_broken.set(broken);
    assert_eq!(breaker.on_failure(0, 99, tell), None, "there is none");
    breaker.set_rules(Some(RULES), tell);
    assert!(breaker.on_failure(0, 3, tell).is_some() && is_broken.get());
    assert!(!breaker.may_begin(999) && breaker.may_begin(1_000));
    let copy = breaker.copy();
    breaker.set_rules(
        Some(BreakerRules {
            max_failures: 9,
            ..RULES
        }),
        tell,
    );
    assert!(is_broken.get(), "other rules forget nothing");
    breaker.set_rules(None, tell);
    assert!(!is_broken.get() && breaker.record().is_none());
    assert_eq!(copy.record().unwrap().state, BreakerState::Open);
    assert!(!copy.may_begin(999));
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Pass(u64),
    Fail(u32),
    Begin,
    /// The `n`th trial that was ever begun, modulo their number.
    End(usize, Option<bool>),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (0..700_u64).prop_map(Event::Pass),
        (1..6_u32).prop_map(Event::Fail),
        proptest::strategy::Just(Event::Begin),
        (any::<usize>(), any::<Option<bool>>()).prop_map(|(n, how)| Event::End(n, how)),
    ];
    proptest::collection::vec(event, 0..80)
}

fn rules() -> impl Strategy<Value = BreakerRules> {
    (1..5_u32, 1..1_000_u64, 1..4_u32, 1..4_u32).prop_map(
        |(max_failures, timeout_ms, success_threshold, max_concurrent_requests)| BreakerRules {
            max_failures,
            timeout_ms,
            success_threshold,
            max_concurrent_requests,
        },
    )
}

proptest! {
    #[test]
    fn whatever_happens_its_promises_hold(rules in rules(), events in events()) {
        let mut machine = BreakerMachine::new(rules);
        let mut now_ms = 0;
        let mut begun: Vec<Trial> = Vec::new();
        // Trials of the latest round that have not ended, and when the last began.
        let mut under_way: Vec<Trial> = Vec::new();
        let mut last_ms = 0;
        let mut opened_ms = 0;
        let mut successes = 0;
        for event in events {
            let before = machine.state();
            let change = match event {
                Event::Pass(ms) => {
                    now_ms += ms;
                    None
                }
                Event::Fail(row) => machine.on_failure(now_ms, row),
                Event::Begin => {
                    let trial = machine.begin_trial(now_ms);
                    if let Some(trial) = trial {
                        prop_assert!(before != BreakerState::Closed);
                        prop_assert_eq!(trial.is_first, before == BreakerState::Open);
                        if trial.is_first {
                            prop_assert!(now_ms >= opened_ms + rules.timeout_ms);
                            successes = 0;
                        }
                        if under_way.first().is_some_and(|other| other.round != trial.round) {
                            prop_assert!(trial.is_first || now_ms >= last_ms + rules.timeout_ms);
                            under_way.clear();
                        }
                        under_way.push(trial);
                        prop_assert!(under_way.len() <= rules.max_concurrent_requests as usize);
                        begun.push(trial);
                        last_ms = now_ms;
                    } else if before != BreakerState::Closed {
                        prop_assert!(now_ms < machine.trial_ms());
                    }
                    None
                }
                Event::End(_, _) if begun.is_empty() => None,
                Event::End(n, how) => {
                    let trial = begun.remove(n % begun.len());
                    let counts = before == BreakerState::HalfOpen
                        && under_way.iter().any(|one| one.round == trial.round);
                    if counts {
                        let place = under_way.iter().position(|one| one.round == trial.round);
                        under_way.remove(place.unwrap());
                    }
                    match how {
                        None => {
                            machine.forget_trial(trial);
                            None
                        }
                        Some(is_success) => {
                            let outcome = if is_success { Outcome::Success } else { Outcome::Failure };
                            let change = machine.on_trial(now_ms, trial, outcome);
                            prop_assert!(counts || change.is_none());
                            successes += u32::from(counts && is_success);
                            change
                        }
                    }
                }
            };
            prop_assert_eq!(change.is_some(), before != machine.state() && !matches!(event, Event::Begin));
            if let Some(change) = change {
                prop_assert_eq!(change.to, machine.state());
                prop_assert!(change.to != BreakerState::Closed || successes >= rules.success_threshold);
                under_way.clear();
                if change.to == BreakerState::Open {
                    opened_ms = now_ms;
                }
            }
        }
        // A backend always comes back.
        if machine.state() != BreakerState::Closed {
            now_ms += 2 * rules.timeout_ms;
            for _ in 0..rules.success_threshold {
                if machine.state() == BreakerState::Closed {
                    break; // some had succeeded before
                }
                let trial = machine.begin_trial(now_ms).unwrap();
                machine.on_trial(now_ms, trial, Outcome::Success);
                now_ms += rules.timeout_ms;
            }
            prop_assert_eq!(machine.state(), BreakerState::Closed);
        }
    }
}
