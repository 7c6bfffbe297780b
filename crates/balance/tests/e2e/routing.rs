//! Which route decides, and what it does to a request.

use std::net::SocketAddr;

use balance_testkit::{Origin, Recorded, Script};

use crate::proxy::{BASE, Proxy, get};

/// Answers with its name and the target that reached it.
fn origin(name: &'static str) -> Origin {
    Origin::start(move |request: &Recorded| {
        Script::ok(format!("{name} {}", request.target)).header("X-Origin", name)
    })
}

struct Site {
    proxy: Proxy,
    a: Origin,
    b: Origin,
}

impl Site {
    /// Pools `a` and `b`; `a` is the listener's.
    fn new(routes: &str) -> Self {
        let (a, b) = (origin("a"), origin("b"));
        let proxy = Proxy::start(&format!(
            "{BASE}listeners:\n- {{ name: web, listen: '127.0.0.1:0', mode: http, pool: a }}\n\
             pools: {{ a: {{ backends: ['{}'] }}, b: {{ backends: ['{}'] }} }}\n{routes}",
            a.addr(),
            b.addr()
        ));
        Self { proxy, a, b }
    }

    fn ask(&self, request: &str) -> String {
        let response = self.proxy.exchange(request);
        assert_eq!(response.status, 200, "{request}");
        response.text()
    }

    #[track_caller]
    fn check(&self, request: &str, expected: &str) {
        assert_eq!(self.ask(request), expected, "{request:?}");
    }
}

fn request(method: &str, target: &str, host: &str, fields: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")
}

fn on(host: &str, target: &str) -> String {
    request("GET", target, host, "")
}

#[test]
fn by_host() {
    let site = Site::new(
        "routes:\n\
         - { name: exact, match: { host: b.example }, pool: b }\n\
         - { name: wild, match: { host: '*.wild.example' }, pool: b }\n",
    );
    for host in [
        "b.example",
        "B.EXAMPLE",
        "b.example:8080",
        "b.example.",
        "b.example.:80",
    ] {
        site.check(&on(host, "/"), "b /");
    }
    for host in ["x.wild.example", "x.y.WILD.example:1"] {
        site.check(&on(host, "/"), "b /");
    }
    for host in [
        "wild.example",
        "xwild.example",
        "b.example.org",
        "xb.example",
        "[::1]",
    ] {
        site.check(&on(host, "/"), "a /");
    }
    // The authority of the target is the host (RFC 9112 §3.2.2).
    site.check(&on("b.example", "http://b.example/x"), "b /x");
}

#[test]
fn by_path_prefix_on_segment_borders() {
    let site = Site::new("routes:\n- { name: v1, match: { path_prefix: /v1 }, pool: b }\n");
    for path in ["/v1", "/v1/", "/v1/users", "/v1?q=1"] {
        site.check(&on("x", path), &format!("b {path}"));
    }
    for path in ["/v10", "/v1x/users", "/", "/V1/", "/x/v1/"] {
        site.check(&on("x", path), &format!("a {path}"));
    }
}

#[test]
fn by_exact_path_method_and_fields() {
    let site = Site::new(
        "routes:\n\
         - { name: exact, match: { path: /only }, pool: b }\n\
         - { name: writes, match: { path_prefix: /w, method: [POST, PUT] }, pool: b }\n\
         - { name: tagged, match: { headers: { X-Tag: beta } }, pool: b }\n",
    );
    site.check(&on("x", "/only"), "b /only");
    site.check(&on("x", "/only?q"), "b /only?q");
    site.check(&on("x", "/only/"), "a /only/");
    let with = |method, fields| request(method, "/w", "x", fields);
    site.check(&with("POST", "Content-Length: 0\r\n"), "b /w");
    site.check(&with("PUT", "Content-Length: 0\r\n"), "b /w");
    site.check(&with("GET", ""), "a /w");
    site.check(&with("post", ""), "a /w");
    let tagged = |fields| request("GET", "/", "x", fields);
    site.check(&tagged("x-tag: beta\r\n"), "b /");
    site.check(&tagged("X-Tag: other\r\nX-Tag: beta\r\n"), "b /");
    site.check(&tagged("X-Tag: betas\r\n"), "a /");
    site.check(&tagged("X_Tag: beta\r\n"), "a /");
}

