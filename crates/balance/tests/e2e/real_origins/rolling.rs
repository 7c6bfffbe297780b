//! All origins are replaced one after the other, under load, as for a release of what they run.

use std::net::SocketAddr;

use balance_testkit::{PATIENCE, Process, Program, RealOrigin, Signal, TempDir};
use serde_json::Value;

use crate::programs::is_here;
use crate::subject::{BINARY, Config, backend, command, metric, post, wait_until};

/// Clients that ask as fast as they are answered, until they are told to end.
struct Load {
    process: Process,
    name: &'static str,
}

impl Load {
    fn start(name: &'static str, web: SocketAddr, path: &str, more: &[&str]) -> Self {
        let folder = TempDir::new("load").unwrap();
        let url = format!("http://{web}{path}");
        let limits = ["--duration", "1h", "--timeout", "60s", "--threads", "1"];
        let clients = ["--connections", "6"];
        let report = ["--json", REPORT];
        let arguments = [
            &["bench", "http", &url],
            &limits[..],
            &clients,
            &report,
            more,
        ];
        let command = command(BINARY, &arguments.concat(), folder.path());
        let process = Process::spawn(command, folder).unwrap();
        Self { process, name }
    }

    /// Ends it: not one request may have failed.
    #[track_caller]
    fn finish_without_errors(mut self) {
        self.process.signal(Signal::Interrupt).unwrap();
        let status = self.process.wait_for_exit(PATIENCE);
        let said = self.process.stdout() + &self.process.stderr();
        assert_eq!(status.code(), Some(0), "{}: {said}", self.name);
        let report = self.process.directory().join(REPORT);
        let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
        let statuses = report["statuses"].as_object().unwrap();
        assert!(statuses.keys().eq(["200"]), "{}: {said}", self.name);
    }
}

/// Three origins of one kind behind Balance, with what an operator sets for the sake of releases.
struct Release {
    program: Program,
    origins: [RealOrigin; 3],
    process: Process,
}

impl Release {
    fn prepare(program: Program, workers: usize) -> Self {
        let origins = [(); 3].map(|()| RealOrigin::start(program).unwrap());
        let protocol = match program {
            Program::NodeHttp2 => "h2",
            _ => "h1",
        };
        let process = Config {
            workers,
            ..Config::http(&origins.each_ref().map(RealOrigin::addr))
        }
        .with_pool(&format!("protocol: {protocol}"))
        .with_pool("health_check: { path: /small.txt, interval: 100ms, timeout: 20s, unhealthy_threshold: 2 }")
        .with_pool("resilience: { retry: { initial_delay: 10ms, max_delay: 100ms } }")
        .start();
        let release = Self {
            program,
            origins,
            process,
        };
        for name in NAMES {
            release.wait_until_probed(name, "pickable");
        }
        release
    }

    fn load(&self, name: &'static str, path: &str, more: &[&str]) -> Load {
        Load::start(name, self.process.listener("web"), path, more)
    }

    fn answered(&self, name: &str) -> f64 {
        let labels = format!("pool=\"p\",backend=\"{name}\"");
        metric(
            &self.process,
            &format!("balance_backend_requests_total{{{labels}}}"),
        )
    }

    fn wait_until_busy(&self, name: &str) {
        let before = self.answered(name);
        wait_until(|| self.answered(name) >= before + 50.0, "it is busy");
    }

    /// Until its probes succeed, and it is in this state.
    fn wait_until_probed(&self, name: &str, state: &str) {
        let is_probed = || {
            let backend = backend(&self.process, name);
            backend["health"]["state"] == "healthy" && backend["state"] == state
        };
        wait_until(is_probed, &format!("{name} is healthy and {state}"));
    }

    fn switch(&self, name: &str, verb: &str) {
        let path = format!("/pools/p/backends/{name}/{verb}");
        let response = post(self.process.listener("admin"), &path);
        assert_eq!(response.status, 200, "{}", response.text());
    }

    /// Stops one and starts it anew on its port; its state is then this one.
    fn restart(&mut self, index: usize, state: &str, stop: impl FnOnce(&mut Process)) {
        let port = self.origins[index].addr().port();
        stop(self.origins[index].process());
        let name = NAMES[index];
        let is_unhealthy = || backend(&self.process, name)["health"]["state"] == "unhealthy";
        wait_until(is_unhealthy, "its end is noticed");
        self.origins[index] = RealOrigin::start_on(self.program, port).unwrap();
        self.wait_until_probed(name, state);
    }
}

/// Drained before it is stopped: nothing is lost that could not be repeated.
fn roll_with_notice(program: Program) {
    if !is_here("node") {
        return;
    }
    // One worker, so that it is known to have seen the ends of idle connections: see below.
    let mut release = Release::prepare(program, 1);
    let loads = [
        release.load("GET over HTTP/1", "/small.txt", &[]),
        release.load("POST over HTTP/1", "/echo", &["--body", "text"]),
        release.load("POST over HTTP/2", "/echo", &["--body", "text", "--h2"]),
    ];
    for (index, name) in NAMES.into_iter().enumerate() {
        release.wait_until_busy(name);
        release.switch(name, "drain");
        wait_until(
            || backend(&release.process, name)["in_flight"] == 0,
            "it has finished",
        );
        release.restart(index, "draining", |origin| {
            origin.terminate();
        });
        // Requests have been served after the end of its idle connections, so none of those is used again.
        release.wait_until_busy(NAMES[(index + 1) % NAMES.len()]);
        release.switch(name, "enable");
        release.wait_until_busy(name);
    }
    loads.into_iter().for_each(Load::finish_without_errors);
}

/// Killed in the middle of its work: nothing is lost that can be repeated.
fn roll_without_notice(program: Program) {
    if !is_here("node") {
        return;
    }
    let mut release = Release::prepare(program, 2);
    let loads = [
        release.load("GET over HTTP/1", "/small.txt", &[]),
        release.load("GET over HTTP/2", "/small.txt", &["--h2"]),
    ];
    for (index, name) in NAMES.into_iter().enumerate() {
        release.wait_until_busy(name);
        release.restart(index, "pickable", |origin| {
            origin.kill();
        });
        release.wait_until_busy(name);
    }
    loads.into_iter().for_each(Load::finish_without_errors);
}

#[test]
fn a_rolling_release_with_drains_costs_nothing_over_http1() {
    roll_with_notice(Program::Node);
}

#[test]
fn a_rolling_release_with_drains_costs_nothing_over_http2() {
    roll_with_notice(Program::NodeHttp2);
}

#[test]
fn killing_all_origins_in_turn_costs_no_get_over_http1() {
    roll_without_notice(Program::Node);
}

#[test]
fn killing_all_origins_in_turn_costs_no_get_over_http2() {
    roll_without_notice(Program::NodeHttp2);
}

const NAMES: [&str; 3] = ["a", "b", "c"];
const REPORT: &str = "report.json";
