use balance_config::{Config, MemorySources, load};

use super::{Explanation, Outcome, Question, explain};

mod questions;
mod running;

const YAML: &str = "\
version: 2
limits: { body_bytes_max: 1000, fields_max: 20 }
timeouts: { connect: 2s, first_byte: 1500ms }
transform:
  request_headers:
    - { action: set, name: X-Served-By, value: balance }
listeners:
  - { name: web, listen: ':8080', mode: http, trusted_proxies: [10.0.0.0/8], routes: [old, api, post, gone] }
  - { name: inner, listen: ['127.0.0.1:81', '127.0.0.2:81'], mode: http, routes: [], pool: hashed }
  - { name: other, listen: '127.0.0.3:81', mode: http, routes: [], pool: sticky }
  - { name: pg, listen: '127.0.0.1:5432', mode: tcp, pool: db }
pools:
  app:
    backends:
      - { name: a1, address: '10.0.1.1:80', max_connections: 2 }
      - { name: a2, address: '10.0.1.2:80' }
      - { name: a3, address: '10.0.1.3:80' }
  hashed:
    resilience: { retry: { on: [reset, 503], per_try: 2s, jitter: 50% } }
    load_balancer: { algorithm: consistent-hash, hash_key: 'header:X-User' }
    backends: [ { name: h1, address: 'h1.test:80' }, { name: h2, address: 'h2.test:80' } ]
  sticky:
    load_balancer: { algorithm: consistent-hash }
    backends: [ { name: s1, address: '10.0.2.1:80' }, { name: s2, address: '10.0.2.2:80' } ]
  db:
    load_balancer: { algorithm: least-connections }
    timeouts: { idle: 10m }
    backends: [ { name: d1, address: '10.0.3.1:5432', weight: 1 } ]
routes:
  - name: old
    match: { path: /old }
    redirect: { path: /new, status: 308 }
  - name: gone
    match: { path_prefix: /gone }
    respond: { status: 410, body: 'it is gone' }
  - name: api
    match: { host: '*.example.com', path_prefix: /v1 }
    pool: app
    transform:
      strip_prefix: /v1
      request_headers:
        - { action: remove, name: X-Secret }
        - { action: add, name: X-Client, value: '{client_ip}' }
      response_headers:
        - { action: set, name: X-Frame-Options, value: DENY }
  - name: post
    match: { method: POST, headers: { X-Env: live } }
    pool: app
";

fn config() -> Config {
    let loaded = load(&MemorySources::file("t.yaml", YAML), "t.yaml");
    loaded
        .config
        .unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics))
}

/// `METHOD URL | field | field | from IP | at LISTENER`, each part but the first optional.
fn question(text: &str) -> Question {
    let mut parts = text.split(" | ");
    let first = parts.next().unwrap();
    let (method, url) = match first.split_once(' ') {
        Some((method, url)) => (Some(method), Some(url)),
        None => (None, Some(first).filter(|first| !first.is_empty())),
    };
    let mut question = Question {
        method: method.map(str::to_owned),
        url: url.map(str::to_owned),
        ..Question::default()
    };
    for part in parts {
        if let Some(ip) = part.strip_prefix("from ") {
            question.from = Some(ip.parse().unwrap());
        } else if let Some(name) = part.strip_prefix("at ") {
            question.listener = Some(name.to_owned());
        } else {
            question.headers.push(part.to_owned());
        }
    }
    question
}

fn answered(text: &str) -> Explanation {
    match explain(
        &MemorySources::file("t.yaml", YAML),
        "t.yaml",
        &question(text),
    ) {
        Ok(explanation) => explanation,
        Err(error) => panic!("{text}: {error:?}"),
    }
}

/// The line of the file that contains `text`.
fn place_of(text: &str) -> String {
    let line = YAML.lines().position(|line| line.contains(text)).unwrap();
    format!("t.yaml:{}", line + 1)
}

