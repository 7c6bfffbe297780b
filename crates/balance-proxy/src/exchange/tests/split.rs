//! Requests of one route over several pools.

use std::sync::Arc;
use std::time::Duration;

use balance_core::{Cause, PoolId, RouteId, SplitId, Timeouts, Weight};
use balance_lb::Cursor;
use balance_route::RouteSpec;

use super::super::memory::{Client, Connect, Connection, Step};
use super::setup::{Setup, play};
use super::{answers, sum};
use crate::filter::{Filter, Verdict, scripted::Scripted};
use crate::own_response::OwnResponse;
use crate::{Action, ShareRules, SplitRules};

/// Two to one, with the turns of `cursor`: `a a b`.
fn two_to_one(cursor: &Arc<Cursor>) -> Setup {
    let share = |pool, weight| ShareRules {
        pool: PoolId(pool),
        weight: Weight(weight),
        timeouts: Timeouts::default(),
    };
    let split = SplitRules::compile(vec![share(0, 2), share(1, 1)], Arc::clone(cursor));
    Setup {
        pools: &[&["a"], &["b"]],
        routes: vec![(RouteSpec::any(RouteId(0)), Action::Split(SplitId(0)))],
        splits: vec![split.expect("weights")],
        ..Setup::default()
    }
}

/// Each exchange is played on a snapshot of its own, as after a reload: the turns go on all the same. It is counted
/// and logged under the pool that it drew.
#[test]
fn pools_take_turns_by_weight() {
    let cursor = Arc::new(Cursor::new());
    for (number, backend) in ["a", "a", "b", "a", "a", "b"].into_iter().enumerate() {
        let connects = vec![(backend, Connect::Opens(answers("")))];
        let seen = play(two_to_one(&cursor), Client::get("/"), connects);
        assert_eq!(seen.sum, sum("keep", Cause::Completed, 200), "{number}");
        let pool = if backend == "a" { "pool0" } else { "pool1" };
        assert_eq!(seen.series, format!("route0/{pool}"), "{number}");
    }
}

/// The next attempt is at another backend of the same pool, or there is none.
#[test]
fn an_exchange_stays_with_the_pool_that_it_drew() {
    let refused = || Connect::Fails(crate::upstream::ConnectError::Refused);
    let seen = play(
        two_to_one(&Arc::default()),
        Client::get("/"),
        vec![("a", refused())],
    );
    seen.check(
        "no other pool",
        &sum("keep", Cause::ConnectionRefused, 502),
        &["a failed", "client got own 502"],
    );
}

#[test]
fn a_request_that_a_filter_refuses_takes_no_turn() {
    let cursor = Arc::new(Cursor::new());
    let refuses = || Verdict::Respond(OwnResponse::of_cause(Cause::HttpRequestDenied));
    for _ in 0..3 {
        let setup = Setup {
            filters: vec![Filter::Scripted(Scripted(Box::new(refuses)))],
            ..two_to_one(&cursor)
        };
        let seen = play(setup, Client::get("/"), Vec::new());
        assert_eq!(seen.series, "route0/");
    }
    let connects = vec![("a", Connect::Opens(answers("")))];
    let seen = play(two_to_one(&cursor), Client::get("/"), connects);
    assert_eq!(seen.series, "route0/pool0", "the first turn");
}

#[test]
fn deadlines_are_those_of_the_share() {
    let hasty = |change: fn(&mut Timeouts)| {
        let mut timeouts = Timeouts::default();
        change(&mut timeouts);
        let shares = vec![ShareRules {
            pool: PoolId(1),
            weight: Weight(1),
            timeouts,
        }];
        Setup {
            splits: vec![SplitRules::compile(shares, Arc::default()).expect("a weight")],
            ..two_to_one(&Arc::default())
        }
    };
    for (name, change) in [
        (
            "first_byte",
            (|timeouts| timeouts.first_byte = Duration::from_millis(30)) as fn(&mut Timeouts),
        ),
        ("request", |timeouts| {
            timeouts.request = Duration::from_millis(30);
        }),
    ] {
        let connects = vec![("b", Connect::Opens(Connection::new([Step::Never])))];
        let seen = play(hasty(change), Client::get("/"), connects);
        let expected = sum("keep", Cause::HttpResponseTimeout, 504);
        assert_eq!(seen.sum, expected, "{name}");
    }
}