#[test]
fn by_regular_expressions_on_the_bytes_that_are_forwarded() {
    let site = Site::new(
        "routes:\n\
         - { name: users, match: { path_regex: '/v[0-9]+/users/[^/]+' }, pool: b }\n\
         - { name: files, match: { path_regex: '(?i).*\\.(png|svg)' }, pool: b }\n\
         - { name: encoded, match: { path_regex: '/a%20b/.*' }, pool: b }\n",
    );
    for target in [
        "/v2/users/7",
        "/v2/users/7?next=/x",
        "/v10/users/%41",
        "/x/y.PNG",
        "/.svg",
        "/a%20b/c",
    ] {
        site.check(&on("x", target), &format!("b {target}"));
    }
    for target in [
        "/v2/users/",
        "/v2/users/7/",
        "/x/v2/users/7",
        "/%762/users/7",
        "/y.pngx",
        "/y?z.png",
        "/a+b/c",
    ] {
        site.check(&on("x", target), &format!("a {target}"));
    }
}

#[test]
fn by_query_cookie_pattern_and_presence() {
    let site = Site::new(
        "routes:\n\
         - { name: query, match: { path: /q, query: { a: '1', b: { present: true } } }, pool: b }\n\
         - { name: cookie, match: { path: /c, cookie: { g: { regex: 'beta-[0-9]+' } } }, pool: b }\n\
         - { name: pattern, match: { path: /h, headers: { X-K: { regex: 'v[0-9]' } } }, pool: b }\n\
         - { name: absent, match: { path: /n, headers: { X-K: { present: false } } }, pool: b }\n",
    );
    let rows = [
        ("/q?a=1&b", "", "b"),
        ("/q?b=&a=1&a=2", "", "b"),
        ("/q?a=1", "", "a"),
        ("/q?a=2&a=1&b", "", "a"),
        ("/q?a=%31&b", "", "a"),
        ("/q?A=1&b", "", "a"),
        ("/c", "Cookie: f=1; g=beta-12\r\n", "b"),
        ("/c", "Cookie: f=1\r\nCookie: g=beta-1\r\n", "b"),
        ("/c", "Cookie: g=x; g=beta-1\r\n", "a"),
        ("/c", "Cookie: G=beta-1\r\n", "a"),
        ("/c?g=beta-1", "", "a"),
        ("/h", "X-K: v1\r\n", "b"),
        ("/h", "X-K: w\r\nx-k: v2\r\n", "b"),
        ("/h", "X-K: v1, v2\r\n", "a"),
        ("/h", "", "a"),
        ("/n", "", "b"),
        ("/n", "X-K:\r\n", "a"),
    ];
    for (target, fields, origin) in rows {
        let request = request("GET", target, "x", fields);
        site.check(&request, &format!("{origin} {target}"));
    }
}

#[test]
fn by_priority_then_by_order() {
    let site = Site::new(
        "routes:\n\
         - { name: low, match: { path_prefix: /p }, pool: a, priority: 1 }\n\
         - { name: high, match: { path_prefix: /p }, pool: b, priority: 9 }\n\
         - { name: first, match: { path_prefix: /o }, pool: b }\n\
         - { name: second, match: { path_prefix: /o/x }, pool: a }\n",
    );
    site.check(&on("x", "/p"), "b /p");
    site.check(&on("x", "/o/x"), "b /o/x");
    assert!(site.a.requests().is_empty());
    assert_eq!(site.b.requests().len(), 2);
}

#[test]
fn a_path_cannot_walk_round_a_route() {
    let site = Site::new(
        "routes:\n- { name: closed, match: { path_prefix: /admin }, respond: { status: 403 } }\n",
    );
    assert_eq!(site.proxy.get("/admin/x").status, 403);
    for path in [
        "/x/../admin",
        "/%2e%2e/admin",
        "/x/..%2fadmin",
        "/./admin",
        "/admin%2fx",
        "/%00/admin",
    ] {
        assert_eq!(site.proxy.get(path).status, 400, "{path}");
    }
    assert!(site.a.requests().is_empty());
}

