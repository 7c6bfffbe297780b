use super::{
    AdminState, Entry, Gate, GateState, Passed, REST_FIRST_MS, REST_MAX_MS, Rest, TRIAL_MS,
    UNTIL_MAX_MS, UNWELL, rest_ms,
};
use crate::breaker::{BreakerRules, BreakerState};
use crate::ramp::FULL;
use crate::tally::Outcome;

fn fail(gate: &Gate, now_ms: u64) -> Option<Rest> {
    gate.on_failure(now_ms, 0)
}

fn is_open(gate: &Gate, now_ms: u64) -> bool {
    gate.entry(now_ms) == Entry::Open
}

#[test]
fn a_failure_rests_and_a_success_after_it_recovers() {
    let gate = Gate::new();
    assert_eq!(gate.state(), GateState::Pickable);
    assert!(!gate.on_success());
    let rest = fail(&gate, 1_000).unwrap();
    assert_eq!((rest.rest_ms, rest.failures), (REST_FIRST_MS, 1));
    assert_eq!(gate.state(), GateState::Resting { until_ms: 1_100 });
    assert!(!is_open(&gate, 1_099) && gate.try_enter(1_099).is_none());
    assert!(is_open(&gate, 1_100) && gate.try_enter(1_100).is_some());
    assert!(gate.on_success());
    assert_eq!(gate.state(), GateState::Pickable);
    assert_eq!(gate.machine().failures, 0);
    assert_eq!(gate.machine().rests, 1);
}

#[test]
fn only_one_trial_passes_after_a_rest() {
    let gate = Gate::new();
    fail(&gate, 0);
    assert!(gate.try_enter(100).is_some());
    assert!(!is_open(&gate, 101) && gate.try_enter(101).is_none());
}

#[test]
fn a_lost_trial_is_replaced_after_its_deadline() {
    let gate = Gate::new();
    fail(&gate, 0);
    assert!(gate.try_enter(100).is_some());
    let deadline = 100 + TRIAL_MS;
    assert_eq!(gate.state(), GateState::HalfOpen { until_ms: deadline });
    assert!(gate.try_enter(deadline - 1).is_none());
    assert!(gate.try_enter(deadline).is_some());
    assert!(gate.try_enter(deadline).is_none());
}

#[test]
fn failures_of_one_moment_are_one_event() {
    let gate = Gate::new();
    assert!(fail(&gate, 0).is_some());
    for _ in 0..60 {
        assert_eq!(fail(&gate, 10), None);
    }
    assert_eq!(gate.machine().failures, 1);
}

#[test]
fn every_failed_trial_doubles_the_rest_up_to_the_maximum() {
    let gate = Gate::new();
    let mut now_ms = 0;
    let mut seen = Vec::new();
    for _ in 0..9 {
        let rest = fail(&gate, now_ms).unwrap();
        seen.push(rest.rest_ms);
        now_ms += rest.rest_ms;
        assert!(gate.try_enter(now_ms).is_some());
    }
    assert_eq!(
        seen,
        [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]
    );
}

#[test]
fn jitter_shortens_by_a_quarter_at_most() {
    for failures in 0..40 {
        let full = rest_ms(failures, 0);
        assert!((REST_FIRST_MS..=REST_MAX_MS).contains(&full));
        for jitter in [1, 7, 25, 2_500, u64::MAX] {
            let rest = rest_ms(failures, jitter);
            assert!(rest <= full && rest >= full * 3 / 4, "{failures} {jitter}");
        }
    }
}

#[test]
fn the_operator_overrides_the_machine_and_the_machine_goes_on_beneath() {
    let gate = Gate::new();
    gate.set_admin_state(AdminState::Draining);
    assert_eq!(gate.state(), GateState::Draining);
    assert!(!is_open(&gate, u64::MAX) && gate.try_enter(u64::MAX).is_none());
    fail(&gate, 0);
    gate.set_admin_state(AdminState::Disabled);
    assert_eq!(gate.state(), GateState::Disabled);
    assert_eq!(gate.admin_state(), AdminState::Disabled);
    assert_eq!(gate.rests_until(), None);
    gate.set_admin_state(AdminState::Enabled);
    assert_eq!(gate.state(), GateState::Resting { until_ms: 100 });
    assert!(gate.on_success());
    assert_eq!(gate.state(), GateState::Pickable);
}

#[test]
fn health_lies_between_the_operator_and_the_machine() {
    let gate = Gate::new();
    gate.set_healthy(false);
    assert_eq!(gate.state(), GateState::Unhealthy);
    assert_eq!(gate.entry(0), Entry::Unwell);
    assert!(gate.try_enter(0).is_none() && gate.try_enter_unwell(0).is_some());
    assert!(!gate.on_success(), "an answer does not make it healthy");

    fail(&gate, 0);
    assert_eq!(gate.entry(99), Entry::Closed, "it rests beneath");
    assert!(gate.try_enter_unwell(100).is_some() && gate.try_enter_unwell(101).is_none());

    gate.set_ejected(true);
    assert_eq!(gate.state(), GateState::Unhealthy);
    gate.set_healthy(true);
    assert_eq!(gate.state(), GateState::Ejected);
    gate.set_healthy(false);
    gate.set_ejected(false);

    gate.set_admin_state(AdminState::Draining);
    assert_eq!(gate.state(), GateState::Draining);
    assert!(gate.try_enter_unwell(u64::MAX).is_none());
    gate.set_admin_state(AdminState::Enabled);
    gate.set_healthy(true);
    assert_eq!(
        gate.state(),
        GateState::HalfOpen {
            until_ms: 100 + TRIAL_MS
        }
    );
}

