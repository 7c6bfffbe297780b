//! Each rule of a decision by itself, and the budget against a model.

use std::sync::Arc;
use std::time::Duration;

use balance_core::{Backoff, Cause, RetryPolicy, RetryReason, RetryRefusal};
use proptest::prelude::*;

use super::{AttemptFailure, Retries, Retry, RetryQuestion, delay_ms, retries_max};
use crate::places::Places;

fn question() -> RetryQuestion {
    RetryQuestion {
        failure: AttemptFailure::Status(503),
        attempts: 1,
        is_repeatable: true,
        live: 0,
        time_left_ms: u64::MAX,
        random: 0,
    }
}

fn ask(policy: &RetryPolicy, question: &RetryQuestion) -> Retry {
    Retries::default().on_failure(policy, &Arc::default(), question)
}

#[test]
fn each_rule_refuses_for_its_own_reason() {
    let policy = RetryPolicy::default();
    let granted = |reason| Retry::Granted {
        after_ms: 100,
        reason,
    };
    let cause = AttemptFailure::Cause;
    for (name, change, expected) in [
        ("all fits", question(), granted(RetryReason::Status)),
        (
            "a lost connection",
            RetryQuestion {
                failure: cause(Cause::ConnectionTerminated),
                ..question()
            },
            granted(RetryReason::Reset),
        ),
        (
            "a status that is not listed",
            RetryQuestion {
                failure: AttemptFailure::Status(500),
                ..question()
            },
            Retry::NotListed,
        ),
        (
            "not listed goes before all else",
            RetryQuestion {
                failure: cause(Cause::ClientClosed),
                is_repeatable: false,
                attempts: 9,
                ..question()
            },
            Retry::NotListed,
        ),
        (
            "not repeatable",
            RetryQuestion {
                is_repeatable: false,
                ..question()
            },
            Retry::Refused(RetryRefusal::NotRepeatable),
        ),
        (
            "the last attempt but one",
            RetryQuestion {
                attempts: 2,
                ..question()
            },
            granted(RetryReason::Status),
        ),
        (
            "the last attempt",
            RetryQuestion {
                attempts: 3,
                ..question()
            },
            Retry::Refused(RetryRefusal::Attempts),
        ),
        (
            "just in time",
            RetryQuestion {
                time_left_ms: 101,
                ..question()
            },
            granted(RetryReason::Status),
        ),
        (
            "too late",
            RetryQuestion {
                time_left_ms: 100,
                ..question()
            },
            Retry::Refused(RetryRefusal::Deadline),
        ),
    ] {
        assert_eq!(ask(&policy, &change), expected, "{name}");
    }
    let once = RetryPolicy {
        max_attempts: 1,
        ..policy
    };
    assert_eq!(
        ask(&once, &question()),
        Retry::Refused(RetryRefusal::Attempts)
    );
}

/// Where no backend can be picked, attempts do not grow.
#[test]
fn a_retry_that_finds_no_backend_is_used_up() {
    let policy = RetryPolicy::default();
    let mut retries = Retries::default();
    let answers = [(); 3].map(|()| retries.on_failure(&policy, &Arc::default(), &question()));
    let granted = |answer: &Retry| matches!(answer, Retry::Granted { .. });
    assert!(granted(&answers[0]) && granted(&answers[1]), "{answers:?}");
    assert_eq!(answers[2], Retry::Refused(RetryRefusal::Attempts));
}

#[test]
fn delays_grow_up_to_their_limit_and_the_jitter_takes_its_share() {
    let backoff = |jitter| Backoff {
        jitter,
        ..Backoff::default()
    };
    let delays = |jitter, random| -> Vec<u64> {
        let made = [0, 1, 2, 6, 7, 1000, u32::MAX];
        made.map(|made| delay_ms(&backoff(jitter), made, random))
            .into()
    };
    let longest = [100, 200, 400, 6400, 10_000, 10_000, 10_000];
    assert_eq!(delays(1.0, 0), longest);
    assert_eq!(delays(0.0, u64::MAX), longest);
    assert_eq!(delays(1.0, u64::MAX), [0; 7]);
    assert_eq!(delays(0.1, u64::MAX)[..2], [90, 180]);
}