/// `name: value (by)` of each.
fn fields(fields: &[super::Field]) -> Vec<String> {
    let show = |field: &super::Field| match &field.by {
        Some(by) => format!("{}: {} ({by})", field.name, field.value),
        None => format!("{}: {}", field.name, field.value),
    };
    fields.iter().map(show).collect()
}

#[test]
fn each_route_is_told_with_its_place_and_what_is_lacking() {
    let routes = answered("GET http://a.test:8080/x").routes.unwrap();
    let asked: Vec<_> = routes
        .asked
        .iter()
        .map(|one| (&*one.name, &*one.place, one.mismatch.as_deref().unwrap()))
        .collect();
    // In the order of the listener's list.
    let places = ["old", "api", "post", "gone"].map(|name| place_of(&format!("name: {name}")));
    assert_eq!(
        asked,
        [
            ("old", &*places[0], "path is not /old"),
            ("api", &*places[1], "host is not *.example.com"),
            ("post", &*places[2], "method is not POST"),
            ("gone", &*places[3], "path is not /gone* (segments)"),
        ]
    );
    assert_eq!((routes.unasked, routes.decided), (0, None));

    let routes = answered("POST http://a.test:8080/x | X-Env: dev")
        .routes
        .unwrap();
    assert_eq!(
        routes.asked[2].mismatch.as_deref(),
        Some("header `x-env` has another value, wanted is live")
    );
    let routes = answered("http://www.example.com:8080/v1").routes.unwrap();
    assert_eq!(routes.decided.as_deref(), Some("api"));
    assert_eq!((routes.asked.len(), routes.unasked), (2, 2));
    assert_eq!(routes.action, "pool app");
}

#[test]
fn what_is_sent_is_told_with_who_changed_it() {
    let explanation = answered(
        "PUT http://www.example.com:8080/v1/users?q=1 | X-Secret: s | X-Kept: k | x_under: u \
         | Connection: close, X-Hop | X-Hop: h | X-Forwarded-For: 6.6.6.6 | Content-Length: 3 | from 192.0.2.7",
    );
    let sent = explanation.sent.unwrap();
    assert_eq!(
        (&*sent.method, &*sent.path_and_query),
        ("PUT", "/users?q=1")
    );
    assert_eq!(sent.path_by.as_deref(), Some("transform"));
    assert_eq!(
        fields(&sent.fields),
        [
            "Host: www.example.com:8080",
            "X-Kept: k",
            "X-Forwarded-For: 192.0.2.7 (proxy rules)",
            "X-Forwarded-Proto: http (proxy rules)",
            "X-Forwarded-Host: www.example.com:8080 (proxy rules)",
            "X-Real-IP: 192.0.2.7 (proxy rules)",
            "Via: 1.1 balance-xxxxxxxx (proxy rules)",
            "X-Request-ID: (new for each request) (proxy rules)",
            "X-Served-By: balance (transform)",
            "X-Client: 192.0.2.7 (transform)",
            "Content-Length: 3",
        ]
    );
    assert_eq!(
        fields(&sent.removed),
        [
            "x_under: u (underscores_in_headers)",
            "Connection: close, X-Hop (proxy rules)",
            "X-Hop: h (proxy rules)",
            "X-Forwarded-For: 6.6.6.6 (proxy rules)",
            "X-Secret: s (transform)",
        ]
    );
    let filters: Vec<&str> = explanation.filters.iter().map(|one| &*one.what).collect();
    assert_eq!(
        filters,
        [
            "path: strip prefix /v1",
            "request headers: set X-Served-By: balance, remove X-Secret, add X-Client: {client_ip}",
            "response headers: set X-Frame-Options: DENY",
        ]
    );
}

