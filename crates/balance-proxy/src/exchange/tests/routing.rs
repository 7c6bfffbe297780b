//! Which route, and what it does.

use balance_core::{Cause, PoolId, RouteId};
use balance_route::{PathMatch, RouteSpec};

use super::super::memory::{Client, Connect};
use super::setup::{Setup, play};
use super::{answers, sum};
use crate::{Action, Redirect, Respond};

fn under(id: u32, priority: i64, prefix: &str) -> RouteSpec {
    RouteSpec {
        priority,
        path: PathMatch::SegmentPrefix(prefix.to_owned()),
        ..RouteSpec::any(RouteId(id))
    }
}

fn two_pools() -> Setup {
    Setup {
        pools: &[&["a"], &["b"]],
        listener_pool: None,
        routes: vec![
            (under(0, 1, "/v1"), Action::Forward(PoolId(0))),
            (under(1, 9, "/v1/users"), Action::Forward(PoolId(1))),
        ],
        ..Setup::default()
    }
}

#[test]
fn the_route_of_the_highest_priority_decides() {
    for (target, backend, series) in [
        ("/v1/users/7?x=1", "b", "route1/pool1"),
        ("/v1/orders", "a", "route0/pool0"),
    ] {
        let connects = vec![(backend, Connect::Opens(answers("hello")))];
        let seen = play(two_pools(), Client::get(target), connects);
        seen.check(
            target,
            &sum("keep", Cause::Completed, 200),
            &[
                &format!("{backend} opened"),
                &format!("{backend} got GET example.com{target}"),
                "client got 200",
                "client got [hello]",
                "client got end",
                &format!("{backend} kept"),
            ],
        );
        assert_eq!(seen.series, series);
    }
}

#[test]
fn without_a_route_the_listeners_pool_serves_or_nobody() {
    let seen = play(two_pools(), Client::get("/v2"), Vec::new());
    seen.check(
        "no pool",
        &sum("keep", Cause::NoRoute, 404),
        &["client got own 404"],
    );
    assert_eq!(seen.series, "/");
    assert_eq!(
        seen.journal.field("client", "Proxy-Status"),
        "balance; details=\"no_route\""
    );
    let setup = Setup {
        listener_pool: Some(PoolId(1)),
        ..two_pools()
    };
    let connects = vec![("b", Connect::Opens(answers("")))];
    let seen = play(setup, Client::get("/v2"), connects);
    assert_eq!(seen.sum, sum("keep", Cause::Completed, 200));
    assert_eq!(seen.series, "/pool1");
}

#[test]
fn own_responses_ask_no_backend() {
    let setup = || Setup {
        routes: vec![
            (
                under(0, 0, "/tea"),
                Action::Respond(Box::new(Respond {
                    status: 299,
                    body: b"teapot".to_vec(),
                    content_type: "text/plain".to_owned(),
                    headers: vec![("X-Own".to_owned(), "yes".to_owned())],
                })),
            ),
            (
                under(1, 0, "/old"),
                Action::Redirect(Box::new(Redirect {
                    scheme: Some("https".to_owned()),
                    status: 308,
                    ..Redirect::default()
                })),
            ),
        ],
        ..Setup::default()
    };
    let completed = |status| sum("keep", Cause::Completed, status);
    let seen = play(setup(), Client::get("/tea"), Vec::new());
    seen.check("respond", &completed(299), &["client got own 299"]);
    assert_eq!(seen.journal.field("client", "(body)"), "teapot");
    assert_eq!(seen.journal.field("client", "x-own"), "yes");
    let seen = play(setup(), Client::get("/old/x?y"), Vec::new());
    seen.check("redirect", &completed(308), &["client got own 308"]);
    assert_eq!(
        seen.journal.field("client", "location"),
        "https://example.com/old/x?y"
    );
}

/// What a client may send as a target is not always where somebody can be sent to.
#[test]
fn redirects_lead_to_a_path_of_a_known_host() {
    let ask = |method, authority, target| {
        let redirect = Redirect {
            status: 308,
            ..Redirect::default()
        };
        let setup = Setup {
            listener_pool: None,
            routes: vec![(
                RouteSpec::any(RouteId(0)),
                Action::Redirect(Box::new(redirect)),
            )],
            ..Setup::default()
        };
        let mut client = Client::get(target);
        client.request.method = method;
        client.request.authority = authority;
        let seen = play(setup, client, Vec::new());
        let location = seen.journal.field("client", "Location");
        (seen.sum, location)
    };
    let redirected = || sum("keep", Cause::Completed, 308);
    // A browser would read `//evil.example` as a host.
    assert_eq!(
        ask("GET", "", "//evil.example/x"),
        (sum("close", Cause::HttpRequestError, 400), "-".to_owned())
    );
    for (method, authority, target, location) in [
        ("GET", "", "/x", "/x"),
        (
            "GET",
            "here",
            "//evil.example/x",
            "http://here//evil.example/x",
        ),
        ("OPTIONS", "here", "*", "http://here/"),
        ("OPTIONS", "", "*", "/"),
    ] {
        let expected = (redirected(), location.to_owned());
        assert_eq!(ask(method, authority, target), expected, "{target}");
    }
}
