use std::sync::Arc;

use balance_control::{AdminRules, Token};
use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::{Caller, admit};

/// A listener: what it has, where its metrics are, its token.
type Rules = (Serves, Option<&'static str>, Option<&'static str>);

#[derive(Clone, Copy, PartialEq)]
enum Serves {
    Api,
    Profiles,
    Neither,
}

const OPEN: Rules = (Serves::Api, Some("/metrics"), None);
const TOKEN: Rules = (Serves::Api, Some("/metrics"), Some("secret"));
const METRICS: Rules = (Serves::Neither, Some("/prometheus"), None);

const PROFILES: Rules = (Serves::Profiles, None, None);
const PROFILES_TOKEN: Rules = (Serves::Profiles, None, Some("secret"));

const LOCAL: Option<&str> = Some("127.0.0.1");
const REMOTE: Option<&str> = Some("10.0.0.9");
const SOCKET: Option<&str> = None;

/// 200 stands for "admitted".
fn check(rules: Rules, peer: Option<&str>, request: &str, headers: &[(&str, &str)], status: u16) {
    let (serves, metrics_path, token) = rules;
    let rules = AdminRules {
        api: serves == Serves::Api,
        profiling: serves == Serves::Profiles,
        metrics_path: metrics_path.map(str::to_owned),
        token: token.and_then(|token| Token::from_file(token.as_bytes())),
    };
    let caller = Caller {
        peer: peer.map(|peer| peer.parse().unwrap()),
        rules: Arc::new(rules),
    };
    let (method, path) = request.split_once(' ').unwrap();
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        map.insert(name, HeaderValue::from_str(value).unwrap());
    }
    let method: Method = method.parse().unwrap();
    let seen = match admit(&method, path, &map, &caller) {
        Ok(_) => 200,
        Err(response) => response.status().as_u16(),
    };
    assert_eq!(seen, status, "{request} from {peer:?} with {headers:?}");
}

#[test]
fn probes_and_scrapers_need_nothing() {
    for path in [
        "/health", "/healthz", "/ready", "/readyz", "/version", "/metrics",
    ] {
        for rules in [OPEN, TOKEN] {
            check(rules, REMOTE, &format!("GET {path}"), &[], 200);
            check(rules, REMOTE, &format!("HEAD {path}"), &[], 200);
        }
    }
}

#[test]
fn without_a_token_the_rest_is_for_this_machine() {
    for path in ["/status", "/config", "/pools", "/routes"] {
        check(OPEN, LOCAL, &format!("GET {path}"), &[], 200);
        check(OPEN, SOCKET, &format!("GET {path}"), &[], 200);
        check(OPEN, REMOTE, &format!("GET {path}"), &[], 403);
        check(
            OPEN,
            REMOTE,
            &format!("GET {path}"),
            &[("authorization", "Bearer x")],
            403,
        );
    }
    for path in ["/reload", "/explain", "/pools/p/backends/a/drain"] {
        check(OPEN, LOCAL, &format!("POST {path}"), &[], 200);
        check(OPEN, SOCKET, &format!("POST {path}"), &[], 200);
        check(OPEN, REMOTE, &format!("POST {path}"), &[], 403);
    }
}

#[test]
fn a_token_is_asked_of_everybody_but_the_socket() {
    for peer in [LOCAL, REMOTE] {
        check(TOKEN, peer, "GET /pools", &[], 401);
        check(
            TOKEN,
            peer,
            "GET /pools",
            &[("authorization", "Bearer wrong!")],
            401,
        );
        check(
            TOKEN,
            peer,
            "GET /pools",
            &[("authorization", "Basic secret")],
            401,
        );
        check(
            TOKEN,
            peer,
            "GET /pools",
            &[("authorization", "secret")],
            401,
        );
        check(
            TOKEN,
            peer,
            "GET /pools",
            &[("authorization", "Bearer secret")],
            200,
        );
        check(
            TOKEN,
            peer,
            "POST /reload",
            &[("authorization", "bearer secret")],
            200,
        );
    }
    check(TOKEN, LOCAL, "POST /explain", &[], 401);
    check(TOKEN, SOCKET, "POST /reload", &[], 200);
}

#[test]
fn a_web_page_posts_only_with_a_token() {
    let page = ("origin", "https://evil.example");
    check(OPEN, LOCAL, "POST /reload", &[page], 403);
    check(OPEN, LOCAL, "POST /explain", &[page], 403);
    check(
        TOKEN,
        LOCAL,
        "POST /reload",
        &[page, ("authorization", "Bearer secret")],
        200,
    );
}

#[test]
fn a_metrics_listener_has_only_what_everybody_may_have() {
    check(METRICS, LOCAL, "GET /prometheus", &[], 200);
    check(METRICS, LOCAL, "GET /health", &[], 200);
    check(METRICS, LOCAL, "GET /metrics", &[], 404);
    check(METRICS, LOCAL, "GET /pools", &[], 404);
    check(METRICS, LOCAL, "POST /reload", &[], 404);
    check(METRICS, LOCAL, "POST /explain", &[], 404);
}

#[test]
fn paths_and_methods_that_do_not_exist() {
    check(OPEN, LOCAL, "GET /", &[], 404);
    check(OPEN, LOCAL, "GET /pools/", &[], 404);
    check(OPEN, LOCAL, "GET /reload", &[], 405);
    check(OPEN, LOCAL, "GET /explain", &[], 405);
    check(OPEN, LOCAL, "POST /health", &[], 405);
    check(OPEN, LOCAL, "DELETE /pools", &[], 405);
}

#[test]
fn profiles_are_on_their_own_address_and_protected() {
    for path in ["", "/", "/profile", "/heap", "/tasks", "/goroutine"] {
        let get = format!("GET /debug/pprof{path}");
        check(PROFILES, LOCAL, &get, &[], 200);
        check(PROFILES, REMOTE, &get, &[], 403);
        check(PROFILES_TOKEN, LOCAL, &get, &[], 401);
        let token = [("authorization", "Bearer secret")];
        check(PROFILES_TOKEN, REMOTE, &get, &token, 200);
        for elsewhere in [OPEN, METRICS] {
            check(elsewhere, LOCAL, &get, &[], 404);
        }
        check(
            PROFILES,
            LOCAL,
            &format!("POST /debug/pprof{path}"),
            &[],
            405,
        );
    }
    check(PROFILES, LOCAL, "GET /status", &[], 404);
    check(PROFILES, REMOTE, "GET /health", &[], 200);
}
