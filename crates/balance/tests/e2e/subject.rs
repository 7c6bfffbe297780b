//! The Balance under test: its configuration, its process, and short questions to both of its sides.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use balance_testkit::{
    DeadBackend, PATIENCE, Process, ProcessOptions, RawClient, Response, StrictError, TempDir,
    pause,
};
use serde_json::Value;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_balance");

/// A configuration in parts that tests change: the listener `web` over the pool `p`, with an admin listener
/// and one worker, everything on free ports.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) mode: &'static str,
    pub(crate) listen: String,
    /// Flow mappings, in order.
    pub(crate) backends: Vec<String>,
    /// More keys of the pool `p`, in flow style.
    pub(crate) pool: String,
    /// More pools, a line each.
    pub(crate) pools: String,
    /// More keys of the listener, in flow style; at first `pool: p`.
    pub(crate) listener: String,
    pub(crate) workers: usize,
    pub(crate) shutdown: String,
    /// More top-level keys.
    pub(crate) more: String,
}

impl Config {
    /// HTTP over backends that are called `a`, `b`, `c` …
    pub(crate) fn http(backends: &[SocketAddr]) -> Self {
        Self::new("http", backends)
    }

    /// TCP over backends that are called `a`, `b`, `c` …
    pub(crate) fn tcp(backends: &[SocketAddr]) -> Self {
        Self::new("tcp", backends)
    }

    fn new(mode: &'static str, backends: &[SocketAddr]) -> Self {
        let named = backends.iter().zip('a'..);
        Self {
            mode,
            listen: "127.0.0.1:0".to_owned(),
            backends: named
                .map(|(address, name)| format!("{{ name: {name}, address: '{address}' }}"))
                .collect(),
            pool: String::new(),
            pools: String::new(),
            listener: "pool: p".to_owned(),
            workers: 1,
            shutdown: "delay: 0, limit: 5s".to_owned(),
            more: String::new(),
        }
    }

    /// Adds top-level keys.
    pub(crate) fn with(mut self, more: &str) -> Self {
        self.more.push_str(more);
        self.more.push('\n');
        self
    }

    /// Gives the pool `p` another key.
    pub(crate) fn with_pool(mut self, key: &str) -> Self {
        self.pool.push_str(", ");
        self.pool.push_str(key);
        self
    }

    pub(crate) fn with_shutdown(self, shutdown: &str) -> Self {
        Self {
            shutdown: shutdown.to_owned(),
            ..self
        }
    }

    pub(crate) fn yaml(&self) -> String {
        let Self {
            mode,
            listen,
            pool,
            pools,
            listener,
            workers,
            shutdown,
            more,
            ..
        } = self;
        let backends = self.backends.join(", ");
        format!(
            "version: 2\n\
             performance: {{ worker_threads: {workers} }}\n\
             shutdown: {{ {shutdown} }}\n\
             admin: {{ listen: '127.0.0.1:0' }}\n\
             pools:\n  p: {{ backends: [ {backends} ]{pool} }}\n{pools}\
             listeners:\n\
             - {{ name: web, listen: '{listen}', mode: {mode}, {listener} }}\n\
             {more}"
        )
    }

    pub(crate) fn start(&self) -> Process {
        Process::start(BINARY, &self.yaml()).unwrap()
    }

    /// Starts it with so many descriptors.
    pub(crate) fn start_with_descriptors(&self, max: u64) -> Process {
        let options = ProcessOptions {
            descriptors_max: Some(max),
            ..ProcessOptions::default()
        };
        Process::with_options(BINARY, &self.yaml(), &options).unwrap()
    }
}

/// A connection that may be reset as soon as it is accepted; `None`: it was, while the client still connected.
#[track_caller]
pub(crate) fn unless_reset(connecting: io::Result<RawClient>) -> Option<RawClient> {
    match connecting {
        Ok(client) => Some(client),
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
            None
        }
    }
}

/// Whether a client is reset at once.
pub(crate) fn is_reset(address: SocketAddr) -> bool {
    let client = unless_reset(RawClient::connect(address));
    client.is_none_or(|mut client| client.read_to_end() == Err(StrictError::Reset))
}

/// A GET on a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> Response {
    let mut client = RawClient::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    client.exchange(request).unwrap()
}

/// A GET on a connection that is kept.
pub(crate) fn get_on(client: &mut RawClient, path: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    client.exchange(request).unwrap()
}