#[test]
fn without_a_match_the_listeners_pool_answers_or_nobody() {
    let site = Site::new("routes:\n- { name: b, match: { path: /b }, pool: b }\n");
    site.check(&on("x", "/other"), "a /other");

    let b = origin("b");
    let proxy = Proxy::start(&format!(
        "{BASE}listeners:\n- {{ name: web, listen: '127.0.0.1:0', mode: http }}\n\
         pools: {{ b: {{ backends: ['{}'] }} }}\n\
         routes:\n- {{ name: b, match: {{ path: /b }}, pool: b }}\n",
        b.addr()
    ));
    assert_eq!(proxy.get("/b").text(), "b /b");
    let mut client = proxy.connect();
    let response = client.exchange(get("/other")).unwrap();
    assert_eq!(response.status, 404);
    let why = response.header("proxy-status");
    assert_eq!(why, Some("balance; details=\"no_route\""));
    assert_eq!(client.exchange(get("/b")).unwrap().status, 200);
    proxy.wait_for_cause("no_route", 1);
}

#[test]
fn a_listener_asks_only_its_routes() {
    let (a, b) = (origin("a"), origin("b"));
    let proxy = Proxy::start(&format!(
        "{BASE}listeners:\n\
         - {{ name: web, listen: '127.0.0.1:0', mode: http, routes: [second, first] }}\n\
         - {{ name: other, listen: '127.0.0.1:0', mode: http, routes: [] , pool: a }}\n\
         pools: {{ a: {{ backends: ['{}'] }}, b: {{ backends: ['{}'] }} }}\n\
         routes:\n\
         - {{ name: first, match: {{ path_prefix: / }}, pool: a }}\n\
         - {{ name: second, match: {{ path_prefix: /s }}, pool: b }}\n",
        a.addr(),
        b.addr()
    ));
    assert_eq!(
        proxy.get("/s").text(),
        "b /s",
        "the order of the listener's list"
    );
    assert_eq!(proxy.get("/x").text(), "a /x");
    let other = proxy.process.listener("other");
    let mut client = balance_testkit::RawClient::connect(other).unwrap();
    assert_eq!(client.exchange(get("/s")).unwrap().text(), "a /s");
}

#[test]
fn transforms_of_paths_and_fields() {
    let site = Site::new(
        "routes:\n\
         - name: t\n\
         \x20 match: { path_prefix: /v1 }\n\
         \x20 pool: b\n\
         \x20 transform:\n\
         \x20   strip_prefix: /v1\n\
         \x20   add_prefix: /api\n\
         \x20   request_headers:\n\
         \x20   - { action: set, name: X-Set, value: 'new {client_ip} {scheme}' }\n\
         \x20   - { action: add, name: X-Add, value: more }\n\
         \x20   - { action: remove, name: X-Secret }\n\
         \x20   response_headers:\n\
         \x20   - { action: remove, name: X-Origin }\n\
         \x20   - { action: add, name: X-Way, value: balance }\n\
         - { name: plain, match: { path_prefix: / }, pool: a }\n",
    );
    for (path, reached) in [
        ("/v1/users?x=%20y", "/api/users?x=%20y"),
        ("/v1", "/api/"),
        ("/v1/", "/api/"),
        ("/v1?q", "/api/?q"),
    ] {
        let fields = "X-Set: old\r\nx-set: older\r\nX-Add: one\r\nX-Secret: s\r\n";
        let response = site.proxy.exchange(request("GET", path, "x", fields));
        assert_eq!(response.text(), format!("b {reached}"));
        assert_eq!(response.header("x-origin"), None);
        assert_eq!(response.header("x-way"), Some("balance"));
        let seen = site.b.requests().pop().unwrap();
        assert_eq!(seen.headers("x-set"), ["new 127.0.0.1 http"]);
        assert_eq!(seen.headers("x-add"), ["one", "more"]);
        assert_eq!(seen.header("x-secret"), None);
    }
    let plain = site
        .proxy
        .exchange(request("GET", "/p", "x", "X-Secret: s\r\n"));
    assert_eq!(plain.header("x-origin"), Some("a"));
    assert_eq!(site.a.requests()[0].header("x-secret"), Some("s"));
}

