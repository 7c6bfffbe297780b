//! Configured retries over sockets, for clients of both versions. Which failure is repeated when is held in memory
//! by balance-proxy's tests, and against faults on the wire by `faults`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use balance_testkit::http2::{DATA, END_HEADERS, END_STREAM, Frame, HEADERS, Http2Backend, block};
use balance_testkit::{Origin, Process, RawClient, Script, TempDir};

use crate::http2::raw::RawHttp2;
use crate::programs::{is_here, run};
use crate::proxy;
use crate::subject::{Config, dead_address, get, metric, reload, wait_for_cause, wait_until};

/// An origin that refuses each target with 503 a few times, and then sends the body back. `/n/…`: so many times.
fn flaky() -> Origin {
    let asked: Mutex<HashMap<String, usize>> = Mutex::default();
    Origin::start(move |request| {
        let mut asked = asked.lock().unwrap();
        let before = asked.entry(request.target.clone()).or_default();
        *before += 1;
        let refusals: usize = request.target[1..2].parse().unwrap();
        if *before <= refusals {
            Script::status(503).body("not now")
        } else {
            Script::echo()
        }
    })
}

/// Over one backend, with this policy besides short delays.
fn retrying(origin: &Origin, policy: &str) -> Config {
    let resilience =
        format!("resilience: {{ retry: {{ initial_delay: 1ms, max_delay: 1ms, {policy} }} }}");
    Config::http(&[origin.addr()]).with_pool(&resilience)
}

fn refused(process: &Process, reason: &str) -> f64 {
    let series = format!("balance_retries_refused_total{{pool=\"p\",reason=\"{reason}\"}}");
    metric(process, &series)
}

fn granted(process: &Process, reason: &str) -> f64 {
    metric(
        process,
        &format!("balance_retries_total{{pool=\"p\",reason=\"{reason}\"}}"),
    )
}

#[test]
fn what_is_repeated_arrives_whole_and_what_is_not_passes() {
    let small = "s".repeat(64 << 10);
    let large = "l".repeat((64 << 10) + 1);
    let origin = flaky();
    let log = TempDir::new("retries").unwrap();
    let file = log.path().join("access.log");
    let mut process = retrying(&origin, "methods: [GET, PUT]")
        .with(&format!("logging: {{ access_log: '{}' }}", file.display()))
        .start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    for (target, method, framing, body, status, attempts) in [
        ("/0/get", "GET", "", "", 200, 1),
        ("/1/get", "GET", "", "", 200, 2),
        ("/2/get", "GET", "", "", 200, 3),
        ("/3/get", "GET", "", "", 503, 3),
        ("/1/delete", "DELETE", "", "", 503, 1),
        ("/1/put", "PUT", "length", &small, 200, 2),
        ("/2/put-chunked", "PUT", "chunked", &small, 200, 3),
        ("/2/put-empty", "PUT", "chunked", "", 200, 3),
        ("/1/large", "PUT", "length", &large, 503, 1),
        ("/1/large-chunked", "PUT", "chunked", &large, 503, 1),
        ("/1/post", "POST", "length", "body", 503, 1),
    ] {
        let (field, sent) = match framing {
            "" => (String::new(), String::new()),
            "length" => (
                format!("Content-Length: {}\r\n", body.len()),
                body.to_owned(),
            ),
            _ => {
                let (first, second) = body.split_at(body.len() / 3);
                let chunk = |part: &str| match part.len() {
                    0 => String::new(),
                    len => format!("{len:x}\r\n{part}\r\n"),
                };
                let sent = format!("{}{}0\r\n\r\n", chunk(first), chunk(second));
                ("Transfer-Encoding: chunked\r\n".to_owned(), sent)
            }
        };
        let request = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{field}\r\n{sent}");
        let response = client.exchange(request).unwrap();
        assert_eq!(response.status, status, "{target}");
        let expected = if status == 200 { body } else { "not now" };
        assert_eq!(response.text(), expected, "{target}");
        let requests = origin.requests();
        let of_target = requests.iter().filter(|one| one.target == target);
        let bodies: Vec<String> = of_target.map(|one| one.text()).collect();
        assert_eq!(bodies.len(), attempts, "{target}");
        assert!(bodies.iter().all(|one| one == body), "{target}");
    }
    assert_eq!(
        origin.connections(),
        1,
        "answers that are put aside leave their connection"
    );
    assert_eq!(origin.violations(), Vec::<String>::new());
    assert_eq!(granted(&process, "status"), 10.0);
    for (reason, count) in [("attempts", 1.0), ("not_repeatable", 4.0), ("budget", 0.0)] {
        assert_eq!(refused(&process, reason), count, "{reason}");
    }
    drop(client);
    process.terminate();
    let logged = std::fs::read_to_string(file).unwrap();
    let line = logged.lines().find(|line| line.contains("/2/get")).unwrap();
    assert!(line.contains(" attempts=3 "), "{line}");
}

