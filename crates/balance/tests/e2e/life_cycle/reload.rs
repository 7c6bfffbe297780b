//! Reloading: all three ways, what changes, what stays, and that nobody notices.

use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use balance_bench::{Backend, BackendOptions};
use balance_testkit::{Origin, PATIENCE, Process, RawClient, Script, Signal, pause};

use crate::programs::{Wrk, is_here};
use crate::subject::{
    Config, ask, backend, check_output, dead_address, get, get_on, json, metric, post, reload,
    wait_until,
};

fn origin(name: &'static str) -> Origin {
    Origin::answering(Script::ok(name))
}

/// An origin that answers when it is told to.
struct Gated {
    origin: Origin,
    /// A request has come.
    came: Receiver<()>,
    /// Lets one answer go; all of them when it is gone.
    open: Sender<()>,
}

impl Gated {
    fn start(name: &'static str) -> Self {
        let (arrived, came) = channel();
        let (open, gate) = channel();
        let gate = Mutex::new(gate);
        let origin = Origin::start(move |_| {
            // Errors say that the test is over.
            let _ = arrived.send(());
            let _ = gate.lock().unwrap().recv();
            Script::ok(name)
        });
        Self { origin, came, open }
    }

    fn wait_for_request(&self) {
        self.came.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn a_reload_works_by_signal_by_command_and_by_the_admin_api() {
    let origins = ["one", "two", "three", "four"].map(origin);
    let config = |index: usize| Config::http(&[origins[index].addr()]).yaml();
    let process = Config::http(&[origins[0].addr()]).start();
    let (web, admin) = (process.listener("web"), process.listener("admin"));
    assert_eq!(get(web, "/").text(), "one");

    process.write_config(&config(1)).unwrap();
    assert_eq!(
        get(web, "/").text(),
        "one",
        "the file alone changes nothing"
    );
    process.signal(Signal::Hangup).unwrap();
    process.wait_for_stderr(|line| line.contains("was reloaded"));
    assert_eq!(get(web, "/").text(), "two");

    process.write_config(&config(2)).unwrap();
    let output = ask(&process, "reload");
    check_output(&output, 0, &["is in use", "backends +p/a (127.0.0.1:"]);
    assert_eq!(get(web, "/").text(), "three");

    process.write_config(&config(3)).unwrap();
    let response = post(admin, "/reload");
    assert_eq!(response.status, 200, "{}", response.text());
    let summary = json(&response);
    assert_eq!(summary["generation"], 4);
    assert_eq!(summary["listeners"]["kept"], 1);
    assert_eq!(summary["backends"]["added"].as_array().unwrap().len(), 1);
    assert_eq!(get(web, "/").text(), "four");
    assert_eq!(
        metric(&process, "balance_config_reloads_total{result=\"success\"}"),
        3.0
    );
    assert_eq!(
        metric(&process, "balance_config_last_reload_successful"),
        1.0
    );
}

#[test]
fn a_failed_reload_says_why_and_changes_nothing() {
    let origin = origin("old");
    let process = Config::http(&[origin.addr()]).start();
    let (web, admin) = (process.listener("web"), process.listener("admin"));

    process
        .write_config("version: 2\nlisteners: 3\nnonsense: 1\n")
        .unwrap();
    check_output(
        &ask(&process, "reload"),
        1,
        &[":2:", ":3:1: error:", "the old configuration stays"],
    );
    let response = post(admin, "/reload");
    assert_eq!(response.status, 422);
    let problems = json(&response)["problems"].as_array().unwrap().clone();
    assert!(problems.len() >= 2, "{problems:?}");
    assert!(
        problems
            .iter()
            .any(|one| one["line"] == 3 && one["column"] == 1),
        "{problems:?}"
    );
    process.signal(Signal::Hangup).unwrap();
    process.wait_for_stderr(|line| line.contains("was not reloaded"));
    std::fs::remove_file(process.config_path()).unwrap();
    check_output(&ask(&process, "reload"), 1, &["balance"]);

    assert_eq!(get(web, "/").text(), "old");
    assert_eq!(
        metric(&process, "balance_config_last_reload_successful"),
        0.0
    );
    assert_eq!(json(&get(admin, "/status"))["config"]["generation"], 1);
}

#[test]
fn listeners_come_and_go_and_the_others_keep_their_socket() {
    let origin = origin("here");
    let first = Config::http(&[origin.addr()]);
    let process = first.start();
    let (web, admin) = (process.listener("web"), process.listener("admin"));
    let mut kept = RawClient::connect(web).unwrap();
    assert_eq!(get_on(&mut kept, "/").text(), "here");

    let more = "- { name: more, listen: '127.0.0.2:0', mode: http, pool: p }";
    let second = first.clone().with(more);
    reload(&process, &second);
    let at_more = process.listener("more");
    let mut open_at_more = RawClient::connect(at_more).unwrap();
    assert!(get_on(&mut open_at_more, "/").keeps_alive());
    assert_eq!(get(web, "/").text(), "here");
    assert_eq!(get_on(&mut kept, "/").text(), "here");

    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = busy.local_addr().unwrap().to_string();
    let third = first.clone().with(&more.replace("127.0.0.2:0", &taken));
    process.write_config(&third.yaml()).unwrap();
    let response = post(admin, "/reload");
    assert_eq!(response.status, 422);
    assert!(response.text().contains("is in use"), "{}", response.text());
    check_output(&ask(&process, "reload"), 1, &[&taken, "is in use"]);
    assert_eq!(get(at_more, "/").text(), "here");
    drop(busy);

    reload(&process, &first);
    wait_until(
        || RawClient::connect(at_more).is_err(),
        "the removed listener is closed",
    );
    let last = get_on(&mut open_at_more, "/");
    assert_eq!((last.text().as_str(), last.keeps_alive()), ("here", false));
    assert_eq!(get_on(&mut kept, "/").text(), "here");
    assert_eq!(get(web, "/").text(), "here");
}

/// A request may be on its way, so not at once; but nobody waits for its idle timeout either.
#[test]
fn idle_clients_of_a_removed_listener_are_closed_soon() {
    let origin = origin("here");
    let first = Config::http(&[origin.addr()]);
    let with_more = first
        .clone()
        .with("- { name: more, listen: '127.0.0.2:0', mode: http, pool: p }");
    let process = with_more.start();
    let mut idle = RawClient::connect(process.listener("more")).unwrap();
    let mut kept = RawClient::connect(process.listener("web")).unwrap();
    for client in [&mut idle, &mut kept] {
        assert!(get_on(client, "/").keeps_alive());
    }
    reload(&process, &first);
    assert_eq!(idle.read_to_end(), Ok(vec![]));
    assert!(get_on(&mut kept, "/").keeps_alive());
}

#[test]
fn the_admin_address_moves_with_a_reload() {
    let origin = origin("here");
    let config = Config::http(&[origin.addr()]);
    let process = config.start();
    let admin = process.listener("admin");
    let moved = config
        .with("metrics: { listen: '127.0.0.4:0' }")
        .yaml()
        .replace(
            "admin: { listen: '127.0.0.1:0' }",
            "admin: { listen: '127.0.0.3:0' }",
        );
    process.write_config(&moved).unwrap();
    check_output(&ask(&process, "reload"), 0, &["is in use"]);
    process.wait_for_stderr(|line| line.contains("name=metrics "));
    wait_until(
        || RawClient::connect(admin).is_err(),
        "the old admin address is closed",
    );
    let (admin, metrics) = (process.listener("admin"), process.listener("metrics"));
    assert_eq!(get(admin, "/pools").status, 200);
    assert_eq!(get(metrics, "/metrics").status, 200);
    assert_eq!(get(metrics, "/pools").status, 404);
}

#[test]
fn routes_change_under_an_open_connection() {
    let origin = origin("backend");
    let first = Config::http(&[origin.addr()]);
    let process = first.start();
    let mut kept = RawClient::connect(process.listener("web")).unwrap();
    assert_eq!(get_on(&mut kept, "/hi").text(), "backend");
    let route =
        "routes:\n- { name: hi, match: { path: /hi }, respond: { status: 200, body: ROUTE } }";
    reload(
        &process,
        &first.clone().with(&route.replace("ROUTE", "one")),
    );
    assert_eq!(get_on(&mut kept, "/hi").text(), "one");
    assert_eq!(get_on(&mut kept, "/").text(), "backend");
    reload(
        &process,
        &first.clone().with(&route.replace("ROUTE", "two")),
    );
    assert_eq!(get_on(&mut kept, "/hi").text(), "two");
    reload(&process, &first);
    assert_eq!(get_on(&mut kept, "/hi").text(), "backend");
}

#[test]
fn what_is_in_flight_finishes_as_it_began() {
    let old = Gated::start("old");
    let new = origin("new");
    let process = Config::http(&[old.origin.addr()]).start();
    let web = process.listener("web");
    let mut client = RawClient::connect(web).unwrap();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    old.wait_for_request();

    reload(&process, &Config::http(&[new.addr()]));
    assert_eq!(get(web, "/").text(), "new");
    old.open.send(()).unwrap();
    let response = client.read_response().unwrap();
    assert_eq!(response.text(), "old");
    assert!(response.keeps_alive(), "the listener has stayed");
    assert_eq!(get_on(&mut client, "/").text(), "new");

    // Whatever balances over it is gone too: its idle connections first of all.
    old.origin.wait_for_open_connections(0);
    for _ in 0..20 {
        assert_eq!(get(web, "/").text(), "new");
    }
    assert_eq!(
        old.origin.requests().len(),
        1,
        "a removed backend gets nothing"
    );
}

#[test]
fn a_tunnel_keeps_no_idle_connection_to_a_removed_backend() {
    let old = Origin::start(|request| match request.target.as_str() {
        "/tunnel" => Script::upgrade("websocket"),
        _ => Script::ok("old"),
    });
    let new = origin("new");
    let process = Config::http(&[old.addr()]).start();
    let web = process.listener("web");
    let mut tunnel = RawClient::connect(web).unwrap();
    let upgrade =
        "GET /tunnel HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(tunnel.exchange(upgrade).unwrap().status, 101);
    assert_eq!(get(web, "/").text(), "old");
    assert_eq!(old.open_connections(), 2);

    reload(&process, &Config::http(&[new.addr()]));
    old.wait_for_open_connections(1);
    assert_eq!(get(web, "/").text(), "new");
    tunnel.send("ping").unwrap();
    assert_eq!(tunnel.read_exact(4).unwrap(), b"ping");
}

#[test]
fn a_backend_keeps_its_state_as_long_as_it_is_the_same() {
    let busy = Gated::start("busy");
    let dead = dead_address();
    let config = Config::http(&[busy.origin.addr(), dead]);
    let process = config.start();
    let web = process.listener("web");
    let mut client = RawClient::connect(web).unwrap();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    busy.wait_for_request();
    // The next turn is that of the dead one, so it goes to the busy one too.
    let mut second = RawClient::connect(web).unwrap();
    second.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    wait_until(
        || backend(&process, "a")["in_flight"] == 2 && backend(&process, "b")["rests"] == 1,
        "two exchanges at `a`, and `b` rests",
    );

    let more = config.with("routes:\n- { name: r, match: { path: /r }, respond: { status: 204 } }");
    reload(&process, &more);
    assert_eq!(get(web, "/r").status, 204);
    assert_eq!(backend(&process, "a")["in_flight"], 2);
    assert_eq!(backend(&process, "b")["rests"], 1);
    assert_eq!(backend(&process, "b")["failures"], 1);

    // Another address is another backend, whatever its name.
    reload(
        &process,
        &Config::http(&[busy.origin.addr(), dead_address()]),
    );
    assert_eq!(backend(&process, "b")["rests"], 0);
    for _ in 0..2 {
        busy.open.send(()).unwrap();
    }
    assert_eq!(client.read_response().unwrap().text(), "busy");
    assert_eq!(second.read_response().unwrap().text(), "busy");
    wait_until(
        || backend(&process, "a")["in_flight"] == 0,
        "both places are given back",
    );
}

fn fast_backend() -> Backend {
    Backend::start(&BackendOptions {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        ..BackendOptions::default()
    })
    .unwrap()
}

/// Waits until the process has served, so that load is there when the reloads begin.
fn wait_for_load(process: &Process) {
    wait_until(
        || metric(process, "balance_connections_total{listener=\"web\"}") >= 16.0,
        "wrk has connected",
    );
}

#[test]
fn a_hundred_reloads_under_load_cost_no_request() {
    if !is_here("wrk") {
        return;
    }
    let backends = [(); 3].map(|()| fast_backend());
    let addresses = backends.each_ref().map(Backend::local_addr);
    let [one, two, three] = addresses;
    // Every reload changes backends; every second one has another listener and another route.
    let odd = Config {
        workers: 2,
        ..Config::http(&[one, two])
    };
    let even = Config {
        workers: 2,
        ..Config::http(&[two, three])
    }
    .with(
        "- { name: more, listen: '127.0.0.2:0', mode: http, pool: p }\n\
         routes:\n- { name: r, match: { path: / }, pool: p, \
         transform: { request_headers: [ { action: set, name: X-Even, value: '1' } ] } }",
    );
    let process = odd.start();
    let web = process.listener("web");
    let admin = process.listener("admin");
    let load = Wrk::start(web, "/", 16);
    wait_for_load(&process);
    for number in 1..=100 {
        reload(&process, if number % 2 == 0 { &odd } else { &even });
        if number % 10 == 0 {
            process.write_config("version: 2\nlisteners: [\n").unwrap();
            assert_eq!(post(admin, "/reload").status, 422);
        }
        // Spread over the time of the load.
        pause(Duration::from_millis(45));
    }
    load.finish_without_errors();
    assert_eq!(json(&get(admin, "/status"))["config"]["generation"], 101);
    for backend in &backends {
        assert!(backend.requests() > 0, "{:?}", backend.local_addr());
    }
}
