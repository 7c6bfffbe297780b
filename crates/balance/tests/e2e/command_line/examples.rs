//! `balance demo` and the examples of the repository, as they are. They have fixed ports, so one test at a time,
//! over all processes of this machine.

use std::collections::HashMap;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use balance_testkit::{
    Origin, OriginOptions, Process, RawClient, Response, Script, Signal, TempDir,
};

use crate::subject::{BINARY, balance, check_output, command, get, wait_until};

/// The right to use the fixed ports, as long as it lives.
struct FixedPorts(File);

impl FixedPorts {
    /// Waits for other tests with an own lock, and for the ports themselves.
    fn take() -> Self {
        let file = File::create(std::env::temp_dir().join("balance-fixed-ports.lock")).unwrap();
        file.lock().unwrap();
        for port in [8080, 9001, 9002, 9003, 9090] {
            wait_until(
                || TcpListener::bind(("0.0.0.0", port)).is_ok(),
                &format!("port {port} is free"),
            );
        }
        Self(file)
    }
}

impl Drop for FixedPorts {
    fn drop(&mut self) {
        // Closing it unlocks it anyway.
        let _ = self.0.unlock();
    }
}

fn folder_of_examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config")
}

fn start(example: &str) -> Process {
    let file = folder_of_examples().join(example);
    let folder = TempDir::new("example").unwrap();
    let run = command(
        BINARY,
        &["run", "-c", file.to_str().unwrap()],
        folder.path(),
    );
    Process::spawn(run, folder).unwrap()
}

/// Origins on 9001 to 9003 that answer with their name.
fn origins(names: [&'static str; 3]) -> Vec<Origin> {
    let start = |(name, port)| origin_at(port, Script::ok(name).header("Server", "origin"));
    names.into_iter().zip(9001..).map(start).collect()
}

fn origin_at(port: u16, script: Script) -> Origin {
    let options = OriginOptions {
        listen: Some(SocketAddr::from(([127, 0, 0, 1], port))),
        ..OriginOptions::default()
    };
    Origin::with_options(options, move |_| script.clone())
}

fn count(texts: impl Iterator<Item = String>) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    counts
}

