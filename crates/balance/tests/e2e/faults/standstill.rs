//! A process that stands still (SIGSTOP, a frozen container) and goes on after its deadlines have passed: what
//! came meanwhile is not late, what did not come is, and nothing is done twice. Balance stands still, or a backend.

use std::process::Command;
use std::time::{Duration, Instant};

use balance_testkit::{
    Origin, OriginOptions, Process, RawClient, Response, Script, Signal, StrictError, TempDir,
    pause,
};
use serde_json::json;

use crate::subject::{BINARY, Config, backend, get, get_on, wait_for_cause, wait_until};

/// How long something stands still. `ci/long` has it for the ten seconds of robustness §6.
fn standstill() -> Duration {
    let seconds = std::env::var("BALANCE_STANDSTILL_SECONDS").ok();
    Duration::from_secs(seconds.map_or(2, |seconds| seconds.parse().unwrap()))
}

/// Deadlines that have passed after a standstill.
fn hasty() -> String {
    let after = standstill().as_millis() * 3 / 4;
    let names = [
        "connect",
        "head",
        "first_byte",
        "read",
        "write_progress",
        "idle",
        "tunnel",
    ];
    let deadlines = names.map(|name| format!("{name}: {after}ms")).join(", ");
    format!("timeouts: {{ {deadlines} }}")
}

/// Stops the process, does something, and lets it go on when it has stood still for long enough.
fn while_it_stands_still<R>(process: &Process, act: impl FnOnce() -> R) -> R {
    let since = Instant::now();
    process.signal(Signal::Stop).unwrap();
    wait_until(|| is_stopped(process), "it stands still");
    let result = act();
    pause(standstill().saturating_sub(since.elapsed()));
    process.signal(Signal::Continue).unwrap();
    result
}

fn is_stopped(process: &Process) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// What a client did before and while Balance stood still, on a connection that has had an exchange.
struct Case {
    name: &'static str,
    before: &'static str,
    meanwhile: &'static str,
    /// The status that it sees then; `None` when its connection is closed.
    status: Option<u16>,
}

const fn case(
    name: &'static str,
    before: &'static str,
    meanwhile: &'static str,
    status: Option<u16>,
) -> Case {
    Case {
        name,
        before,
        meanwhile,
        status,
    }
}

const CASES: [Case; 9] = [
    case(
        "a request came",
        "",
        "GET /a HTTP/1.1\r\nHost: t\r\n\r\n",
        Some(200),
    ),
    case(
        "the rest of a head came",
        "GET /b HTTP/1.1\r\nHo",
        "st: t\r\n\r\n",
        Some(200),
    ),
    case(
        "the rest of a body came",
        "POST /c HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nab",
        "cd",
        Some(200),
    ),
    case(
        "a response came",
        "GET /slow HTTP/1.1\r\nHost: t\r\n\r\n",
        "",
        Some(200),
    ),
    case(
        "the rest of a response came",
        "GET /halting HTTP/1.1\r\nHost: t\r\n\r\n",
        "",
        Some(200),
    ),
    case("no request came", "", "", None),
    case(
        "no rest of a head came",
        "GET /d HTTP/1.1\r\nHo",
        "",
        Some(408),
    ),
    case(
        "no rest of a body came",
        "POST /e HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nab",
        "",
        Some(408),
    ),
    case(
        "no response came",
        "GET /never HTTP/1.1\r\nHost: t\r\n\r\n",
        "",
        Some(504),
    ),
];

impl Case {
    fn check(&self, client: &mut RawClient) {
        let answer = client.read_response();
        let status = answer.as_ref().map(|answer| answer.status).ok();
        assert_eq!(status, self.status, "{}: {answer:?}", self.name);
        if self.status.is_none() {
            assert_eq!(answer.err(), Some(StrictError::Closed), "{}", self.name);
        }
    }
}

/// An origin whose slow answers come during a standstill.
fn origin() -> Origin {
    let during = standstill() / 2;
    Origin::start(move |request| match request.target.as_str() {
        "/slow" => Script::ok("here").delay(during),
        "/halting" => Script::ok("here").pause_at(60, during),
        "/never" => Script::never(),
        "/ws" => Script::upgrade("websocket"),
        _ => Script::ok("here"),
    })
}