#[test]
fn a_trusted_proxy_speaks_for_its_client() {
    let ask = |from: &str| {
        answered(&format!(
            "http://www.example.com:8080/v1 | X-Forwarded-For: 203.0.113.9 | X-Forwarded-Proto: https | from {from}"
        ))
    };
    let trusted = ask("10.0.0.1");
    assert!(trusted.peer_is_trusted);
    assert_eq!(trusted.client.to_string(), "203.0.113.9");
    let sent = fields(&trusted.sent.unwrap().fields);
    assert!(sent.contains(&"X-Forwarded-For: 203.0.113.9, 10.0.0.1 (proxy rules)".to_owned()));
    assert!(sent.contains(&"X-Forwarded-Proto: https".to_owned()));

    let other = ask("192.0.2.1");
    assert!(!other.peer_is_trusted);
    assert_eq!(other.client.to_string(), "192.0.2.1");
    let sent = fields(&other.sent.unwrap().fields);
    assert!(sent.contains(&"X-Forwarded-For: 192.0.2.1 (proxy rules)".to_owned()));
    assert!(sent.contains(&"X-Forwarded-Proto: http (proxy rules)".to_owned()));
}

#[test]
fn what_balance_answers_itself_is_told_as_it_would_be_sent() {
    let many = "http://a.test:8080/".to_owned() + &" | A: b".repeat(21);
    for (text, outcome, status, cause, verdict) in [
        (
            "http://a.test:8080/old",
            Outcome::Answered,
            308,
            "completed",
            "would be answered with 308 to http://a.test:8080/new: route old answers",
        ),
        (
            "http://a.test:8080/gone/x",
            Outcome::Answered,
            410,
            "completed",
            "would be answered with 410: route gone answers",
        ),
        (
            "http://a.test:8080/x",
            Outcome::Refused,
            404,
            "no_route",
            "would be refused: 404 no_route: no route matches",
        ),
        (
            "/x | at web",
            Outcome::Refused,
            400,
            "http_request_error",
            "would be refused: 400 http_request_error: Host is missing",
        ),
        (
            "http://a.test:8080/a/../b",
            Outcome::Refused,
            400,
            "http_request_error",
            "would be refused: 400 http_request_error: the path contains a dot segment",
        ),
        (
            "CONNECT a.test:443 | Host: a.test | at web",
            Outcome::Refused,
            501,
            "http_request_error",
            "would be refused: 501 http_request_error: CONNECT is not supported",
        ),
        (
            &many,
            Outcome::Refused,
            431,
            "request_too_large",
            "would be refused: 431 request_too_large: the head has too many fields",
        ),
        (
            "POST http://a.test:8080/x | Content-Length: 1001",
            Outcome::Refused,
            413,
            "request_too_large",
            "would be refused: 413 request_too_large: the request is larger than allowed",
        ),
        (
            "http://www.example.com:8080/v1 | Via: 1.1 balance-xxxxxxxx",
            Outcome::Refused,
            508,
            "proxy_loop_detected",
            "would be refused: 508 proxy_loop_detected: the request has passed this proxy before",
        ),
    ] {
        let explanation = answered(text);
        let answer = explanation.answer.unwrap();
        assert_eq!((answer.status, &*answer.cause), (status, cause), "{text}");
        assert_eq!(explanation.verdict.text, verdict, "{text}");
        assert_eq!(explanation.verdict.outcome, outcome, "{text}");
        assert!(
            explanation.sent.is_none() && explanation.pool.is_none(),
            "{text}"
        );
    }
}

#[test]
fn the_pool_is_told_with_its_algorithm_backends_and_pick() {
    let explanation = answered("http://www.example.com:8080/v1");
    assert_eq!(explanation.verdict.outcome, Outcome::Forwarded);
    assert_eq!(
        explanation.verdict.text,
        "would go to pool app, backend a1 (10.0.1.1:80)"
    );
    let pool = explanation.pool.unwrap();
    assert_eq!((&*pool.name, &*pool.algorithm), ("app", "round-robin"));
    assert_eq!(pool.place, place_of("  app:"));
    assert_eq!(pool.backends[0].place, place_of("name: a1"));
    assert_eq!(pool.backends[0].max_connections, 2);
    // A file knows no states.
    assert!(pool.backends.iter().all(|one| one.state.is_none()));
    let pick = pool.pick.unwrap();
    assert!(!pick.is_certain && pick.why.contains("turn"), "{pick:?}");
    assert_eq!(pool.then, ["a2", "a3"]);
}