#[test]
fn every_example_is_valid_without_a_warning() {
    let folder = TempDir::new("examples").unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(folder_of_examples()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            let output = balance(&["check", path.to_str().unwrap()], folder.path());
            let expected = format!("{} is valid\n", path.display());
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn the_tcp_example_spreads_by_weight() {
    let _ports = FixedPorts::take();
    let origins = origins(["one", "two", "three"]);
    let mut process = start("example.yaml");
    let web = process.listener("main");
    assert_eq!(web.port(), 8080);
    let counts = count((0..12).map(|_| get(web, "/").text()));
    assert_eq!((counts["one"], counts["two"], counts["three"]), (6, 4, 2));
    // TCP mode passes bytes as they are.
    assert!(origins[0].requests()[0].header("x-forwarded-for").is_none());

    let mut origins = origins.into_iter();
    let first = origins.next().unwrap();
    let address = first.addr();
    first.stop();
    // Another test that is starting a process has a copy of our descriptors until its exec: whoever connects
    // before that is reset.
    wait_until(
        || TcpStream::connect(address).is_err(),
        "the stopped backend refuses",
    );
    let counts = count((0..6).map(|_| get(web, "/").text()));
    assert!(!counts.contains_key("one"), "{counts:?}");
    assert_eq!(counts.values().sum::<usize>(), 6);
    assert_eq!(process.terminate().code(), Some(0), "{}", process.stderr());
}

fn ask(web: SocketAddr, target: &str, fields: &str) -> Response {
    let mut client = RawClient::connect(web).unwrap();
    let request = format!("GET {target} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
    client.exchange(request).unwrap()
}

#[test]
fn the_http_example_routes_as_its_comments_say() {
    let _ports = FixedPorts::take();
    let origins = origins(["app-1", "app-2", "app-3"]);
    let mut process = start("http.yaml");
    let web = process.listener("main");
    let api = "Host: api.example.com\r\n";
    let canary = "Host: api.example.com\r\nX-Canary: 1\r\n";
    let other = "Host: localhost\r\n";
    // least-connections: equal ones are picked at random, so it takes some until all have had their turn.
    let names =
        |target: &str, fields: &str| count((0..TURNS).map(|_| ask(web, target, fields).text()));
    let on_api = names("/v1/users", api);
    assert!(
        on_api.len() == 2 && !on_api.contains_key("app-3"),
        "{on_api:?}"
    );
    assert_eq!(
        names("/v1/users", canary),
        HashMap::from([("app-3".to_owned(), TURNS)])
    );
    assert_eq!(
        names("/static/logo.png", other),
        HashMap::from([("app-1".to_owned(), TURNS)])
    );
    assert_eq!(names("/", other).len(), 3);

    let response = ask(web, "/", other);
    assert!(response.header("server").is_none(), "{response:?}");
    let seen = origins.iter().flat_map(Origin::requests).next().unwrap();
    assert_eq!(seen.header("x-served-by"), Some("balance"));
    assert_eq!(
        get(SocketAddr::from(([127, 0, 0, 1], 9090)), "/pools").status,
        200
    );
    assert_eq!(process.terminate().code(), Some(0), "{}", process.stderr());
    let lines = process.stdout().lines().count();
    assert_eq!(lines, 4 * TURNS + 1, "a line for each exchange");
}

#[test]
fn the_canary_example_splits_and_mirrors() {
    let _ports = FixedPorts::take();
    let origins = origins(["stable", "canary", "shadow"]);
    let mut process = start("canary.yaml");
    let web = process.listener("web");
    let counts = count((0..40).map(|_| get(web, "/").text()));
    assert_eq!(
        counts,
        HashMap::from([("stable".to_owned(), 38), ("canary".to_owned(), 2)])
    );
    let metrics = SocketAddr::from(([127, 0, 0, 1], 9090));
    let copies = |outcome: &str| -> usize {
        let labels = format!("route=\"app\",pool=\"shadow\",outcome=\"{outcome}\"");
        let text = get(metrics, "/metrics").text();
        let series = format!("balance_mirror_requests_total{{{labels}}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        value.unwrap().parse().unwrap()
    };
    wait_until(
        || copies("sent") + copies("skipped_sample") == 40,
        "each request is copied or was not drawn",
    );
    // Of 40 none or all are drawn once in 10¹¹ runs.
    assert!((1..40).contains(&copies("sent")));
    assert_eq!(origins[2].requests().len(), copies("sent"));
    assert_eq!(process.terminate().code(), Some(0), "{}", process.stderr());
}

#[test]
fn the_health_example_leaves_out_who_does_not_answer_well() {
    let _ports = FixedPorts::take();
    let mut origins = origins(["one", "two", "three"]);
    let mut process = start("health.yaml");
    let web = process.listener("web");
    let who = || count((0..6).map(|_| get(web, "/").text())).len();
    assert_eq!(who(), 3);
    origins.pop().unwrap().stop();
    let pools = SocketAddr::from(([127, 0, 0, 1], 9090));
    wait_until(
        || get(pools, "/pools").text().contains("unhealthy"),
        "it is found out",
    );
    assert_eq!(who(), 2);
    assert_eq!(process.terminate().code(), Some(0), "{}", process.stderr());
}

#[test]
fn the_resilience_example_stops_sending_to_who_fails() {
    let _ports = FixedPorts::take();
    let _well = origin_at(9001, Script::ok("one"));
    let failing = origin_at(9002, Script::status(500));
    let mut process = start("resilience.yaml");
    let web = process.listener("web");
    let pools = SocketAddr::from(([127, 0, 0, 1], 9090));
    wait_until(
        || {
            get(web, "/");
            get(pools, "/pools").text().contains("failures in a row")
        },
        "its breaker opens",
    );
    // One trial may have been made since, on a machine that stood still.
    assert!((5..=6).contains(&failing.requests().len()));
    assert_eq!(process.terminate().code(), Some(0), "{}", process.stderr());
}

#[test]
fn the_routing_example_routes_as_its_comments_say() {
    let _ports = FixedPorts::take();
    let _origins = origins(["one", "two", "three"]);
    let mut process = start("routing.yaml");
    let web = process.listener("web");
    let local = "Host: localhost\r\n";
    let beta = "Host: localhost\r\nCookie: group=beta-2\r\n";
    let tenant = "Host: x.y.example.com\r\n";
    // Every pool answers with each of its backends in turn.
    let rows: [(&str, &str, &[&str]); 6] = [
        ("/v2/users/7", local, &["two", "three"]),
        ("/v2/users/7?preview=1", local, &["three"]),
        ("/v2/users/7", beta, &["three"]),
        ("/img/logo.png", local, &["two", "three"]),
        ("/", tenant, &["two", "three"]),
        ("/", local, &["one", "two"]),
    ];
    for (target, fields, expected) in rows {
        let counts = count((0..4).map(|_| ask(web, target, fields).text()));
        let expected: HashMap<String, usize> = expected
            .iter()
            .map(|name| ((*name).to_owned(), 4 / expected.len()))
            .collect();
        assert_eq!(counts, expected, "{target} {fields:?}");
    }
    let phone = "Host: localhost\r\nUser-Agent: Mozilla (iPhone) Mobile\r\n";
    let redirect = ask(web, "/", phone);
    assert_eq!(redirect.status, 302);
    assert_eq!(redirect.header("location"), Some("https://m.example.com/"));
    assert_eq!(process.terminate().code(), Some(0), "{}", process.stderr());
}

/// With three backends, missing one of them by chance is as likely as one in 10¹¹.
const TURNS: usize = 64;

#[test]
fn the_demo_answers_with_three_backends_in_turn() {
    let _ports = FixedPorts::take();
    let folder = TempDir::new("demo").unwrap();
    let run = command(BINARY, &["demo"], folder.path());
    let mut process = Process::spawn(run, folder).unwrap();
    wait_until(
        || process.stdout().contains("Ctrl-C ends it."),
        "the demo says what to type",
    );
    let guide = process.stdout();
    assert!(guide.contains("accepts at localhost:8080"), "{guide}");
    let web = SocketAddr::from(([127, 0, 0, 1], 8080));
    let texts: Vec<String> = (0..6).map(|_| get(web, "/").text()).collect();
    let first: std::collections::BTreeSet<&String> = texts[..3].iter().collect();
    assert_eq!(first.len(), 3, "{texts:?}");
    assert_eq!(texts[..3], texts[3..], "in turn");

    // Everything that the guide suggests works.
    assert!(get(web, "/one/").text().contains("backend-1"));
    assert!(
        ask(web, "/", "Host: x\r\nX-Demo: two\r\n")
            .text()
            .contains("backend-2")
    );
    assert!(
        ask(web, "/", "Host: three.test\r\n")
            .text()
            .contains("backend-3")
    );
    assert_eq!(get(web, "/hello").text(), "Hello from Balance.\n");
    let admin = SocketAddr::from(([127, 0, 0, 1], 9090));
    assert!(get(admin, "/pools").text().contains("backend-1"));
    assert!(get(admin, "/metrics").text().contains("balance_build_info"));

    // A second one finds other ports for its backends, and says that its own is taken.
    let second = balance(&["demo"], process.directory());
    check_output(&second, 1, &["8080", "in use"]);
    process.signal(Signal::Interrupt).unwrap();
    let status = process.wait_for_exit(balance_testkit::PATIENCE);
    assert_eq!(status.code(), Some(0), "{}", process.stderr());
}
