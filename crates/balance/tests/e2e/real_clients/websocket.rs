//! A real WebSocket client and server (ws, from a registry), with Balance between them.

use std::path::{Path, PathBuf};
use std::process::Command;

use balance_testkit::{Process, TempDir};

use crate::programs::{is_here, must_be_here};
use crate::subject::{BINARY, Config, metric, wait_for_cause, wait_until};
use crate::tls::Files;

/// Where `.ci/install.sh` puts what it takes from a registry: beside the profile's folder of the build.
#[expect(
    clippy::print_stderr,
    reason = "a skipped test must not look like a passed one"
)]
fn modules() -> Option<PathBuf> {
    let target = Path::new(BINARY).parent()?.parent()?;
    let modules = target.join("test-peers/node_modules");
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

/// Lets the client go through what the protocol offers. `authority` is whom it trusts besides those it knows.
fn exercise(scheme: &str, configure: impl FnOnce(Config) -> Config, authority: &str) {
    let (true, Some(modules)) = (is_here("node"), modules()) else {
        return;
    };
    let mut node = Command::new("node");
    node.arg(script("websocket_server.js")).arg(&modules);
    let server = Process::spawn(node, TempDir::new("websocket").unwrap()).unwrap();
    wait_until(
        || server.stdout().contains("listening "),
        "the server listens",
    );
    let port = server.stdout();
    let port = port.trim().rsplit(' ').next().unwrap().to_owned();
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    let process = configure(Config::http(&[address])).start();

    let output = Command::new("node")
        .arg(script("websocket_client.js"))
        .arg(&modules)
        .arg(format!("{scheme}://{}", process.listener("web")))
        .env("NODE_EXTRA_CA_CERTS", authority)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}\nserver: {}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        server.stdout()
    );
    wait_until(
        || server.stdout().matches("closed ").count() == 4,
        "all are closed",
    );
    let said = server.stdout();
    for line in [
        "open /echo?x=1 origin=http://page.test",
        "closed 1000 done",
        "closed 1006 ", // fragments: the client went away without a close frame
        "closed 4001 enough",
        "closed 4002 go away",
    ] {
        assert!(
            said.lines().any(|one| one == line),
            "`{line}` is missing in:\n{said}"
        );
    }
    wait_for_cause(&process, "completed", 4);
    let switched = "balance_http_requests_total{listener=\"web\",route=\"\",pool=\"p\",method=\"GET\",status=\"101\"}";
    assert_eq!(metric(&process, switched), 4.0);
}
