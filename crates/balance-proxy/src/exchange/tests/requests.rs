//! What a request head looks like when a backend sees it: hygiene, filters and transforms.

use std::cell::Cell;
use std::task::Poll;
use std::time::Duration;

use balance_core::{Cause, PoolId, RouteId, Timeouts};
use balance_proto::{BodyLength, Version};
use balance_route::RouteSpec;

use super::super::memory::{Client, Connect, Connection, MemoryResponse, Reply, Sends, Step};
use super::super::sides::ClientEvent;
use super::setup::{Seen, Setup, play};
use super::{answers, sum};
use crate::Action;
use crate::filter::scripted::Scripted;
use crate::filter::{Filter, HeaderAction, HeaderRule, PathRewrite, Verdict};
use crate::own_response::OwnResponse;
use Connect::Opens;
use Step::{Do, Never, Until};

fn play_one(setup: Setup, client: Client) -> Seen {
    play(setup, client, vec![("a", Opens(answers("")))])
}

/// Fields that the backend sees, as `name: values` lines.
fn check_fields(name: &str, seen: &Seen, expected: &[(&str, &str)]) {
    for (field, values) in expected {
        assert_eq!(seen.journal.field("a", field), *values, "{name}: {field}");
    }
}

fn told_by_a_proxy() -> Client {
    Client::get("/")
        .field("X-Forwarded-For", "203.0.113.9, 198.51.100.2")
        .field("X-Forwarded-Proto", "https")
        .field("X-Forwarded-Host", "shop.example")
        .field("X-Real-IP", "203.0.113.99")
        .field("X-Request-ID", "abc-1")
}

#[test]
fn an_untrusted_peer_tells_nothing_about_the_client() {
    let seen = play_one(Setup::default(), told_by_a_proxy());
    check_fields(
        "untrusted",
        &seen,
        &[
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Host", "example.com"),
            ("X-Real-IP", "192.0.2.1"),
            ("Via", "1.1 balance-test"),
        ],
    );
    let id = seen.journal.field("a", "X-Request-ID");
    assert!(
        id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit()),
        "{id}"
    );
}

#[test]
fn a_trusted_peer_is_believed_up_to_the_first_stranger() {
    let setup = Setup {
        trusted: &["192.0.2.0/24", "198.51.100.0/24"],
        ..Setup::default()
    };
    check_fields(
        "trusted",
        &play_one(setup, told_by_a_proxy()),
        &[
            ("X-Forwarded-For", "203.0.113.9, 198.51.100.2, 192.0.2.1"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "shop.example"),
            ("X-Real-IP", "203.0.113.9"),
            ("X-Request-ID", "abc-1"),
        ],
    );
    let others = Setup {
        trusted: &["10.0.0.0/8"],
        ..Setup::default()
    };
    let seen = play_one(others, told_by_a_proxy());
    check_fields(
        "others",
        &seen,
        &[("X-Real-IP", "192.0.2.1"), ("X-Forwarded-For", "192.0.2.1")],
    );
}

#[test]
fn hop_by_hop_fields_stay_here() {
    let client = Client::get("/")
        .field("Connection", "close, X-Hop")
        .field("X-Hop", "1")
        .field("Keep-Alive", "timeout=5")
        .field("TE", "gzip")
        .field("Upgrade", "h2c")
        .field("X-End", "2")
        .field("Via", "1.1 other");
    check_fields(
        "hop-by-hop",
        &play_one(Setup::default(), client),
        &[
            ("X-Hop", "-"),
            ("Keep-Alive", "-"),
            ("TE", "-"),
            ("Upgrade", "-"),
            ("X-End", "2"),
            ("Via", "1.1 other | 1.1 balance-test"),
        ],
    );
}

/// What follows a request that could be read two ways may be a part of it: its connection ends.
#[test]
fn requests_that_must_not_pass_ask_no_backend() {
    let looping = "1.1 other, 1.1 balance-test";
    for (field, value, next, cause, own) in [
        ("Via", looping, "keep", Cause::ProxyLoopDetected, "508"),
        (
            "Connection",
            "Content-Length",
            "close",
            Cause::HttpRequestError,
            "400 close",
        ),
    ] {
        let client = Client::get("/").field(field, value);
        let seen = play(Setup::default(), client, Vec::new());
        let line = format!("client got own {own}");
        seen.check(field, &sum(next, cause, cause.status()), &[&line]);
    }
}

