use proptest::prelude::{Just, Strategy, any};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{FIRST_WITHIN_MS, Health, HealthMachine, HealthRules};

const RULES: HealthRules = HealthRules {
    rise: 2,
    fall: 3,
    interval_ms: 10_000,
    fast_interval_ms: 2_000,
};

/// The states after each result of a line of `+` and `-`, by their first letters; `.` where nothing changed.
fn play(from: Health, results: &str) -> String {
    let mut machine = HealthMachine::new(RULES, from);
    let change = |result| match machine.on_result(result == '+') {
        None => '.',
        Some(Health::Healthy) => 'H',
        Some(Health::Unhealthy) => 'U',
        Some(Health::Unknown) => '?',
    };
    results.chars().map(change).collect()
}

#[test]
fn the_first_result_decides_alone_and_later_ones_in_a_row() {
    for (from, results, changes) in [
        (Health::Unknown, "+", "H"),
        (Health::Unknown, "-", "U"),
        (Health::Unknown, "-++", "U.H"),
        (Health::Healthy, "--+--+---", "........U"),
        (Health::Healthy, "----", "..U."),
        (Health::Unhealthy, "+-+-++", ".....H"),
        (Health::Unhealthy, "++---", ".H..U"),
    ] {
        assert_eq!(play(from, results), changes, "{from:?} {results}");
    }
}

#[test]
fn probes_are_fast_exactly_while_results_contradict_the_state() {
    let mut machine = HealthMachine::new(RULES, Health::Healthy);
    let is_fast = |machine: &HealthMachine| machine.delay_ms(0) < 9_000;
    assert!(!is_fast(&machine));
    for (is_success, fast) in [
        (false, true),
        (true, false),
        (false, true),
        (false, true),
        (false, false), // it is unhealthy now
        (true, true),
        (true, false),
    ] {
        machine.on_result(is_success);
        assert_eq!(is_fast(&machine), fast, "{machine:?}");
    }
}

fn rules() -> impl Strategy<Value = HealthRules> {
    (1..6_u32, 1..6_u32, 1..100_000_u64, 1..100_000_u64).prop_map(
        |(rise, fall, interval_ms, fast_interval_ms)| HealthRules {
            rise,
            fall,
            interval_ms,
            fast_interval_ms,
        },
    )
}

fn known() -> impl Strategy<Value = Health> {
    prop_oneof![
        Just(Health::Unknown),
        Just(Health::Healthy),
        Just(Health::Unhealthy)
    ]
}

/// What the states mean, said over the whole history instead of step by step: the state after `results` is that of the
/// last moment at which a run of equal results had the length that it needed.
fn model(rules: HealthRules, from: Health, results: &[bool]) -> Health {
    let mut health = from;
    for end in 1..=results.len() {
        let last = results[end - 1];
        let run = results[..end].iter().rev().take_while(|one| **one == last);
        let run = run.count();
        let needed = if last { rules.rise } else { rules.fall };
        if run >= needed as usize || health == Health::Unknown {
            health = if last {
                Health::Healthy
            } else {
                Health::Unhealthy
            };
        }
    }
    health
}

proptest! {
    #[test]
    fn it_is_its_model(rules in rules(), from in known(), results in proptest::collection::vec(any::<bool>(), 0..60)) {
        let mut machine = HealthMachine::new(rules, from);
        for (index, result) in results.iter().enumerate() {
            let before = machine.health();
            let change = machine.on_result(*result);
            prop_assert_eq!(machine.health(), model(rules, from, &results[..=index]));
            prop_assert_eq!(change.unwrap_or(before), machine.health());
            prop_assert_eq!(change.is_some(), before != machine.health());
        }
    }

    #[test]
    fn delays_stay_within_a_tenth_of_their_interval(rules in rules(), jitter in any::<u64>(), is_success in any::<bool>()) {
        let mut machine = HealthMachine::new(rules, Health::Healthy);
        machine.on_result(is_success);
        let full = if machine.contrary > 0 {
            rules.fast_interval_ms.min(rules.interval_ms)
        } else {
            rules.interval_ms
        };
        let delay_ms = machine.delay_ms(jitter);
        prop_assert!((full - full / 10..=full + full / 10).contains(&delay_ms));
        prop_assert!(machine.first_delay_ms(jitter) < FIRST_WITHIN_MS);
    }
}