#[test]
fn clients_of_http2_are_served_alike() {
    if !is_here("curl") {
        return;
    }
    let origin = flaky();
    let process = retrying(&origin, "methods: [GET, PUT]").start();
    let folder = TempDir::new("retries-h2").unwrap();
    let upload = folder.path().join("upload");
    let body = "u".repeat(60_000);
    std::fs::write(&upload, &body).unwrap();
    let upload = format!("@{}", upload.display());
    let web = process.listener("web");
    for (target, args, expected) in [
        ("/1/get", &[][..], "2 200 0"),
        ("/3/get", &[], "2 503 7"),
        (
            "/2/put",
            &["-X", "PUT", "--data-binary", &upload],
            "2 200 60000",
        ),
        ("/1/post", &["--data-binary", &upload], "2 503 7"),
    ] {
        let url = format!("http://{web}{target}");
        let common = [
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--noproxy",
            "*",
            "--http2-prior-knowledge",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_version} %{http_code} %{size_download}",
        ];
        assert_eq!(
            run("curl", &[&common, args, &[&url]].concat()),
            expected,
            "{target}"
        );
    }
    let requests = origin.requests();
    let puts: Vec<String> = requests
        .iter()
        .filter(|request| request.method == "PUT")
        .map(|request| request.text())
        .collect();
    assert_eq!(puts, [body.clone(), body.clone(), body]);
    let posts = requests.iter().filter(|request| request.method == "POST");
    assert_eq!(posts.count(), 1);
    assert_eq!(origin.violations(), Vec::<String>::new());
}

/// Three retries wait for a backend that does not answer them: a fourth is not made. Neither a reload nor another policy
/// forgets them.
#[test]
fn the_budget_holds_over_reloads_and_comes_back() {
    let asked: Mutex<HashMap<String, usize>> = Mutex::default();
    let origin = Arc::new(Origin::start(move |request| {
        let mut asked = asked.lock().unwrap();
        let before = asked.entry(request.target.clone()).or_default();
        *before += 1;
        match (*before, request.target.starts_with("/held/")) {
            (1, _) => Script::status(503),
            (_, true) => Script::never(),
            (_, false) => Script::ok("at last"),
        }
    }));
    let process = retrying(&origin, "budget: 0%").start();
    let web = process.listener("web");
    let held: Vec<RawClient> = (0..3)
        .map(|number| {
            let mut client = RawClient::connect(web).unwrap();
            client.send(proxy::get(&format!("/held/{number}"))).unwrap();
            client
        })
        .collect();
    origin.wait_for_heads(6);
    assert_eq!(get(web, "/one").status, 503);
    assert_eq!(refused(&process, "budget"), 1.0);
    reload(&process, &retrying(&origin, "budget: 0%, max_attempts: 5"));
    assert_eq!(get(web, "/two").status, 503);
    assert_eq!(refused(&process, "budget"), 2.0);
    for client in held {
        client.reset().unwrap();
    }
    wait_for_cause(&process, "client_closed", 3);
    assert_eq!(get(web, "/three").text(), "at last");
}

