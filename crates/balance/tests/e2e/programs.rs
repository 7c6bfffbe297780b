//! Programs that people use against Balance: whether they are here, and what they say.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use balance_testkit::{PATIENCE, Process, Signal, TempDir};

use crate::subject::BINARY;

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

/// Where `.ci/install.sh` puts what it takes from registries: beside the profile's folder of the build.
pub(crate) fn peers() -> PathBuf {
    let target = Path::new(BINARY).parent().and_then(Path::parent);
    target.unwrap().join("test-peers")
}

/// Python with the packages that the tests use; `None`, as [`is_here`], when this one is missing.
#[track_caller]
#[expect(
    clippy::print_stderr,
    reason = "a skipped test must not look like a passed one"
)]
pub(crate) fn python_with(package: &str) -> Option<Command> {
    let packages = peers().join("python");
    if !packages.join(package).is_dir() {
        must_be_here(package);
        eprintln!("skipped: Python's {package} is not installed, .ci/install.sh does that");
        return None;
    }
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", packages);
    Some(command)
}

/// Runs a program to its end, which must be a success, and returns what it said.
#[track_caller]
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
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
pub(crate) struct Wrk(Process);

impl Wrk {
    pub(crate) fn start(address: SocketAddr, path: &str, connections: u32) -> Self {
        Self::start_at(&format!("http://{address}{path}"), connections)
    }

    pub(crate) fn start_at(url: &str, connections: u32) -> Self {
        Self::start_with(url, connections, &[])
    }

    /// Each request on a connection of its own.
    pub(crate) fn start_closing(url: &str, connections: u32) -> Self {
        Self::start_with(url, connections, &["-H", "Connection: close"])
    }

    fn start_with(url: &str, connections: u32, args: &[&str]) -> Self {
        let mut command = Command::new("wrk");
        command
            .arg("-t1")
            .arg(format!("-c{connections}"))
            // Longer than any test: they end it.
            .args(["-d120s", "--timeout", "10s"])
            .args(args)
            .arg(url);
        Self(Process::spawn(command, TempDir::new("wrk").unwrap()).unwrap())
    }

    /// Ends it and returns how many requests were answered; not one may have failed.
    #[track_caller]
    pub(crate) fn finish_without_errors(mut self) -> u64 {
        assert!(self.0.is_running(), "{}", self.0.stdout());
        self.0.signal(Signal::Interrupt).unwrap();
        let status = self.0.wait_for_exit(PATIENCE);
        let text = self.0.stdout() + &self.0.stderr();
        assert!(status.success(), "{text}");
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