/// An empty POST on a connection of its own.
pub(crate) fn post(address: SocketAddr, path: &str) -> Response {
    post_body(address, path, "")
}

/// A POST on a connection of its own.
pub(crate) fn post_body(address: SocketAddr, path: &str, body: &str) -> Response {
    let mut client = RawClient::connect(address).unwrap();
    let length = body.len();
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}");
    client.exchange(request).unwrap()
}

pub(crate) fn json(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

/// Replaces the configuration and has it taken, which must succeed.
#[track_caller]
pub(crate) fn reload(process: &Process, config: &Config) {
    process.write_config(&config.yaml()).unwrap();
    let response = post(process.listener("admin"), "/reload");
    assert_eq!(response.status, 200, "{}", response.text());
}

/// What the admin API says about a backend of the pool `p`.
pub(crate) fn backend(process: &Process, name: &str) -> Value {
    let backends = backends(process);
    let found = backends.iter().find(|backend| backend["name"] == name);
    found.unwrap().clone()
}

/// What it says about all of them at the same time.
pub(crate) fn backends(process: &Process) -> Vec<Value> {
    let pools = json(&get(process.listener("admin"), "/pools"));
    let pools = pools["pools"].as_array().unwrap();
    let pool = pools.iter().find(|pool| pool["name"] == "p").unwrap();
    pool["backends"].as_array().unwrap().clone()
}

/// A metric's value; 0 when the series is not there. `series` is the name with its labels.
pub(crate) fn metric(process: &Process, series: &str) -> f64 {
    series_of(&get(process.listener("admin"), "/metrics"), series)
}

/// As [`metric`], in an answer of `/metrics`.
pub(crate) fn series_of(response: &Response, series: &str) -> f64 {
    let text = response.text();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

/// How many exchanges and sessions ended so.
pub(crate) fn cause(process: &Process, name: &str) -> f64 {
    metric(
        process,
        &format!("balance_exchange_cause_total{{cause=\"{name}\"}}"),
    )
}

/// Waits until so many exchanges and sessions have ended so: a client sees the end of its response a moment
/// before it is counted.
#[track_caller]
pub(crate) fn wait_for_cause(process: &Process, name: &str, count: u32) {
    let count = f64::from(count);
    wait_until(|| cause(process, name) >= count, name);
    assert_eq!(cause(process, name), count, "{name}");
}

/// Runs a command to its end. `runtime` is where it looks for admin sockets.
pub(crate) fn balance(args: &[&str], runtime: &Path) -> Output {
    command(BINARY, args, runtime).output().unwrap()
}

/// The same, not run yet, by any name of the program.
pub(crate) fn command(program: impl AsRef<Path>, args: &[&str], runtime: &Path) -> Command {
    let mut command = Command::new(program.as_ref());
    command
        .args(args)
        .env("XDG_RUNTIME_DIR", runtime)
        .env_remove("RUNTIME_DIRECTORY")
        .env_remove("BALANCE_CONFIG")
        .current_dir(runtime);
    command
}

/// A command about a running process.
pub(crate) fn ask(process: &Process, command: &str) -> Output {
    let config = process.config_path();
    balance(
        &[command, "-c", config.to_str().unwrap()],
        process.directory(),
    )
}

/// Runs Balance with a configuration that keeps it from starting.
pub(crate) fn run_to_its_end(config: &str) -> Output {
    let folder = TempDir::new("start").unwrap();
    let file = folder.write("balance.yaml", config).unwrap();
    balance(&["-c", file.to_str().unwrap()], folder.path())
}

/// Both outputs of a command that has ended.
pub(crate) fn text_of(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[track_caller]
pub(crate) fn check_output(output: &Output, code: i32, parts: &[&str]) {
    let text = text_of(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
    assert!(!text.contains("panic"), "{text}");
}

/// Waits for what has no event of its own.
#[track_caller]
pub(crate) fn wait_until(mut is_reached: impl FnMut() -> bool, what: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !is_reached() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        pause(Duration::from_millis(5));
    }
}

/// An address that refuses connections for as long as the tests run.
pub(crate) fn dead_address() -> SocketAddr {
    let backend = DeadBackend::new().unwrap();
    let address = backend.addr();
    // Given back, the port could become another test's.
    std::mem::forget(backend);
    address
}