#[test]
fn a_fifth_of_the_live_requests_and_at_least_three() {
    for (share, live, expected) in [
        (0.2, 0, 3),
        (0.2, 19, 3),
        (0.2, 20, 4),
        (0.2, 1000, 200),
        (0.0, 1000, 3),
        (1.0, 1000, 1000),
    ] {
        assert_eq!(retries_max(share, live), expected, "{share} of {live}");
    }
}

#[test]
fn a_place_is_held_until_the_attempt_is_over() {
    let (policy, budget) = (RetryPolicy::default(), Arc::new(Places::new()));
    let mut exchanges: Vec<Retries> = (0..4).map(|_| Retries::default()).collect();
    let mut ask = |index: usize| exchanges[index].on_failure(&policy, &budget, &question());
    for index in 0..3 {
        assert!(matches!(ask(index), Retry::Granted { .. }));
    }
    assert_eq!(ask(3), Retry::Refused(RetryRefusal::Budget));
    // Its own place comes back first: another retry of the same exchange needs no second one.
    assert!(matches!(ask(0), Retry::Granted { .. }));
    assert_eq!(budget.in_use(), 3);
    exchanges[1].finish();
    assert_eq!(budget.in_use(), 2);
    assert!(matches!(
        exchanges[3].on_failure(&policy, &budget, &question()),
        Retry::Granted { .. }
    ));
    drop(exchanges);
    assert_eq!(budget.in_use(), 0);
}

proptest! {
    /// Whatever fails in whatever order: never more retries than the budget, never more attempts than allowed, and every
    /// place comes back.
    #[test]
    fn budgets_and_attempts_hold(
        max_attempts in 1_u32..6,
        share in 0.0_f64..=1.0,
        steps in proptest::collection::vec((0_usize..8, 0_u32..60, any::<u64>(), any::<bool>()), 1..200),
    ) {
        let policy = RetryPolicy { max_attempts, budget: share, ..RetryPolicy::default() };
        let budget = Arc::new(Places::new());
        let mut exchanges: Vec<(Retries, u32)> = (0..8).map(|_| (Retries::default(), 1)).collect();
        for (index, live, random, fails) in steps {
            let (retries, attempts) = &mut exchanges[index];
            let before = budget.in_use() - u32::from(retries.place.is_some());
            if !fails {
                retries.finish();
                *attempts = 1;
                retries.clear();
                continue;
            }
            let asked = RetryQuestion { attempts: *attempts, live, random, ..question() };
            match retries.on_failure(&policy, &budget, &asked) {
                Retry::Granted { after_ms, .. } => {
                    prop_assert!(before < retries_max(share, live));
                    *attempts += 1;
                    prop_assert!(*attempts <= max_attempts);
                    prop_assert_eq!(retries.made() + 1, *attempts);
                    prop_assert!(after_ms <= 10_000);
                }
                Retry::Refused(RetryRefusal::Budget) => prop_assert!(before >= retries_max(share, live)),
                Retry::Refused(RetryRefusal::Attempts) => prop_assert!(*attempts >= max_attempts),
                other => prop_assert!(false, "{other:?}"),
            }
            prop_assert_eq!(budget.in_use(), before + u32::from(retries.place.is_some()));
        }
        drop(exchanges);
        prop_assert_eq!(budget.in_use(), 0);
    }

    #[test]
    fn a_delay_lies_within_its_jitter(
        initial_ms in 1_u64..100_000,
        more_ms in 0_u64..100_000,
        multiplier in 1.0_f64..100.0,
        jitter in 0.0_f64..=1.0,
        made in any::<u32>(),
        random in any::<u64>(),
    ) {
        let backoff = Backoff {
            initial: Duration::from_millis(initial_ms),
            max: Duration::from_millis(initial_ms + more_ms),
            multiplier,
            jitter,
        };
        let longest = delay_ms(&backoff, made, 0);
        let delay = delay_ms(&backoff, made, random);
        prop_assert!(longest <= initial_ms + more_ms);
        prop_assert!(delay <= longest);
        prop_assert!(delay as f64 + 1.0 >= longest as f64 * (1.0 - jitter));
    }
}
