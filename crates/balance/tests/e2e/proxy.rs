//! The proxy under test with one HTTP listener. What it counts is asked for by [`crate::subject`].

use std::net::SocketAddr;

use balance_testkit::{Origin, Process, RawClient, Response};

use crate::subject;

/// A running Balance with a listener `web`.
pub(crate) struct Proxy {
    pub(crate) process: Process,
    web: SocketAddr,
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

    /// As [`subject::cause`].
    pub(crate) fn cause(&self, name: &str) -> f64 {
        subject::cause(&self.process, name)
    }

    /// As [`subject::wait_for_cause`].
    #[track_caller]
    pub(crate) fn wait_for_cause(&self, name: &str, count: u32) {
        subject::wait_for_cause(&self.process, name, count);
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

/// What every configuration here begins with. One worker: which connection is taken is known then.
pub(crate) const BASE: &str = "version: 2\n\
    performance: { worker_threads: 1 }\n\
    shutdown: { delay: 0, limit: 5s }\n\
    admin: { listen: '127.0.0.1:0' }\n\
    logging: { access_log: false }\n";