#[test]
fn a_request_without_authority_gets_that_of_its_backend() {
    let mut client = Client::get("/x");
    client.request.authority = "";
    client.request.version = Version::Http10;
    let seen = play_one(Setup::default(), client);
    assert!(
        seen.journal
            .lines()
            .contains(&"a got GET 127.0.0.1:9001/x".to_owned())
    );
    check_fields(
        "1.0",
        &seen,
        &[("X-Forwarded-Host", "-"), ("Via", "1.0 balance-test")],
    );
}

fn rule(action: HeaderAction, name: &str, value: &str) -> HeaderRule {
    HeaderRule::new(action, name, value).expect("a valid rule")
}

#[test]
fn header_transforms_change_what_each_side_sees() {
    let filters = || {
        vec![
            Filter::RequestHeaders(vec![
                rule(HeaderAction::Set, "X-Client", "{scheme}:{client_ip}"),
                rule(HeaderAction::Add, "X-Tag", "two"),
                rule(HeaderAction::Remove, "X-Secret", ""),
                rule(HeaderAction::Remove, "Via", ""),
            ]),
            Filter::ResponseHeaders(vec![
                rule(HeaderAction::Set, "Server", "hidden"),
                rule(HeaderAction::Remove, "X-Powered-By", ""),
            ]),
        ]
    };
    let with_route = Setup {
        routes: vec![(RouteSpec::any(RouteId(0)), Action::Forward(PoolId(0)))],
        filters: filters(),
        trusted: &["192.0.2.1/32"],
        ..Setup::default()
    };
    let without_route = Setup {
        filters: filters(),
        trusted: &["192.0.2.1/32"],
        ..Setup::default()
    };
    for (name, setup) in [("route", with_route), ("pool", without_route)] {
        let client = Client::get("/")
            .field("X-Forwarded-For", "203.0.113.9")
            .field("X-Client", "forged")
            .field("X-Tag", "one")
            .field("X-Secret", "s");
        let fields = vec![("server", "nginx"), ("x-powered-by", "x"), ("x-kept", "1")];
        let head = Reply::Head(
            MemoryResponse {
                status: 200,
                fields,
            },
            balance_proto::ResponseBody::None,
            "",
        );
        let seen = play(
            setup,
            client,
            vec![("a", Opens(Connection::new([Do(head)])))],
        );
        check_fields(
            name,
            &seen,
            &[
                ("X-Client", "http:203.0.113.9"),
                ("X-Tag", "one | two"),
                ("X-Secret", "-"),
                ("Via", "-"),
            ],
        );
        for (field, value) in [("Server", "hidden"), ("X-Powered-By", "-"), ("X-Kept", "1")] {
            assert_eq!(
                seen.journal.field("client", field),
                value,
                "{name}: {field}"
            );
        }
    }
}

/// They are for the answer to what the client asked; hygiene is for both.
#[test]
fn response_filters_leave_interim_responses_alone() {
    let setup = Setup {
        filters: vec![Filter::ResponseHeaders(vec![
            rule(HeaderAction::Set, "Server", "hidden"),
            rule(HeaderAction::Add, "X-Answer", "1"),
        ])],
        ..Setup::default()
    };
    let hint = MemoryResponse {
        status: 103,
        fields: vec![("link", "</a.css>; rel=preload"), ("keep-alive", "max=1")],
    };
    // It leaves with the interim response as the last that it got.
    let gone = [Until("client got 103"), Do(ClientEvent::Gone)];
    let connection = Connection::new([Do(Reply::Interim(hint)), Never]);
    let client = Client::get("/").with_events(gone);
    let seen = play(setup, client, vec![("a", Opens(connection))]);
    for (field, value) in [
        ("Link", "</a.css>; rel=preload"),
        ("Keep-Alive", "-"),
        ("Server", "-"),
        ("X-Answer", "-"),
    ] {
        assert_eq!(seen.journal.field("client", field), value, "{field}");
    }
}

