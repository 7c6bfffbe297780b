//! Real WebSocket clients (ws and Python's websockets, from registries) and a server, with Balance between them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use balance_testkit::{Process, TempDir};

use crate::programs::{is_here, must_be_here, peers, python_with};
use crate::subject::{Config, cause, metric, wait_for_cause, wait_until};
use crate::tls::Files;

/// The folder of the server's and the first client's modules.
#[expect(
    clippy::print_stderr,
    reason = "a skipped test must not look like a passed one"
)]
fn modules() -> Option<PathBuf> {
    let modules = peers().join("node_modules");
    if modules.join("ws").is_dir() {
        return Some(modules);
    }
    must_be_here("the WebSocket client ws");
    eprintln!("skipped: ws is not installed, .ci/install.sh does that");
    None
}

fn script(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../balance-testkit/real");
    folder.join(name)
}

#[test]
fn a_websocket_does_all_that_it_does_without_balance() {
    exercise("ws", |config| config, "");
}

#[test]
fn a_websocket_under_tls_does_all_that_it_does_without_balance() {
    let files = Files::new();
    exercise("wss", |config| files.secured(config), &files.path("ca.pem"));
}

/// The server, running, and where it listens.
fn server(modules: &Path) -> (Process, SocketAddr) {
    let mut node = Command::new("node");
    node.arg(script("websocket_server.js")).arg(modules);
    let server = Process::spawn(node, TempDir::new("websocket").unwrap()).unwrap();
    let port = || {
        let said = server.stdout();
        let (port, _) = said.strip_prefix("listening ")?.split_once('\n')?;
        port.parse::<u16>().ok()
    };
    wait_until(|| port().is_some(), "the server listens");
    let address = SocketAddr::from(([127, 0, 0, 1], port().unwrap()));
    (server, address)
}

/// Runs a client to its end, and waits until the server has said these lines about it.
#[track_caller]
fn check(server: &Process, client: &mut Command, lines: &[&str]) {
    let output = client.output().unwrap();
    assert!(
        output.status.success(),
        "{}{}\nserver: {}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        server.stdout()
    );
    for line in lines {
        let is_said = || server.stdout().lines().any(|one| one == *line);
        wait_until(is_said, line);
    }
}

#[test]
fn a_websocket_client_in_python_ends_one_side_and_hears_the_answer() {
    let (true, Some(modules)) = (is_here("node"), modules()) else {
        return;
    };
    let Some(mut python) = python_with("websockets") else {
        return;
    };
    let files = Files::new();
    let (server, address) = server(&modules);
    let process = files.secured(Config::http(&[address])).start();
    python
        .arg(script("websocket_client.py"))
        .arg(format!("wss://{}", process.listener("web")))
        .arg(files.path("ca.pem"));
    let lines = [
        "open /fragments origin=undefined",
        "closed 1000 ",
        "closed 4003 enough",
        "closed 4004 go away",
        "closed 1006 ", // the one that closed its side without a close frame
    ];
    check(&server, &mut python, &lines);
    // More where the client had to close again.
    wait_until(|| cause(&process, "completed") >= 4.0, "all are completed");
}

/// Lets the client go through what the protocol offers. `authority` is whom it trusts besides those it knows.
fn exercise(scheme: &str, configure: impl FnOnce(Config) -> Config, authority: &str) {
    let (true, Some(modules)) = (is_here("node"), modules()) else {
        return;
    };
    let (server, address) = server(&modules);
    let process = configure(Config::http(&[address])).start();

    let mut client = Command::new("node");
    client
        .arg(script("websocket_client.js"))
        .arg(&modules)
        .arg(format!("{scheme}://{}", process.listener("web")))
        .env("NODE_EXTRA_CA_CERTS", authority);
    let lines = [
        "open /echo?x=1 origin=http://page.test",
        "closed 1000 done",
        "closed 1006 ", // fragments: the client went away without a close frame
        "closed 4001 enough",
        "closed 4002 go away",
    ];
    check(&server, &mut client, &lines);
    wait_for_cause(&process, "completed", 4);
    let switched = "balance_http_requests_total{listener=\"web\",route=\"\",pool=\"p\",method=\"GET\",status=\"101\"}";
    assert_eq!(metric(&process, switched), 4.0);
}