#[test]
fn redirects() {
    let site = Site::new(
        "routes:\n\
         - { name: secure, match: { host: secure.example }, redirect: { scheme: https, status: 308 } }\n\
         - { name: moved, match: { path: /old }, redirect: { path: /new, status: 301 } }\n\
         - { name: away, match: { path: /away }, redirect: { host: other.example, port: 8443, status: 302 } }\n",
    );
    let mut client = site.proxy.connect();
    let mut check = |request: String, status: u16, location: &str| {
        let response = client.exchange(request).unwrap();
        assert_eq!(
            (response.status, response.header("location")),
            (status, Some(location))
        );
        assert!(response.keeps_alive());
    };
    check(
        on("secure.example:8080", "/a?b=c"),
        308,
        "https://secure.example/a?b=c",
    );
    check(
        on("x.example:81", "/old?gone"),
        301,
        "http://x.example:81/new",
    );
    check(
        on("x.example", "/away?q"),
        302,
        "http://other.example:8443/away?q",
    );
    // Nothing that a client sends ends a line of the response (robustness SM-26).
    check(
        on("secure.example", "/%0d%0aSet-Cookie:%20x"),
        308,
        "https://secure.example/%0d%0aSet-Cookie:%20x",
    );
    assert_eq!(site.a.connections() + site.b.connections(), 0);
    site.proxy.wait_for_cause("completed", 4);
}

#[test]
fn direct_responses() {
    let site = Site::new(
        "routes:\n\
         - { name: hi, match: { path: /hi }, respond: { status: 203, body: hello, content_type: text/x, headers: { X-A: b } } }\n\
         - { name: empty, match: { path: /empty }, respond: { status: 204 } }\n",
    );
    let mut client = site.proxy.connect();
    let response = client.exchange(get("/hi")).unwrap();
    assert_eq!((response.status, response.text().as_str()), (203, "hello"));
    assert_eq!(response.header("content-type"), Some("text/x"));
    assert_eq!(response.header("x-a"), Some("b"));
    assert_eq!(response.header("proxy-status"), None);
    let head = client.exchange(request("HEAD", "/hi", "x", "")).unwrap();
    assert_eq!(
        (head.status, head.header("content-length")),
        (203, Some("5"))
    );
    let empty = client.exchange(get("/empty")).unwrap();
    assert_eq!((empty.status, empty.header("content-length")), (204, None));
    // A body that came along is not the next request.
    client
        .send(request("POST", "/hi", "x", "Content-Length: 5\r\n") + "GET /" + &get("/hi"))
        .unwrap();
    assert_eq!(client.read_response().unwrap().status, 203);
    assert_eq!(client.read_response().unwrap().status, 203);
}

/// The original form: top-level backends, routes over some of them, no `version`.
fn original(backends: &[SocketAddr], routes: &str) -> Proxy {
    let backends: String = backends
        .iter()
        .zip(["one", "two", "three"])
        .map(|(address, name)| format!("- {{ name: {name}, address: '{address}' }}\n"))
        .collect();
    Proxy::start_as(
        &format!(
            "mode: http\nlisten: '127.0.0.1:0'\nbackends:\n{backends}\
             http:\n  routes:\n{routes}\
             admin: {{ enabled: true, listen: '127.0.0.1:0' }}\n\
             performance: {{ worker_threads: 1 }}\n"
        ),
        "main",
    )
}

#[test]
fn the_original_form_has_byte_prefixes_and_all_backends_without_a_match() {
    let origins = [origin("1"), origin("2"), origin("3")];
    let addresses = origins.each_ref().map(Origin::addr);
    let proxy = original(
        &addresses,
        "  - { name: api, host: '*.example.com', path_prefix: /v1, backends: [one], priority: 5 }\n\
         \x20 - { name: static, path_prefix: /static/, backends: [two, three] }\n",
    );
    let ask = |host: &str, path: &str| proxy.exchange(on(host, path)).text();
    for path in ["/v1", "/v1/x", "/v10", "/v1x"] {
        assert_eq!(ask("a.example.com", path), format!("1 {path}"));
    }
    let mut seen: Vec<String> = (0..4).map(|_| ask("x", "/static/f")).collect();
    seen.sort();
    assert_eq!(
        seen,
        ["2 /static/f", "2 /static/f", "3 /static/f", "3 /static/f"]
    );
    let mut seen: Vec<String> = (0..6).map(|_| ask("x", "/v1")).collect();
    seen.sort();
    assert_eq!(seen, ["1 /v1", "1 /v1", "2 /v1", "2 /v1", "3 /v1", "3 /v1"]);
}