#[test]
fn what_is_hashed_is_told_with_where_it_came_from() {
    for (text, hashed) in [
        ("http://127.0.0.1:81/ | X-User: u7", "header x-user: u7"),
        (
            "http://127.0.0.1:81/ | from 192.0.2.1",
            "client 192.0.2.1, for there is no header x-user",
        ),
        ("http://127.0.0.3:81/ | from 192.0.2.1", "client 192.0.2.1"),
    ] {
        let pool = answered(text).pool.unwrap();
        assert_eq!(pool.hashed.as_deref(), Some(hashed), "{text}");
        assert!(pool.pick.unwrap().is_certain, "{text}");
    }
}

#[test]
fn deadlines_and_repeats_are_told() {
    let timeouts = |explanation: &Explanation| -> Vec<String> {
        let list = explanation.timeouts.iter();
        list.map(|one| format!("{} {}", one.name, one.ms)).collect()
    };
    let get = answered("http://www.example.com:8080/v1");
    assert_eq!(
        timeouts(&get),
        [
            "connect 2000",
            "first_byte 1500",
            "read 30000",
            "write_progress 30000",
            "request 0"
        ]
    );
    assert!(get.retries[1].contains("sent again, three times at most"));
    let post = answered("POST http://a.test:8080/ | X-Env: live");
    assert!(post.retries[1].contains("only if nothing of it was sent"));
    assert_eq!(post.retries.len(), 2, "its pool has no policy");
    let configured = answered("http://127.0.0.1:81/").retries;
    assert_eq!(
        configured[2..],
        [
            "then by configuration, 3 attempts in all: reset, 503",
            "its method may be sent again, with a body of 65536 bytes at most",
            "retries wait 100ms, times 2 each, 10s at most; 50% of that is random",
            "20% of the pool's live requests may be retries, and 3 always; 0 are under way",
            "an attempt has 2s for the head of its response",
        ]
    );
    let post = answered("POST http://127.0.0.1:81/").retries;
    assert_eq!(
        post[3],
        "its method is not sent again after a backend has got it"
    );
    let session = answered("tcp://127.0.0.1:5432");
    assert_eq!(
        timeouts(&session),
        ["connect 2000", "write_progress 30000", "idle 600000"]
    );
}

#[test]
fn a_session_is_told_its_backend() {
    let explanation = answered("tcp://127.0.0.1:5432 | from 192.0.2.1");
    assert_eq!(
        explanation.verdict.text,
        "would go to pool db, backend d1 (10.0.3.1:5432)"
    );
    let pool = explanation.pool.unwrap();
    assert_eq!(pool.pick.unwrap().why, "the only one that can be picked");
    assert!(explanation.request.is_none() && explanation.routes.is_none());
}

#[test]
fn a_split_is_told_with_its_shares_and_whose_turn_is_next() {
    let yaml = "
version: 2
listeners: [ { name: web, listen: ':8080', mode: http } ]
pools:
  new: { backends: [ { name: n, address: '10.0.0.1:80' } ], timeouts: { connect: 1s } }
  old: { backends: [ { name: o, address: '10.0.0.2:80' } ], timeouts: { connect: 2s } }
  shadow: { backends: ['10.0.0.3:80'] }
routes:
  - { name: r, split: [ { pool: new, weight: 1 }, { pool: old, weight: 3 } ], mirror: { pool: shadow, sample: 12.5% } }
";
    let sources = MemorySources::file("t.yaml", yaml);
    let explanation = explain(&sources, "t.yaml", &question("GET http://a.test/")).unwrap();
    assert_eq!(
        explanation.verdict.text,
        "would go to pool new (its turn is next: 1 of 4), backend n (10.0.0.1:80)"
    );
    let routes = explanation.routes.unwrap();
    assert_eq!(routes.action, "split over pools new 1, old 3");
    let mirror = "12.5% are copied to pool shadow";
    assert_eq!(routes.mirror.as_deref(), Some(mirror));
    assert_eq!(explanation.timeouts[0].ms, 1_000, "those of the share");
}
