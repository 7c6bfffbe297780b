//! What is told of the backends of a running process.

use balance_lb::AdminState;
use balance_proxy::{Endpoint, Snapshot};

use super::{config, question};
use crate::compile;
use crate::explain::{Explanation, Running, Subject};

/// What runs, with the members of pool `app`.
fn running(prepare: impl Fn(&[std::sync::Arc<Endpoint>]), check: impl Fn(&Explanation)) {
    let config = config();
    let snapshot: Snapshot = compile::unbound(&config).unwrap();
    prepare(&snapshot.pools[0].members);
    let subject = Subject {
        config: &config,
        path: "t.yaml",
        snapshot: &snapshot,
        via_name: "balance-test",
        now_ms: 1_000,
        seed: 7,
        running: Running::Yes,
    };
    let before: Vec<u32> = in_flight(&snapshot);
    let asked = question("http://www.example.com:8080/v1");
    check(&subject.explain(&asked).unwrap());
    check(&subject.explain(&asked).unwrap());
    assert_eq!(in_flight(&snapshot), before, "a question takes no place");
}

fn in_flight(snapshot: &Snapshot) -> Vec<u32> {
    let members = snapshot.pools.iter().flat_map(|pool| &pool.members);
    members.map(|endpoint| endpoint.in_flight()).collect()
}

#[test]
fn states_of_a_running_process_are_told_and_decide() {
    running(
        |members| {
            members[0].try_lease().unwrap();
            members[0].try_lease().unwrap();
            members[1].on_connect_failure(980, 0);
        },
        |explanation| {
            let pool = explanation.pool.as_ref().unwrap();
            let excluded: Vec<Option<&str>> = pool
                .backends
                .iter()
                .map(|one| one.excluded.as_deref())
                .collect();
            let full = Some("it is at its max_connections");
            assert_eq!(
                excluded,
                [full, Some("it rests after a failed connect"), None]
            );
            let states: Vec<_> = pool
                .backends
                .iter()
                .map(|one| one.state.clone().unwrap())
                .collect();
            assert_eq!((states[0].in_flight, &*states[0].gate), (2, "pickable"));
            assert_eq!((states[1].rest_left_ms, &*states[1].gate), (80, "resting"));
            let pick = pool.pick.as_ref().unwrap();
            assert_eq!((&*pick.backend, pick.is_certain), ("a3", true));
        },
    );
}

#[test]
fn a_pool_without_a_backend_is_refused_with_its_cause() {
    running(
        |members| {
            members
                .iter()
                .for_each(|one| one.set_admin_state(AdminState::Draining))
        },
        |explanation| {
            assert_eq!(
                explanation.verdict.text,
                "would be refused: 503 destination_unavailable: no backend can be used at the moment"
            );
            let pool = explanation.pool.as_ref().unwrap();
            assert!(pool.pick.is_none());
            assert_eq!(pool.backends[0].excluded.as_deref(), Some("it drains"));
            assert!(explanation.sent.is_some());
        },
    );
    running(
        |members| {
            members[0].try_lease().unwrap();
            members[0].try_lease().unwrap();
            members[1..]
                .iter()
                .for_each(|one| one.set_admin_state(AdminState::Disabled));
        },
        |explanation| {
            assert_eq!(
                explanation.verdict.text,
                "would be refused: 503 connection_limit_reached: every backend is at its connection limit"
            );
        },
    );
}

#[test]
fn when_all_rest_the_last_resort_is_told() {
    running(
        |members| {
            for (member, now_ms) in members.iter().zip([990, 970, 980]) {
                member.on_connect_failure(now_ms, 0);
            }
        },
        |explanation| {
            let pick = explanation.pool.as_ref().unwrap().pick.as_ref().unwrap();
            assert_eq!(&*pick.backend, "a2");
            assert_eq!(
                pick.why,
                "all that are left rest: the one whose rest ends first"
            );
        },
    );
}