fn connect(process: &Process) -> RawClient {
    RawClient::connect(process.listener("web")).unwrap()
}

fn post(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody")
}

#[test]
fn what_came_while_balance_stood_still_is_not_late() {
    const CROWD: usize = 200;
    let origin = origin();
    let process = Config::http(&[origin.addr()]).with(&hasty()).start();
    let mut clients: Vec<_> = CASES
        .iter()
        .map(|case| {
            let mut client = connect(&process);
            assert_eq!(get_on(&mut client, "/first").text(), "here");
            client.send(case.before).unwrap();
            client
        })
        .collect();
    let mut tunnel = connect(&process);
    let upgrade =
        "GET /ws HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(tunnel.exchange(upgrade).unwrap().status, 101);
    for target in ["/c", "/slow", "/halting", "/e", "/never"] {
        origin.wait_for_head_of(target);
    }
    let mut crowd = while_it_stands_still(&process, || {
        tunnel.send("ping").unwrap();
        for (case, client) in CASES.iter().zip(&mut clients) {
            client.send(case.meanwhile).unwrap();
        }
        let ask = |number| {
            let mut client = connect(&process);
            let path = format!("/crowd/{number}");
            client
                .send(format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n"))
                .unwrap();
            client
        };
        (0..CROWD).map(ask).collect::<Vec<_>>()
    });
    for (case, client) in CASES.iter().zip(&mut clients) {
        case.check(client);
    }
    for client in &mut crowd {
        assert_eq!(client.read_response().unwrap().text(), "here");
    }
    assert_eq!(tunnel.read_exact(4).unwrap(), b"ping");
    drop((tunnel, clients, crowd));

    // Nothing was sent twice, and the backend is not blamed.
    let mut targets: Vec<_> = origin
        .requests()
        .into_iter()
        .map(|each| each.target)
        .collect();
    targets.retain(|target| target != "/first");
    let sent = targets.len();
    targets.sort();
    targets.dedup();
    assert_eq!(targets.len(), sent);
    assert_eq!(backend(&process, "a")["rests"], 0);
    wait_for_cause(&process, "client_timeout", 2);
    wait_for_cause(&process, "http_response_timeout", 1);
    let answered = CASES.iter().filter(|case| case.status == Some(200));
    let completed = CASES.len() + answered.count() + CROWD + 1;
    wait_for_cause(&process, "completed", u32::try_from(completed).unwrap());
}

/// The deadline of an idle connection passes at the backend, too, and its FIN came meanwhile.
#[test]
fn what_a_backend_closed_meanwhile_is_not_used_again() {
    let options = OriginOptions {
        idle_timeout: Some(standstill() / 4),
        ..OriginOptions::default()
    };
    let origin = Origin::with_options(options, |_| Script::ok("here"));
    let process = Config::http(&[origin.addr()]).start();
    let mut clients: Vec<_> = (0..20).map(|_| connect(&process)).collect();
    for client in &mut clients {
        client.send(post("/before")).unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.read_response().unwrap().status, 200);
    }
    while_it_stands_still(&process, || {
        for client in &mut clients {
            client.send(post("/meanwhile")).unwrap();
        }
        origin.wait_for_open_connections(0);
    });
    for client in &mut clients {
        // A POST that was sent may not be sent again: it would be lost.
        assert_eq!(client.read_response().unwrap().status, 200);
    }
    assert_eq!(origin.requests().len(), 40);
}

