//! The same requests put to `balance explain` and to the proxy: what is told is what is done.

use std::net::SocketAddr;
use std::path::Path;

use balance_testkit::{Origin, Process, RawClient, Recorded, Script, TempDir};
use serde_json::Value;

use super::explained;
use crate::proxy::BASE;
use crate::subject::{BINARY, wait_until};

const ROUTES: &str = "\
routes:
  - { name: low, match: { path_prefix: /api }, pool: b, priority: -5 }
  - name: api
    match: { host: '*.example.com', path_prefix: /api/v1 }
    pool: a
    transform:
      strip_prefix: /api
      request_headers:
        - { action: set, name: X-Client, value: '{client_ip} over {scheme}' }
        - { action: remove, name: X-Secret }
        - { action: add, name: X-Tag, value: two }
  - { name: exact-host, match: { host: www.example.com, path: /only }, pool: b }
  - { name: writes, match: { path_prefix: /w, method: [POST, PUT] }, pool: b }
  - { name: tagged, match: { headers: { X-Env: live } }, pool: b, priority: 10 }
  - { name: one, match: { path_prefix: /one }, pool: a, backends: [a2] }
  - { name: deep, match: { path_prefix: /deep }, pool: a, transform: { strip_prefix: /deep/er, add_prefix: /x/y } }
  - { name: unsafe, match: { path_prefix: /unsafe }, pool: a, transform: { strip_prefix: /unsafe } }
  - { name: divided, match: { path_prefix: /split }, split: [ { pool: a, weight: 2 }, { pool: b, weight: 1 } ] }
  - { name: copied, match: { path_prefix: /copied }, pool: a, transform: { strip_prefix: /copied }, mirror: { pool: copies } }
  - { name: uncopied, match: { path_prefix: /uncopied }, pool: a, mirror: { pool: copies, sample: 0% } }
  - { name: hashed, match: { path_prefix: /hash }, pool: h }
  - { name: dead, match: { path_prefix: /dead }, pool: dead }
  - { name: moved, match: { path: /moved }, redirect: { path: /here, status: 308 } }
  - { name: secure, match: { path_prefix: /secure }, redirect: { scheme: https, host: s.example.com, port: 8443 } }
  - { name: teapot, match: { path: /tea }, respond: { status: 418, body: 'short and stout', headers: { X-Pot: tea } } }
  - { name: hidden, match: { path_prefix: /moved }, respond: { status: 410 } }
";

/// Two listeners with different lists, pools with a turn, weights and a hash, and one for copies. `limits` are small.
fn config(a: &[&Origin; 2], b: &Origin, copies: &Origin, log: &Path) -> String {
    let base = BASE.replace("logging: { access_log: false }\n", "");
    let (log, a, b) = (log.display(), a.map(Origin::addr), b.addr());
    let copies = copies.addr();
    format!(
        "{base}logging: {{ format: json, access_log: '{log}' }}\n\
         limits: {{ body_bytes_max: 100, head_bytes_max: 2KiB, fields_max: 20, target_bytes_max: 500 }}\n\
         via_name: edge\n\
         transform: {{ request_headers: [ {{ action: add, name: X-Everywhere, value: '1' }} ] }}\n\
         listeners:\n\
         - {{ name: web, listen: '127.0.0.1:0', mode: http, trusted_proxies: [127.0.0.1], pool: b }}\n\
         - {{ name: other, listen: '127.0.0.1:0', mode: http, routes: [moved, hidden, api, low] }}\n\
         pools:\n\
         \x20 a:\n\
         \x20   load_balancer: {{ algorithm: weighted-round-robin }}\n\
         \x20   backends: [ {{ name: a1, address: '{}', weight: 3 }}, {{ name: a2, address: '{}' }} ]\n\
         \x20 b: {{ backends: [ {{ name: b1, address: '{b}' }} ] }}\n\
         \x20 copies: {{ backends: [ {{ name: c1, address: '{copies}' }} ] }}\n\
         \x20 h:\n\
         \x20   load_balancer: {{ algorithm: consistent-hash, hash_key: 'header:X-User' }}\n\
         \x20   backends: [ {{ name: h1, address: '{}' }}, {{ name: h2, address: '{}' }} ]\n\
         \x20 dead: {{ backends: [ {{ name: d1, address: '{b}', weight: 0 }} ], load_balancer: {{ algorithm: weighted-round-robin }} }}\n\
         {ROUTES}",
        a[0], a[1], a[0], a[1],
    )
}

