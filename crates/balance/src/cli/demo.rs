//! `balance demo`: three backends and Balance in front of them, in one process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;

use balance_admin::Server;
use balance_bench::{Backend, BackendOptions};
use balance_config::{Logging, MemorySources};
use balance_control::{Listening, Observer, ProfileFiles, RunOptions};

use super::console;
use super::logging::Log;
use super::run::finish;
use super::version::{REVISION, VERSION};

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Where Balance accepts
    #[arg(long, value_name = "ADDRESS", default_value = ":8080")]
    listen: String,
}

/// Runs until Ctrl-C.
pub(crate) fn run(args: &DemoArgs) -> ExitCode {
    let log = Log::install();
    let backends: Result<Vec<Backend>, _> = (0..BACKENDS).map(start_backend).collect();
    let backends = match backends {
        Ok(backends) => backends,
        Err(error) => {
            console::error(format_args!("cannot start a demo backend: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let addresses: Vec<SocketAddr> = backends.iter().map(Backend::local_addr).collect();
    let mut sources = MemorySources::file(PATH, CONFIG)
        .with_env("DEMO_LISTEN", &args.listen)
        .with_env("DEMO_ADMIN", &free_or_any(ADMIN_PORT).to_string());
    for (index, address) in addresses.iter().enumerate() {
        sources = sources.with_env(&format!("DEMO_BACKEND_{}", index + 1), &address.to_string());
    }
    let result = balance_control::run(RunOptions {
        sources: Box::new(sources),
        path: PATH.to_owned(),
        version: VERSION,
        revision: REVISION,
        admin: Box::new(Server::new()),
        has_admin_socket: false,
        profiles: ProfileFiles::default(),
        observer: Box::new(Guide {
            log,
            backends: addresses,
            listening: Vec::new(),
        }),
    });
    // The backends outlive Balance, so that what is in flight at Ctrl-C still gets its answer.
    drop(backends);
    finish(result)
}

fn start_backend(index: u16) -> Result<Backend, balance_bench::BackendError> {
    Backend::start(&BackendOptions {
        listen: vec![free_or_any(FIRST_PORT + index)],
        name: format!("backend-{}", index + 1),
        identify: true,
        ..BackendOptions::default()
    })
}

/// The usual port on loopback, or any free one when something else has it.
fn free_or_any(port: u16) -> SocketAddr {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(usual) {
        Ok(_) => usual,
        Err(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    }
}

/// Says what to type, once everything is there.
struct Guide {
    log: Log,
    backends: Vec<SocketAddr>,
    listening: Vec<Listening>,
}

impl Observer for Guide {
    fn on_logging(&mut self, logging: &Logging) {
        self.log.apply(logging);
    }

    fn on_listening(&mut self, added: &[Listening]) {
        self.listening.extend_from_slice(added);
    }

    fn on_ready(&mut self) {
        explain(&self.listening, &self.backends);
    }
}

fn explain(listening: &[Listening], backends: &[SocketAddr]) {
    let at = |name: &str| {
        let found = listening.iter().find(|one| one.name == name);
        found.map_or_else(String::new, |one| reachable(&one.address))
    };
    let (web, admin) = (at("demo"), at("admin"));
    let list: Vec<String> = backends.iter().map(ToString::to_string).collect();
    console::line(format_args!(
        "Balance {VERSION} accepts at {web} and balances over {}.\n\
         \n  \
           curl http://{web}/                        the backends answer in turn\n  \
           curl http://{web}/one/                    a route by path, to backend-1 alone\n  \
           curl -H 'X-Demo: two' http://{web}/       a route by header, to backend-2\n  \
           curl -H 'Host: three.test' http://{web}/  a route by host, to backend-3\n  \
           curl http://{web}/hello                   a response of Balance itself\n  \
           curl http://{admin}/pools                 the state of the backends\n  \
           curl http://{admin}/metrics               the metrics\n\
         \nCtrl-C ends it.",
        list.join(", ")
    ));
}

/// An address to type: a wildcard is reached on this machine as localhost.
fn reachable(address: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(ip) if ip.ip().is_unspecified() => format!("localhost:{}", ip.port()),
        _ => address.to_owned(),
    }
}

/// The name of the embedded configuration in diagnostics.
const PATH: &str = "demo.yaml";
const CONFIG: &str = include_str!("../../../../config/demo.yaml");
const BACKENDS: u16 = 3;
const FIRST_PORT: u16 = 9001;
const ADMIN_PORT: u16 = 9090;

#[cfg(test)]
mod tests {
    use balance_config::{MemorySources, load};

    use super::{CONFIG, PATH, reachable};

    #[test]
    fn the_embedded_configuration_is_valid() {
        let loaded = load(&MemorySources::file(PATH, CONFIG), PATH);
        assert!(loaded.config.is_some(), "{:#?}", loaded.diagnostics);
        assert!(loaded.diagnostics.is_empty(), "{:#?}", loaded.diagnostics);
    }

    #[test]
    fn a_wildcard_is_shown_as_localhost() {
        assert_eq!(reachable("[::]:8080"), "localhost:8080");
        assert_eq!(reachable("0.0.0.0:8080"), "localhost:8080");
        assert_eq!(reachable("127.0.0.1:8080"), "127.0.0.1:8080");
    }
}
