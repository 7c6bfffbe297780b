//! Limits of pools and their queues over sockets: who waits, in which order they are served, and how else it ends.

use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use balance_testkit::{EchoServer, Origin, PeerMode, Process, RawClient, Script};
use serde_json::Value;

use crate::subject::{
    Config, backend, cause, check_output, dead_address, get, json, metric, reload, run_to_its_end,
    wait_for_cause, wait_until,
};

/// An origin that answers a request when it is let, with the request's path.
pub(crate) struct Held {
    /// Dropped first: then nobody is held any more.
    answers: Sender<()>,
    pub(crate) origin: Origin,
    /// The paths that it is asked for, in their order.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Held {
    pub(crate) fn start() -> Self {
        let (answers, let_go) = channel();
        let let_go = Mutex::new(let_go);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let paths = Arc::clone(&asked);
        let origin = Origin::start(move |request| {
            paths.lock().unwrap().push(request.target.clone());
            let _ = let_go.lock().unwrap().recv();
            Script::ok(request.target.clone())
        });
        Self {
            answers,
            origin,
            asked,
        }
    }

    pub(crate) fn answer(&self) {
        self.answers.send(()).unwrap();
    }

    fn targets(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn wait_for(&self, count: usize) {
        wait_until(|| self.targets().len() == count, "the origin is asked");
    }
}

/// One request at a time; two may wait.
fn one_place(address: SocketAddr, timeout: &str) -> Config {
    Config::http(&[address]).with_pool(&format!(
        "limits: {{ max_connections: 1, queue: 2, queue_timeout: {timeout} }}"
    ))
}

fn ask(web: SocketAddr, path: &str) -> RawClient {
    let mut client = RawClient::connect(web).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    client.send(request).unwrap();
    client
}

pub(crate) fn limits(process: &Process) -> Value {
    let pools = json(&get(process.listener("admin"), "/pools"));
    pools["pools"][0]["limits"].clone()
}

#[track_caller]
pub(crate) fn wait_for_waiting(process: &Process, count: u64) {
    let waiting = || limits(process)["waiting"] == count;
    wait_until(waiting, &format!("{count} wait"));
}

/// The first takes the only place, the second and third wait, over as many workers as there are.
#[test]
fn who_waits_is_served_in_the_order_of_coming_over_all_workers() {
    let held = Held::start();
    let config = Config {
        workers: 3,
        ..one_place(held.origin.addr(), "1h")
    };
    let process = config.start();
    let web = process.listener("web");
    let mut first = ask(web, "/0");
    held.wait_for(1);
    let mut second = ask(web, "/1");
    wait_for_waiting(&process, 1);
    let mut third = ask(web, "/2");
    wait_for_waiting(&process, 2);
    assert_eq!(limits(&process)["in_use"], 1);
    assert_eq!(metric(&process, "balance_pool_waiting{pool=\"p\"}"), 2.0);

    let refused = get(web, "/3");
    assert_eq!(refused.status, 503);
    assert!(
        refused.text().starts_with("503 queue_full: "),
        "{}",
        refused.text()
    );
    assert_eq!(refused.header("retry-after"), Some("1"));

    for (client, path) in [(&mut first, "/0"), (&mut second, "/1"), (&mut third, "/2")] {
        held.answer();
        assert_eq!(client.read_response().unwrap().text(), path);
    }
    assert_eq!(held.targets(), ["/0", "/1", "/2"]);
    wait_for_cause(&process, "completed", 3);
    let after = limits(&process);
    for (key, count) in [("waiting", 0), ("in_use", 0), ("served", 2), ("refused", 1)] {
        assert_eq!(after[key], count, "{key}: {after}");
    }
    let served = "balance_pool_queued_total{pool=\"p\",outcome=\"served\"}";
    assert_eq!(metric(&process, served), 2.0);
    assert_eq!(cause(&process, "queue_full"), 1.0);
}

#[test]
fn a_place_at_a_backend_is_waited_for_as_one_of_the_pool() {
    let held = Held::start();
    let mut config =
        Config::http(&[held.origin.addr()]).with_pool("limits: { queue: 9, queue_timeout: 1h }");
    config.backends = vec![format!(
        "{{ name: a, address: '{}', max_connections: 1 }}",
        held.origin.addr()
    )];
    let process = config.start();
    let web = process.listener("web");
    let mut clients = vec![ask(web, "/0")];
    held.wait_for(1);
    for (path, waiting) in [("/1", 1), ("/2", 2), ("/3", 3)] {
        clients.push(ask(web, path));
        wait_for_waiting(&process, waiting);
    }
    for (client, path) in clients.iter_mut().zip(["/0", "/1", "/2", "/3"]) {
        held.answer();
        assert_eq!(client.read_response().unwrap().text(), path);
    }
    assert_eq!(held.targets(), ["/0", "/1", "/2", "/3"]);
    wait_until(
        || backend(&process, "a")["in_flight"] == 0,
        "all is given back",
    );
}

#[test]
fn who_waits_for_too_long_is_told() {
    let held = Held::start();
    let process = one_place(held.origin.addr(), "50ms").start();
    let web = process.listener("web");
    let mut first = ask(web, "/0");
    held.wait_for(1);
    let late = get(web, "/1");
    assert_eq!(late.status, 503);
    assert!(
        late.text().starts_with("503 queue_timeout: "),
        "{}",
        late.text()
    );
    assert_eq!(late.header("retry-after"), Some("1"));
    held.answer();
    assert_eq!(first.read_response().unwrap().text(), "/0");
    assert_eq!(limits(&process)["timed_out"], 1);
    wait_for_cause(&process, "queue_timeout", 1);
}

#[test]
fn a_client_that_goes_away_leaves_the_queue() {
    let held = Held::start();
    let process = one_place(held.origin.addr(), "1h").start();
    let web = process.listener("web");
    let mut first = ask(web, "/0");
    held.wait_for(1);
    let leaver = ask(web, "/1");
    wait_for_waiting(&process, 1);
    let mut second = ask(web, "/2");
    wait_for_waiting(&process, 2);
    leaver.reset().unwrap();
    wait_for_waiting(&process, 1);
    assert_eq!(limits(&process)["left"], 1);
    for (client, path) in [(&mut first, "/0"), (&mut second, "/2")] {
        held.answer();
        assert_eq!(client.read_response().unwrap().text(), path);
    }
    assert_eq!(held.targets(), ["/0", "/2"]);
    wait_for_cause(&process, "client_closed", 1);
}

/// A place that a reload adds calls nobody: the first one finds it by itself.
#[test]
fn what_no_place_tells_is_found_and_without_a_queue_nobody_waits() {
    let held = Held::start();
    let limited = |max: u32, queue: u32| {
        let mut config = Config::http(&[held.origin.addr()])
            .with_pool(&format!("limits: {{ max_connections: 9, queue: {queue} }}"));
        config.backends = vec![format!(
            "{{ name: a, address: '{}', max_connections: {max} }}",
            held.origin.addr()
        )];
        config
    };
    let process = limited(1, 0).start();
    let web = process.listener("web");
    let mut first = ask(web, "/0");
    held.wait_for(1);
    let refused = get(web, "/1");
    assert!(
        refused.text().starts_with("503 connection_limit_reached: "),
        "{}",
        refused.text()
    );
    reload(&process, &limited(1, 1).with("timeouts: { connect: 9s }"));
    let mut second = ask(web, "/2");
    wait_for_waiting(&process, 1);
    reload(&process, &limited(2, 1));
    held.wait_for(2);
    held.answer();
    held.answer();
    assert_eq!(first.read_response().unwrap().text(), "/0");
    assert_eq!(second.read_response().unwrap().text(), "/2");
    wait_until(|| limits(&process)["in_use"] == 0, "all is given back");
}

#[test]
fn tcp_sessions_wait_too() {
    let echo = EchoServer::start(PeerMode::Echo);
    let process = Config::tcp(&[echo.addr()])
        .with_pool("limits: { max_connections: 1, queue: 2, queue_timeout: 1h }")
        .start();
    let web = process.listener("web");
    let session = || {
        let mut client = RawClient::connect(web).unwrap();
        client.send("ping").unwrap();
        client
    };
    let mut first = session();
    assert_eq!(first.read_exact(4).unwrap(), b"ping");
    let mut second = session();
    wait_for_waiting(&process, 1);
    let leaver = RawClient::connect(web).unwrap();
    wait_for_waiting(&process, 2);
    leaver.reset().unwrap();
    wait_for_waiting(&process, 1);
    assert_eq!(limits(&process)["in_use"], 1);
    drop(first);
    assert_eq!(second.read_exact(4).unwrap(), b"ping");
    drop(second);
    wait_until(|| limits(&process)["in_use"] == 0, "all is given back");
}

#[test]
fn limits_that_cannot_be_are_refused() {
    for (limits, part) in [
        (
            "{ max_connections: -1 }",
            "`max_connections`: -1 is outside 0 to",
        ),
        ("{ max_connections: 1, queue: 1.5 }", "`queue`"),
        (
            "{ max_connections: 1, queue: 1, queue_timeout: 0 }",
            "`queue_timeout`",
        ),
        (
            "{ max_connections: 1, queue_timout: 1s }",
            "did you mean `queue_timeout`?",
        ),
    ] {
        let config = Config::http(&[dead_address()]).with_pool(&format!("limits: {limits}"));
        check_output(&run_to_its_end(&config.yaml()), 1, &[part]);
    }
}