/// A listener, a request line without its version, and field lines. `Host: t.test` is added where none is given; a body
/// is what Content-Length says.
type Row = (&'static str, &'static str, &'static [&'static str]);

const ROWS: &[Row] = &[
    ("web", "GET /", &[]),
    ("web", "GET /?q=1&r=%2e", &["X-Kept: 1", "X-Kept: 2"]),
    ("web", "HEAD /", &[]),
    ("web", "DELETE /x", &[]),
    ("web", "PATCH /x", &["Content-Length: 3"]),
    ("web", "GET /api/v1/users?x=/y", &["Host: www.example.com"]),
    ("web", "GET /api/v1", &["Host: WWW.Example.COM."]),
    (
        "web",
        "GET /api/v1/users",
        &[
            "Host: a.b.example.com:99",
            "X-Secret: s",
            "x-secret: t",
            "X-Client: forged",
        ],
    ),
    ("web", "GET /api/v1/users", &["Host: example.com"]),
    ("web", "GET /api/v10", &["Host: www.example.com"]),
    ("web", "GET /apiv1", &["Host: www.example.com"]),
    ("web", "GET /only", &["Host: www.example.com"]),
    ("web", "GET /only/", &["Host: www.example.com"]),
    ("web", "POST /w/x", &["Content-Length: 5"]),
    ("web", "PUT /w", &["Content-Length: 0"]),
    ("web", "GET /w", &[]),
    ("web", "GET /tea", &["X-Env: live"]),
    ("web", "GET /tea", &["X-Env: dev"]),
    ("web", "GET /tea", &["X-Env: dev", "x-env: live"]),
    ("web", "GET /one/x", &[]),
    ("web", "GET /deep/er/z?q", &[]),
    ("web", "GET /deep/er", &[]),
    ("web", "GET /deep", &[]),
    ("web", "GET /unsafe//x", &[]),
    ("web", "GET /hash", &["X-User: u1"]),
    ("web", "GET /hash", &["X-User: u2"]),
    ("web", "GET /hash", &["X-User: u5"]),
    ("web", "GET /hash", &["X-Forwarded-For: 198.51.100.7"]),
    ("web", "GET /split/1", &[]),
    ("web", "GET /split/2", &[]),
    ("web", "GET /split/3", &[]),
    ("web", "GET /split/4", &[]),
    ("web", "GET /copied/x?q", &["X-Kept: 1"]),
    ("web", "POST /copied", &["Content-Length: 5"]),
    ("web", "POST /copied", &["Content-Length: 101"]),
    ("web", "GET /uncopied", &[]),
    ("web", "GET /dead", &[]),
    ("web", "GET /moved", &[]),
    ("web", "GET /moved/x", &[]),
    ("web", "GET /secure/a?b", &["Host: h.test:80"]),
    (
        "web",
        "GET http://www.example.com/api/v1/x",
        &["Host: www.example.com"],
    ),
    (
        "web",
        "GET /api/v1/x",
        &["Host: www.example.com", "X-Forwarded-For: 203.0.113.9"],
    ),
    ("web", "OPTIONS *", &[]),
    (
        "web",
        "GET /",
        &[
            "X-Forwarded-For: 203.0.113.9",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: front.test",
            "X-Request-ID: abc",
        ],
    ),
    (
        "web",
        "GET /",
        &[
            "Connection: close, X-Hop",
            "X-Hop: h",
            "Keep-Alive: 5",
            "TE: gzip",
            "Proxy-Connection: x",
        ],
    ),
    (
        "web",
        "GET /",
        &["X_Under: u", "X-Real-IP: 6.6.6.6", "Forwarded: for=x"],
    ),
    ("web", "GET /", &["Via: 1.0 somebody", "Via: 1.1 edges"]),
    ("web", "GET /", &["Via: 1.1 edge"]),
    ("web", "GET /", &["Connection: Host"]),
    (
        "web",
        "GET /",
        &[
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: x",
        ],
    ),
    ("web", "POST /", &["Content-Length: 101"]),
    ("web", "POST /", &["Content-Length: 5", "Content-Length: 6"]),
    (
        "web",
        "POST /",
        &["Content-Length: 5", "Transfer-Encoding: chunked"],
    ),
    ("web", "GET /a/../b", &[]),
    ("web", "GET /a%2fb", &[]),
    ("web", "GET /", &["Host: a.test", "Host: b.test"]),
    ("web", "GET /", &["Bad Name: x"]),
    ("web", "G@T /", &[]),
    ("web", "CONNECT t.test:443", &[]),
    ("web", "GET /", &["A: 1"; 21]),
    (
        "other",
        "GET /api/v1/x",
        &[
            "Host: www.example.com",
            "X-Forwarded-For: 203.0.113.9",
            "X-Request-ID: abc",
        ],
    ),
    ("other", "GET /api/x", &[]),
    ("other", "GET /moved", &[]),
    ("other", "GET /moved/x", &[]),
    ("other", "GET /tea", &["X-Env: live"]),
    ("other", "GET /", &[]),
];

