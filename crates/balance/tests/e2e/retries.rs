//! Configured retries over sockets, for clients of both versions. Which failure is repeated when is held in memory
//! by balance-proxy's tests, and against faults on the wire by `faults`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use balance_testkit::{Origin, Process, RawClient, Script, TempDir};

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
                let chunk = |part: &str| format!("{:x}\r\n{part}\r\n", part.len());
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
    assert_eq!(granted(&process, "status"), 8.0);
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
