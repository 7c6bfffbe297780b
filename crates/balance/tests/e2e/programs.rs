//! Programs that people use against Balance: whether they are here, and what they say.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Whether a program is installed. Where tests must be complete (`CI` is set), a missing one is a failure;
/// elsewhere the test says that it is skipped.
#[track_caller]
#[expect(
    clippy::print_stderr,
    reason = "a skipped test must not look like a passed one"
)]
pub(crate) fn is_here(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).chain(more);
    let is_here = places.any(|place| place.join(program).is_file());
    if !is_here {
        must_be_here(program);
        eprintln!("skipped: {program} is not installed, .ci/install.sh does that");
    }
    is_here
}

/// Fails where tests must be complete.
#[track_caller]
pub(crate) fn must_be_here(what: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "{what} is missing; .ci/install.sh installs it"
    );
}

/// Runs a program to its end, which must be a success, and returns what it said.
#[track_caller]
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    said(program, &output)
}

#[track_caller]
fn said(program: &str, output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} failed ({}):\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// A running wrk: keep-alive clients that ask as fast as they are answered.
pub(crate) struct Wrk(Child);

impl Wrk {
    pub(crate) fn start(address: SocketAddr, path: &str, connections: u32, time: Duration) -> Self {
        let child = Command::new("wrk")
            .arg("-t1")
            .arg(format!("-c{connections}"))
            .arg(format!("-d{}s", time.as_secs()))
            .args(["--timeout", "10s"])
            .arg(format!("http://{address}{path}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Whether it still asks.
    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Waits for its end and returns how many requests were answered; not one may have failed.
    #[track_caller]
    pub(crate) fn finish_without_errors(self) -> u64 {
        let output = self.0.wait_with_output().unwrap();
        let text = said("wrk", &output);
        assert!(!text.contains("Socket errors"), "{text}");
        assert!(!text.contains("Non-2xx"), "{text}");
        let count = text.lines().find_map(|line| {
            let (count, _) = line.trim().split_once(" requests in ")?;
            count.parse().ok()
        });
        let count: u64 = count.unwrap_or_default();
        assert!(count > 0, "{text}");
        count
    }
}