/// What was told and what was done.
struct Outcome {
    row: Row,
    told: Value,
    status: u16,
    location: Option<String>,
}

#[test]
fn what_is_explained_is_what_is_done() {
    let [a1, a2, b, copies] =
        ["a1", "a2", "b1", "c1"].map(|name| Origin::answering(Script::ok(name)));
    let folder = TempDir::new("explain").unwrap();
    let log = folder.path().join("access.log");
    let process = Process::start(BINARY, &config(&[&a1, &a2], &b, &copies, &log)).unwrap();
    let origins = [&a1, &a2, &b];
    let outcomes: Vec<Outcome> = ROWS
        .iter()
        .map(|row| ask_both(&process, *row, &origins))
        .collect();
    // Each of them: a table that only refuses would prove little.
    let count = |outcome: &str| {
        let is_so = |one: &&Outcome| one.told["verdict"]["outcome"] == outcome;
        outcomes.iter().filter(is_so).count()
    };
    assert!(count("forwarded") > 30 && count("answered") >= 6 && count("refused") >= 12);

    compare_copies(&outcomes, &copies);

    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_until(
        || lines().lines().count() >= ROWS.len(),
        "the lines of the log",
    );
    for (line, outcome) in lines().lines().zip(&outcomes) {
        compare_log(&serde_json::from_str(line).unwrap(), outcome);
    }
}

/// Explains the row, then sends it, and compares what a backend saw.
fn ask_both(process: &Process, row: Row, origins: &[&Origin; 3]) -> Outcome {
    let (listener, line, fields) = row;
    let (method, target) = line.split_once(' ').unwrap();
    let listening = address(process, listener);
    let mut fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
    if !fields.iter().any(|field| field.starts_with("Host:")) {
        fields.insert(0, "Host: t.test".to_owned());
    }
    let mut args = vec!["--listener", listener, method, target];
    fields.iter().for_each(|field| args.extend(["-H", field]));
    let told = explained(process, &args);

    let before: Vec<usize> = origins.iter().map(|one| one.requests().len()).collect();
    let mut client = RawClient::connect(listening).unwrap();
    let body = fields
        .iter()
        .find_map(|field| field.strip_prefix("Content-Length: "));
    let body = "x".repeat(body.map_or(0, |length| length.parse().unwrap()));
    let request = format!("{line} HTTP/1.1\r\n{}\r\n\r\n{body}", fields.join("\r\n"));
    client.send(request).unwrap();
    let response = client.read_any_response(method == "HEAD").unwrap();

    let seen = origins.iter().zip(&before).flat_map(|(origin, before)| {
        let fresh = origin.requests().split_off(*before);
        fresh.into_iter().map(|request| (origin.addr(), request))
    });
    let mut seen: Vec<_> = seen.collect();
    match told["verdict"]["outcome"].as_str() {
        Some("forwarded") => {
            assert_eq!(seen.len(), 1, "{row:?}");
            let (address, request) = seen.remove(0);
            assert_eq!(
                told["pool"]["pick"]["address"],
                address.to_string(),
                "{row:?}"
            );
            compare_heads(&told["sent"], &request, row);
        }
        _ => assert!(seen.is_empty(), "{row:?}: {seen:?}"),
    }
    Outcome {
        row,
        told,
        status: response.status,
        location: response.header("location").map(str::to_owned),
    }
}

