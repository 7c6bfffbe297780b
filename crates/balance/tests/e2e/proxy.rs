//! The proxy under test with one HTTP listener, and what its metrics say.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use balance_testkit::{Origin, PATIENCE, Process, RawClient, Response, pause};

/// A running Balance with a listener `web` and its metrics.
pub(crate) struct Proxy {
    pub(crate) process: Process,
    web: SocketAddr,
    admin: SocketAddr,
}

impl Proxy {
    /// Starts with this configuration, which has a listener `web` and includes [`BASE`].
    pub(crate) fn start(config: &str) -> Self {
        Self::start_as(config, "web")
    }

    /// As [`Proxy::start`]; its HTTP listener has this name.
    pub(crate) fn start_as(config: &str, listener: &str) -> Self {
        let process = Process::start(env!("CARGO_BIN_EXE_balance"), config).unwrap();
        Self {
            web: process.listener(listener),
            admin: process.listener("admin"),
            process,
        }
    }

    /// Starts with one pool of these backends (`b0`, `b1` …) behind `web`. `more` are further top-level
    /// keys.
    pub(crate) fn over(backends: &[SocketAddr], more: &str) -> Self {
        let backends: String = backends
            .iter()
            .enumerate()
            .map(|(index, address)| format!("    - {{ name: b{index}, address: '{address}' }}\n"))
            .collect();
        Self::start(&format!(
            "{BASE}listeners:\n- {{ name: web, listen: '127.0.0.1:0', mode: http, pool: p }}\n\
             pools:\n  p:\n    backends:\n{backends}{more}\n"
        ))
    }

    /// Starts in front of one origin with all defaults.
    pub(crate) fn before(origin: &Origin) -> Self {
        Self::over(&[origin.addr()], "")
    }

    pub(crate) fn web(&self) -> SocketAddr {
        self.web
    }

    pub(crate) fn connect(&self) -> RawClient {
        RawClient::connect(self.web).unwrap()
    }

    /// One exchange over a connection of its own.
    pub(crate) fn exchange(&self, request: impl AsRef<[u8]>) -> Response {
        self.connect().exchange(request).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.exchange(get(path))
    }

    /// The value of the one sample whose name and labels are these; 0 when there is none.
    pub(crate) fn metric(&self, sample: &str) -> u64 {
        let mut client = RawClient::connect(self.admin).unwrap();
        let text = client.exchange(get("/metrics")).unwrap().text();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// How many exchanges ended with this cause.
    pub(crate) fn cause(&self, name: &str) -> u64 {
        self.metric(&format!("balance_exchange_cause_total{{cause=\"{name}\"}}"))
    }

    /// Waits until so many exchanges have ended with this cause. A client knows the end of its response
    /// a moment before it is counted.
    #[track_caller]
    pub(crate) fn wait_for_cause(&self, name: &str, count: u64) {
        wait_until(&format!("{count} of cause {name}"), || {
            self.cause(name) >= count
        });
        assert_eq!(self.cause(name), count, "{name}");
    }
}

/// Plain GET of a path.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// POST of a body with its length.
pub(crate) fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Waits for what no event tells.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_reached() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        pause(Duration::from_millis(5));
    }
}

/// What every configuration here begins with. One worker: which connection is taken is known then.
pub(crate) const BASE: &str = "version: 2\n\
    performance: { worker_threads: 1 }\n\
    shutdown: { delay: 0, limit: 5s }\n\
    admin: { listen: '127.0.0.1:0' }\n\
    logging: { access_log: false }\n";