#[test]
fn an_absurd_clock_does_not_reach_the_flags() {
    let gate = Gate::new();
    fail(&gate, u64::MAX);
    assert_eq!(
        gate.state(),
        GateState::Resting {
            until_ms: UNTIL_MAX_MS
        }
    );
    assert_eq!(gate.admin_state(), AdminState::Enabled);
}

#[test]
fn a_broken_one_lets_trials_through_and_nobody_else() {
    let gate = Gate::new();
    gate.set_breaker(Some(BreakerRules {
        max_failures: 2,
        timeout_ms: 1_000,
        success_threshold: 1,
        max_concurrent_requests: 1,
    }));
    assert_eq!(gate.on_failed_attempt(0, 1), None);
    assert_eq!(gate.try_enter(0), Some(Passed::Freely));
    assert!(gate.on_failed_attempt(0, 2).is_some());
    assert_eq!(gate.state(), GateState::Broken);
    for ignored in [0, UNWELL] {
        assert_eq!(gate.pass(999, ignored), None, "a pool in panic, too");
    }
    assert_eq!(gate.entry(999), Entry::Closed);
    assert!(is_open(&gate, 1_000));
    let Some(Passed::OnTrial(trial)) = gate.try_enter(1_000) else {
        panic!("a trial");
    };
    assert!(!is_open(&gate, 1_000) && gate.try_enter(1_000).is_none());
    let change = gate.on_trial(1_001, trial, Outcome::Success).unwrap();
    assert_eq!(change.to, BreakerState::Closed);
    assert_eq!(gate.state(), GateState::Pickable);
    assert_eq!(gate.try_enter(1_001), Some(Passed::Freely));
}

#[test]
fn a_trial_that_does_not_pass_the_rest_is_given_back() {
    let gate = Gate::new();
    gate.set_breaker(Some(BreakerRules {
        max_failures: 1,
        timeout_ms: 10,
        success_threshold: 1,
        max_concurrent_requests: 1,
    }));
    assert!(gate.on_failed_attempt(0, 1).is_some());
    fail(&gate, 0);
    assert!(gate.try_enter(50).is_none(), "it rests");
    assert!(matches!(gate.try_enter(100), Some(Passed::OnTrial(_))));
    assert!(gate.try_enter(100).is_none());
}

#[test]
fn who_comes_back_ramps_until_its_time_is_over() {
    let gate = Gate::new();
    assert_eq!(gate.begin_ramp(0), None, "without a slow start");
    gate.set_slow_start(1_000);
    gate.set_healthy(false);
    gate.set_healthy(true);
    assert_eq!(gate.begin_ramp(5_000), Some(1_000));
    assert_eq!(gate.state(), GateState::Pickable);
    assert_eq!(gate.entry(5_500), Entry::Ramping);
    assert_eq!(gate.try_enter(5_500), Some(Passed::Freely));
    assert_eq!(gate.share(5_500), FULL / 2);
    // It comes back once more: anew.
    gate.set_admin_state(AdminState::Draining);
    assert_eq!(gate.entry(5_600), Entry::Closed);
    gate.set_admin_state(AdminState::Enabled);
    assert_eq!(gate.begin_ramp(5_900), Some(1_000));
    assert!(gate.share(6_100) < FULL);
    assert_eq!(gate.share(6_900), FULL);
    assert_eq!((gate.entry(6_900), gate.ramp(6_900)), (Entry::Open, None));
}

#[test]
fn what_keeps_it_out_counts_more_than_a_ramp() {
    let gate = Gate::new();
    gate.set_slow_start(1_000);
    gate.begin_ramp(0);
    fail(&gate, 0);
    assert_eq!(gate.entry(50), Entry::Closed);
    assert_eq!(gate.entry(100), Entry::Open, "a trial finds out");
    assert!(gate.try_enter(100).is_some() && gate.on_success());
    assert_eq!(gate.entry(101), Entry::Ramping, "it goes on");
    gate.set_ejected(true);
    assert_eq!(gate.entry(102), Entry::Unwell);
    assert_eq!(gate.share(1_000), FULL);
    gate.set_ejected(false);
    assert_eq!(gate.entry(1_000), Entry::Open);
}

#[test]
fn whoever_failed_a_trial_begins_slowly() {
    let gate = Gate::new();
    gate.set_slow_start(1_000);
    fail(&gate, 0);
    assert!(gate.try_enter(100).is_some() && gate.on_success());
    assert_eq!(
        gate.entry(101),
        Entry::Open,
        "one failed connect may be chance"
    );
    fail(&gate, 200);
    assert!(gate.try_enter(300).is_some());
    let rest = fail(&gate, 300).unwrap();
    let back_ms = 300 + rest.rest_ms;
    assert!(gate.try_enter(back_ms).is_some() && gate.on_success());
    assert_eq!(gate.entry(back_ms), Entry::Ramping);
    assert_eq!(gate.share(back_ms + 500), FULL / 2);
}