#[test]
fn the_path_is_rewritten_after_routing() {
    let setup = Setup {
        filters: vec![Filter::Path(
            PathRewrite::new(Some("/v1"), Some("/api")).expect("valid"),
        )],
        ..Setup::default()
    };
    let seen = play_one(setup, Client::get("/v1/users?x=1"));
    assert!(
        seen.journal
            .lines()
            .contains(&"a got GET example.com/api/users?x=1".to_owned())
    );
}

fn scripted(verdict: impl Fn() -> Verdict + Send + Sync + 'static) -> Filter {
    Filter::Scripted(Scripted(Box::new(verdict)))
}

fn teapot() -> OwnResponse {
    OwnResponse::error(Cause::RateLimited, 429, "slower")
}

/// A verdict that comes only after the task was woken again.
fn wait_for(verdict: fn() -> Verdict) -> Verdict {
    let was_polled = Cell::new(false);
    Verdict::Wait(Box::pin(std::future::poll_fn(move |cx| {
        if was_polled.replace(true) {
            return Poll::Ready(verdict());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })))
}

#[test]
fn filters_let_pass_answer_or_wait() {
    let forwarded = sum("keep", Cause::Completed, 200);
    let answered = sum("keep", Cause::RateLimited, 429);
    type Case<'c> = (&'c str, fn() -> Verdict, &'c str);
    let verdicts: [Case<'_>; 5] = [
        ("continue", || Verdict::Continue, &forwarded),
        ("respond", || Verdict::Respond(teapot()), &answered),
        (
            "wait, continue",
            || wait_for(|| Verdict::Continue),
            &forwarded,
        ),
        (
            "wait, respond",
            || wait_for(|| Verdict::Respond(teapot())),
            &answered,
        ),
        (
            "wait twice",
            || wait_for(|| wait_for(|| Verdict::Continue)),
            &forwarded,
        ),
    ];
    for (name, verdict, expected) in verdicts {
        let filters = vec![
            scripted(verdict),
            Filter::RequestHeaders(vec![rule(HeaderAction::Set, "X-After", "1")]),
        ];
        let setup = Setup {
            filters,
            ..Setup::default()
        };
        let is_forwarded = expected == forwarded;
        let connects = if is_forwarded {
            vec![("a", Opens(answers("")))]
        } else {
            Vec::new()
        };
        let seen = play(setup, Client::get("/"), connects);
        assert_eq!(seen.sum, expected, "{name}");
        let after = if is_forwarded { "1" } else { "no head" };
        assert_eq!(seen.journal.field("a", "X-After"), after, "{name}");
    }
}

#[test]
fn a_filter_that_waits_has_the_deadlines_of_a_backend() {
    const SHORT: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(3600);
    for (name, first_byte, request) in [
        ("first_byte", SHORT, LONG),
        ("request", LONG, SHORT),
        ("request alone", Duration::ZERO, SHORT),
    ] {
        let setup = Setup {
            filters: vec![scripted(|| Verdict::Wait(Box::pin(std::future::pending())))],
            timeouts: Timeouts {
                first_byte,
                request,
                ..Timeouts::default()
            },
            ..Setup::default()
        };
        let seen = play(setup, Client::get("/"), Vec::new());
        let expected = sum("keep", Cause::HttpResponseTimeout, 504);
        seen.check(name, &expected, &["client got own 504"]);
    }
}

/// Its body has not been read: the connection cannot serve another request unless it can be skipped.
#[test]
fn a_filters_answer_to_an_unread_body() {
    for (upload, next) in [
        (vec![Do(Sends::Last("body"))], "keep"),
        (vec![Do(Sends::Piece("bo")), Never], "linger"),
    ] {
        let setup = Setup {
            filters: vec![scripted(|| Verdict::Respond(teapot()))],
            ..Setup::default()
        };
        let client = Client::post("/").with_body(BodyLength::Exact(4), upload);
        let seen = play(setup, client, Vec::new());
        assert_eq!(seen.sum, sum(next, Cause::RateLimited, 429));
    }
}