#[test]
fn a_client_that_leaves_during_the_delay_ends_it() {
    let origin = Origin::answering(Script::status(503));
    let policy = "resilience: { retry: { initial_delay: 1h, max_delay: 1h, jitter: 0 } }";
    let process = Config::http(&[origin.addr()]).with_pool(policy).start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    client.send(proxy::get("/")).unwrap();
    wait_until(|| granted(&process, "status") == 1.0, "a retry is granted");
    client.reset().unwrap();
    wait_for_cause(&process, "client_closed", 1);
    assert_eq!(origin.requests().len(), 1);
}

/// The breaker opens at the first attempt, and there is nobody else: the second retry has nothing to wait for.
#[test]
fn retries_that_find_no_backend_end() {
    let resilience = "resilience: { circuit_breaker: { max_failures: 1, timeout: 1h }, \
                      retry: { max_attempts: 3, initial_delay: 1ms, max_delay: 1ms } }";
    let process = Config::http(&[dead_address()])
        .with_pool(resilience)
        .start();
    assert_eq!(get(process.listener("web"), "/").status, 502);
    wait_for_cause(&process, "connection_refused", 1);
    assert_eq!(refused(&process, "attempts"), 1.0);
    assert_eq!(get(process.listener("web"), "/").status, 503);
    wait_for_cause(&process, "circuit_open", 1);
}

/// What stands behind a kept body is sent again with it, however much of a body there is (RFC 9113 §8.1).
#[test]
fn trailers_are_sent_again_with_a_kept_body() {
    let backend = Http2Backend::start(|peer| {
        peer.settings(&[]);
        // The first answer to each body is a refusal, over all of this one connection.
        let mut refused = Vec::new();
        while let Some(asked) = peer.asked() {
            let (mut body, mut trailers) = (Vec::new(), Vec::new());
            while let Some(frame) = peer.read() {
                match frame.kind {
                    DATA => body.extend(&frame.payload),
                    HEADERS => trailers.extend(&frame.payload),
                    _ => {}
                }
                if matches!(frame.kind, DATA | HEADERS) && frame.has(END_STREAM) {
                    break;
                }
            }
            if refused.contains(&body) {
                let seen = String::from_utf8_lossy(&[body, trailers].concat()).into_owned();
                peer.answer(asked.stream, &seen);
            } else {
                refused.push(body);
                peer.head(asked.stream, &[(":status", "503")], END_STREAM);
            }
        }
    });
    let retry = "resilience: { retry: { initial_delay: 1ms, max_delay: 1ms, methods: [POST] } }";
    let process = Config::http(&[backend.addr()])
        .with_pool("protocol: h2")
        .with_pool(retry)
        .start();
    let mut client = RawHttp2::connect(process.listener("web"));
    for body in ["", "kept", &"k".repeat(16_000)] {
        let stream = client.begin("POST", "/", &[("te", "trailers")], 0);
        if !body.is_empty() {
            client.send(&Frame::new(DATA, 0, stream, body));
        }
        let trailers = block(&[("x-checksum", "1")]);
        let flags = END_STREAM | END_HEADERS;
        client.send(&Frame::new(HEADERS, flags, stream, trailers));
        let (status, seen) = client.response(stream).unwrap();
        let seen = String::from_utf8_lossy(&seen).into_owned();
        assert_eq!(status, 200, "{} bytes", body.len());
        assert!(seen.starts_with(body), "{} bytes", body.len());
        assert!(
            seen.contains("x-checksum\u{1}1"),
            "{} bytes: {seen:?}",
            body.len()
        );
    }
    assert_eq!(granted(&process, "status"), 3.0);
}
