//! `limits.buffered_bytes_max`: what is held for slow peers is bounded, and who comes then is told so.

use balance_testkit::{EchoServer, Origin, Process, RawClient, Script};

use crate::subject::{Config, backend, cause, get, is_reset, metric, wait_for_cause, wait_until};

/// More than the kernel takes for a receiver that reads nothing.
const LARGE: usize = 12_000_000;

/// A sixteenth of what is held before requests are refused: three quarters of [`BUDGET`].
const HEAD_BYTES: usize = 48 << 10;

/// The least that a worker gets: 1 MiB.
const BUDGET: &str = "limits: { buffered_bytes_max: 1MiB }";

fn start() -> (Origin, Process) {
    let large = EchoServer::pattern(LARGE);
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/large" => Script::ok(large.clone()),
        "/never" => Script::never(),
        _ => Script::ok("here"),
    });
    let raw = "- { name: raw, listen: '127.0.0.1:0', mode: tcp, pool: p }\n";
    let config = Config::http(&[origin.addr()]).with(&format!("{raw}{BUDGET}"));
    let process = config.start();
    (origin, process)
}

fn connect(process: &Process) -> RawClient {
    RawClient::connect(process.listener("web")).unwrap()
}

/// A request whose head without the empty line is [`HEAD_BYTES`] long.
fn large_head(path: &str) -> String {
    let start = format!("GET {path} HTTP/1.1\r\nHost: t\r\nX-Long: ");
    let filler = "x".repeat(HEAD_BYTES - start.len() - 2);
    format!("{start}{filler}\r\n\r\n")
}

#[test]
fn what_waits_is_bounded_and_who_comes_then_is_refused() {
    let (origin, process) = start();
    let web = process.listener("web");
    let ask = || {
        let mut client = connect(&process);
        client.send(large_head("/never")).unwrap();
        client
    };
    let mut waiting: Vec<_> = (0..16).map(|_| ask()).collect();
    origin.wait_for_heads(16);
    // Full to the byte: no request, no part of one, and no session.
    let refused = get(web, "/");
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    let mut partial = connect(&process);
    partial.send("GET / HTTP/1.1\r\nHost: t\r\n").unwrap();
    assert_eq!(partial.read_response().unwrap().status, 503);
    assert!(is_reset(process.listener("raw")));
    wait_for_cause(&process, "overloaded", 3);
    assert_eq!(origin.requests().len(), 16);
    assert_eq!(backend(&process, "a")["rests"], 0);
    let held = || metric(&process, "balance_buffered_bytes");
    // What refused ones held is given back when they are settled.
    wait_until(
        || held() == (16 * HEAD_BYTES) as f64,
        "what is held is told",
    );
    // With one less there is room.
    waiting.remove(0).reset().unwrap();
    wait_until(|| get(web, "/").status == 200, "there is room again");
    for client in waiting {
        client.reset().unwrap();
    }
    wait_until(|| held() == 0.0, "nothing is held any more");
}

#[test]
fn bodies_that_nobody_takes_count_and_what_is_under_way_goes_on() {
    let (origin, process) = start();
    let ask = |request: String| {
        let mut client = connect(&process);
        client.send(request).unwrap();
        client
    };
    let small_head = "GET /large HTTP/1.1\r\nHost: t\r\n\r\n";
    let mut large: Vec<_> = (0..12).map(|_| ask(small_head.to_owned())).collect();
    let waiting: Vec<_> = (0..15).map(|_| ask(large_head("/never"))).collect();
    origin.wait_for_heads(12 + 15);
    // There would be room for one more such head: a little of each body takes it.
    let is_refused = || get(process.listener("web"), "/").status == 503;
    wait_until(is_refused, "what is not taken counts");
    let answer = large.remove(0).read_response().unwrap();
    assert!(answer.body == EchoServer::pattern(LARGE));
    drop(waiting);
}

#[test]
fn heads_that_are_not_complete_are_bounded() {
    let (_origin, process) = start();
    let request = large_head("/");
    let (part, rest) = request.split_at(HEAD_BYTES);
    let mut clients = Vec::new();
    let is_refused = || cause(&process, "overloaded") > 0.0;
    while !is_refused() {
        assert!(clients.len() < 50, "it has no end");
        let mut client = connect(&process);
        client.send(part).unwrap();
        clients.push(client);
        // The worker may stand still while others answer.
        let all = (clients.len() * HEAD_BYTES) as f64;
        let is_held = || metric(&process, "balance_buffered_bytes") >= all;
        wait_until(|| is_held() || is_refused(), "it was read");
    }
    assert!(clients.len() >= 16, "{}", clients.len());
    // The others are still waited for.
    let mut first = clients.remove(0);
    first.send(rest).unwrap();
    assert_eq!(first.read_response().unwrap().text(), "here");
}
