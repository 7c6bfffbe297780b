use proptest::prelude::any;
use proptest::{prop_assert, proptest};

use super::{
    EjectionMachine, EjectionRules, Judgement, PoolSituation, Reason, ejectable, usual_latency_us,
};
use crate::tally::Tallied;

const RULES: EjectionRules = EjectionRules {
    consecutive_failures: 5,
    error_rate: 0.5,
    latency_factor: 0.0,
    window_ms: 10_000,
    ejection_ms: 1_000,
};

const SPARED: PoolSituation = PoolSituation {
    may_eject: true,
    usual_us: None,
};

/// A backend under judgement, with totals that grow.
struct Case {
    machine: EjectionMachine,
    totals: Tallied,
}

impl Case {
    fn new(rules: EjectionRules) -> Self {
        Self {
            machine: EjectionMachine::new(rules),
            totals: Tallied::default(),
        }
    }

    /// So many more attempts, of which so many failed, the longest row of them being this.
    fn judge(&mut self, now_ms: u64, [outcomes, failures, row]: [u64; 3]) -> Option<Judgement> {
        self.totals = Tallied {
            outcomes: self.totals.outcomes + outcomes,
            failures: self.totals.failures + failures,
            longest_row: row as u32,
            ..self.totals
        };
        self.machine.judge(now_ms, self.totals, SPARED)
    }

    fn eject(&mut self, now_ms: u64) -> u64 {
        match self.judge(now_ms, [5, 5, 5]) {
            Some(Judgement::Ejected { for_ms, .. }) => for_ms,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_row_of_failures_ejects_whatever_the_share() {
    let mut case = Case::new(RULES);
    assert_eq!(case.judge(100, [1_000, 4, 4]), None);
    let expected = Judgement::Ejected {
        for_ms: 1_000,
        reason: Reason::Row(5),
    };
    assert_eq!(case.judge(200, [1_000, 5, 5]), Some(expected));
}

#[test]
fn a_share_of_failures_ejects_when_there_are_enough_attempts() {
    let mut case = Case::new(RULES);
    assert_eq!(case.judge(100, [19, 19, 1]), None, "too few to tell");
    let expected = Judgement::Ejected {
        for_ms: 1_000,
        reason: Reason::Rate {
            failures: 19,
            outcomes: 38,
        },
    };
    assert_eq!(case.judge(200, [19, 0, 0]), Some(expected));
    let mut case = Case::new(RULES);
    assert_eq!(case.judge(100, [100, 49, 1]), None, "below the share");
}

#[test]
fn what_left_the_window_does_not_count() {
    let mut case = Case::new(RULES);
    assert_eq!(case.judge(0, [40, 19, 1]), None);
    assert_eq!(case.judge(12_000, [20, 9, 1]), None);
    let within = case.judge(12_100, [20, 11, 1]);
    assert!(
        matches!(within, Some(Judgement::Ejected { .. })),
        "{within:?}"
    );
}

#[test]
fn ejections_grow_end_and_are_forgiven() {
    let mut case = Case::new(RULES);
    let mut now_ms = 0;
    for expected in [1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
        assert_eq!(case.eject(now_ms), expected);
        assert_eq!(case.judge(now_ms + expected - 1, [9, 9, 9]), None);
        now_ms += expected;
        assert_eq!(case.judge(now_ms, [0, 0, 0]), Some(Judgement::Returned));
        assert_eq!(case.judge(now_ms, [0, 0, 0]), None, "with an empty window");
    }
    assert_eq!(case.judge(now_ms + 10_000, [0, 0, 0]), None);
    assert_eq!(case.eject(now_ms + 10_000), 1_000, "a good window forgives");
}

#[test]
fn a_pool_spares_its_share_at_least_one_and_never_all() {
    for (all, share, expected) in [
        (1, 1.0, 0),
        (2, 0.1, 1),
        (2, 1.0, 1),
        (3, 0.3, 1),
        (10, 0.3, 3),
        (10, 1.0, 9),
        (10, 0.0, 0),
        (0, 0.5, 0),
    ] {
        assert_eq!(ejectable(all, share), expected, "{share} of {all}");
    }
}

proptest! {
    /// Whatever happens, an ejection has an end that was told, and nothing is ejected that the pool cannot spare.
    #[test]
    fn an_ejection_always_ends(steps in proptest::collection::vec((0..3_000_u64, 0..40_u64, 0..40_u64, 0..9_u32, any::<bool>()), 1..200)) {
        let mut machine = EjectionMachine::new(RULES);
        let (mut now_ms, mut totals) = (0, Tallied::default());
        let mut until_ms = None;
        for (wait_ms, outcomes, failures, longest_row, may_eject) in steps {
            now_ms += wait_ms;
            totals.outcomes += outcomes.max(failures);
            totals.failures += failures;
            totals.longest_row = longest_row;
            let pool = PoolSituation { may_eject, ..SPARED };
            match machine.judge(now_ms, totals, pool) {
                Some(Judgement::Ejected { for_ms, .. }) => {
                    prop_assert!(may_eject && until_ms.is_none());
                    prop_assert!((1_000..=10_000).contains(&for_ms));
                    until_ms = Some(now_ms + for_ms);
                }
                Some(Judgement::Returned) => {
                    prop_assert!(until_ms.take().is_some_and(|until_ms| until_ms <= now_ms));
                }
                None => prop_assert!(until_ms.is_none_or(|until_ms| now_ms < until_ms)),
            }
            prop_assert!(machine.is_ejected() == until_ms.is_some());
        }
    }
}

#[test]
fn who_is_far_slower_than_is_usual_is_ejected_and_comes_back() {
    let rules = EjectionRules {
        latency_factor: 3.0,
        ..RULES
    };
    for (answers, took_ms, usual_ms, expected) in [
        (20, 60, Some(20), true),
        (20, 59, Some(20), false),  // below the factor
        (19, 900, Some(20), false), // too few to tell
        (20, 900, None, false),     // nobody to compare with
        (20, 5, Some(1), false),    // chance
        (20, 6, Some(1), true),
    ] {
        let mut machine = EjectionMachine::new(rules);
        let seen = Tallied {
            outcomes: answers,
            timed: answers,
            took_us: answers * took_ms * 1_000,
            ..Tallied::default()
        };
        let pool = PoolSituation {
            usual_us: usual_ms.map(|ms: u64| ms * 1_000),
            ..SPARED
        };
        let kept = PoolSituation {
            may_eject: false,
            ..pool
        };
        assert_eq!(machine.clone().judge(100, seen, kept), None);
        let judgement = machine.judge(100, seen, pool);
        let is_ejected = matches!(
            judgement,
            Some(Judgement::Ejected {
                for_ms: 1_000,
                reason: Reason::Latency { .. }
            })
        );
        assert_eq!(is_ejected, expected, "{took_ms} ms: {judgement:?}");
        if is_ejected {
            assert_eq!(machine.latency_us(), None, "it is not usual meanwhile");
            assert_eq!(machine.judge(1_100, seen, pool), Some(Judgement::Returned));
            assert_eq!(
                machine.judge(1_200, seen, pool),
                None,
                "with an empty window"
            );
        }
    }
}

#[test]
fn what_is_usual_needs_two_and_is_not_the_outlier() {
    for (latencies, expected) in [
        (&[][..], None),
        (&[7], None),
        (&[900, 7], Some(7)),
        (&[900, 7, 9], Some(9)),
        (&[900, 800, 7, 9], Some(9)),
    ] {
        assert_eq!(usual_latency_us(latencies.iter().copied()), expected);
    }
}