/// What is told to be copied is, as it is told to be sent, and nothing else. They come when they come.
fn compare_copies(outcomes: &[Outcome], copies: &Origin) {
    let is_copied = |outcome: &&Outcome| {
        outcome.told["verdict"]["outcome"] == "forwarded"
            && outcome.told["routes"]["mirror"] == "100% are copied to pool copies"
    };
    let told: Vec<&Outcome> = outcomes.iter().filter(is_copied).collect();
    assert_eq!(told.len(), 2);
    let mut seen = copies.wait_for(told.len());
    for outcome in &told {
        let target = outcome.told["sent"]["path_and_query"].as_str().unwrap();
        let method = outcome.told["sent"]["method"].as_str().unwrap();
        let is_it = |copy: &Recorded| (&*copy.target, &*copy.method) == (target, method);
        let mut copy = seen.remove(seen.iter().position(is_it).unwrap());
        copy.fields.retain(|field| field.name != "X-Balance-Mirror");
        compare_heads(&outcome.told["sent"], &copy, outcome.row);
    }
    assert!(seen.is_empty(), "{seen:?}");
}

/// In a JSON log the addresses are events too.
fn address(process: &Process, listener: &str) -> SocketAddr {
    let name = format!("\"name\":\"{listener}\"");
    let line = process.wait_for_stderr(|line| line.contains(&name));
    let event: Value = serde_json::from_str(&line).unwrap();
    event["address"].as_str().unwrap().parse().unwrap()
}

/// The request line and every field, in order. Only the id of a request is new each time.
fn compare_heads(sent: &Value, request: &Recorded, row: Row) {
    assert_eq!(sent["method"], request.method, "{row:?}");
    assert_eq!(sent["path_and_query"], request.target, "{row:?}");
    let told = sent["fields"].as_array().unwrap().iter();
    let told = told.map(|field| {
        (
            field["name"].as_str().unwrap(),
            field["value"].as_str().unwrap(),
        )
    });
    let seen = request.fields.iter().map(|field| {
        let is_new = field.name == "X-Request-ID" && field.value != "abc";
        let value = if is_new {
            "(new for each request)"
        } else {
            &field.value
        };
        (field.name.as_str(), value)
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        seen.collect::<Vec<_>>(),
        "{row:?}"
    );
}

/// Status, route, pool, backend and cause are those of the log.
fn compare_log(line: &Value, outcome: &Outcome) {
    let Outcome {
        row,
        told,
        status,
        location,
    } = outcome;
    assert_eq!(line["status"], *status, "{row:?}");
    let (answer, pool) = (&told["answer"], &told["pool"]);
    if answer.is_null() {
        assert_eq!(
            (*status, &line["cause"]),
            (200, &Value::from("completed")),
            "{row:?}"
        );
    } else {
        assert_eq!(
            (&answer["status"], &answer["cause"]),
            (&Value::from(*status), &line["cause"]),
            "{row:?}"
        );
        let fields = answer["fields"].as_array().unwrap();
        let told = fields.iter().find(|field| field["name"] == "Location");
        let told = told.map(|field| field["value"].as_str().unwrap().to_owned());
        assert_eq!(*location, told, "{row:?}");
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    assert_eq!(
        text(&line["route"]),
        text(&told["routes"]["decided"]),
        "{row:?}"
    );
    assert_eq!(text(&line["pool"]), text(&pool["name"]), "{row:?}");
    assert_eq!(
        text(&line["backend"]),
        text(&pool["pick"]["backend"]),
        "{row:?}"
    );
    assert_eq!(line["listener"], told["listener"]["name"], "{row:?}");
    if line["client"] != Value::Null {
        assert_eq!(line["client"], told["client"], "{row:?}");
    }
}