#[test]
fn a_stop_that_comes_meanwhile_loses_nothing() {
    let origin = origin();
    let mut process = Config::http(&[origin.addr()]).with(&hasty()).start();
    let mut waiting = connect(&process);
    waiting
        .send("GET /slow HTTP/1.1\r\nHost: t\r\n\r\n")
        .unwrap();
    origin.wait_for_head_of("/slow");
    let mut new = while_it_stands_still(&process, || {
        process.signal(Signal::Terminate).unwrap();
        let mut new = connect(&process);
        new.send("GET /new HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
        new
    });
    for client in [&mut waiting, &mut new] {
        assert_eq!(client.read_response().unwrap().text(), "here");
        assert_eq!(client.read_to_end(), Ok(Vec::new()));
    }
    assert_eq!(
        process.wait_for_exit(balance_testkit::PATIENCE).code(),
        Some(0)
    );
}

/// The limit of a stop is a deadline as any other: what came is sent, what did not come is cut off.
#[test]
fn a_stop_whose_limit_passed_meanwhile_loses_nothing_that_came() {
    let origin = origin();
    let limit = standstill().as_millis() * 3 / 4;
    let mut process = Config::http(&[origin.addr()])
        .with_shutdown(&format!("delay: 0, limit: {limit}ms"))
        .start();
    let [mut came, mut never] = ["/slow", "/never"].map(|target| {
        let mut client = connect(&process);
        client
            .send(format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n"))
            .unwrap();
        origin.wait_for_head_of(target);
        client
    });
    let web = process.listener("web");
    process.signal(Signal::Terminate).unwrap();
    wait_until(|| RawClient::connect(web).is_err(), "the limit runs");
    while_it_stands_still(&process, || ());
    assert_eq!(came.read_response().unwrap().text(), "here");
    assert_eq!(never.read_response().unwrap().status, 503);
    assert_eq!(
        process.wait_for_exit(balance_testkit::PATIENCE).code(),
        Some(0)
    );
}

/// The built-in origin, in a process of its own.
fn separate_backend() -> (Process, std::net::SocketAddr) {
    let mut command = Command::new(BINARY);
    command.args(["bench", "backend", "--listen", "127.0.0.1:0"]);
    let process = Process::spawn(command, TempDir::new("backend").unwrap()).unwrap();
    let address = || {
        process
            .stdout()
            .split_whitespace()
            .find_map(|word| word.parse().ok())
    };
    wait_until(|| address().is_some(), "it says where it listens");
    let address = address().unwrap();
    (process, address)
}

/// The kernel accepts for a backend that stands still: each request there waits until its deadline, the others
/// are none the worse, and it is the same as before afterwards.
#[test]
fn a_backend_that_stands_still_costs_what_waits_for_it() {
    const CLIENTS: usize = 20;
    let origin = Origin::answering(Script::ok("other"));
    let (stopped, address) = separate_backend();
    let both = format!(
        "{{ name: a, address: '{address}' }}, {{ name: b, address: '{}' }}",
        origin.addr()
    );
    let config = Config {
        pools: format!("  hasty: {{ backends: [ {both} ], {} }}\n", hasty()),
        ..Config::http(&[address, origin.addr()])
    };
    let process = config
        .with("routes:\n- { name: hasty, match: { path_prefix: /hasty }, pool: hasty }")
        .start();
    let mut clients = while_it_stands_still(&stopped, || {
        let paths = ["/patient", "/hasty"].map(|path| [path; CLIENTS]);
        let clients: Vec<_> = paths
            .into_iter()
            .flatten()
            .map(|path| {
                let mut client = connect(&process);
                client.send(post(path)).unwrap();
                (path, client)
            })
            .collect();
        // Half of each had the other backend.
        wait_for_cause(&process, "completed", CLIENTS as u32);
        clients
    });
    let answers: Vec<(&str, Response)> = clients
        .iter_mut()
        .map(|(path, client)| (*path, client.read_response().unwrap()))
        .collect();
    let count = |path: &str, status: u16| {
        let same = answers
            .iter()
            .filter(|(each, answer)| *each == path && answer.status == status);
        same.count()
    };
    assert_eq!(count("/patient", 200), CLIENTS);
    assert_eq!(count("/hasty", 200), CLIENTS / 2);
    assert_eq!(count("/hasty", 504), CLIENTS / 2);
    assert_eq!(
        origin.requests().len(),
        CLIENTS,
        "no request went elsewhere"
    );
    wait_for_cause(&process, "http_response_timeout", CLIENTS as u32 / 2);
    for name in ["a", "b"] {
        let state = backend(&process, name);
        assert_eq!(
            (&state["rests"], &state["in_flight"]),
            (&json!(0), &json!(0))
        );
    }
    // Answers that came too late are nobody's: each client of it has one answer, and its turns are as before.
    let web = process.listener("web");
    let others = (0..10).filter(|_| get(web, "/hasty").text() == "other");
    assert_eq!(others.count(), 5);
}
