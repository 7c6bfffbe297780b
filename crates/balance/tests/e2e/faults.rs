//! What becomes of an exchange when a peer fails in the middle of it: the matrix of robustness BE-01 … BE-09 as
//! a table, and death at every byte. For each case: no truncated response that looks complete, no POST that is
//! sent twice, no byte of another exchange, one line in the log with the right cause, and both connections in
//! order afterwards.

mod backends;
mod client;
mod lane;
mod offsets;
mod panics;
mod standstill;
mod table;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};

use balance_testkit::{
    FaultProxy, Origin, Process, Recorded, SilentAddress, TempDir, TlsFront, TlsFrontOptions,
};

use crate::robustness::{THREADS, run_all};
use crate::subject::{Config, dead_address, get, json, metric, wait_until};
use crate::tls::Files;
use client::Version;
use lane::{BIG_BYTE, Lane, request_body, script};
use table::Request;

#[test]
fn every_row_of_the_table_comes_true() {
    let rows = table::rows();
    let road = Road::new(0, Version::Http1);
    run_all(&rows, || road.lane(), |lane, row| lane.run(row));
    road.check();
}

/// The same for clients of HTTP/2, where a response that breaks off is a stream that is reset. How an upload is held back
/// that the backend does not read is told by windows there, and stands in `http2::pressure`.
#[test]
fn every_row_of_the_table_comes_true_for_clients_of_http2() {
    let mut rows = table::rows();
    rows.retain(|row| row.setting.request != Request::Big);
    let road = Road::new(0, Version::Http2);
    run_all(&rows, || road.lane(), |lane, row| lane.run(row));
    road.check();
}

/// One Balance and its lanes.
struct Road {
    process: Process,
    lanes: Vec<Mutex<Lane>>,
    log: TempDir,
    _silent: SilentAddress,
    /// In front of each lane's proxy: one that announces its ends, and one that does not.
    _fronts: Vec<[TlsFront; 2]>,
}

impl Road {
    /// Starts Balance with a lane for each thread, with clients of this version. Bodies have so many bytes more than they need.
    fn new(filler_bytes: usize, version: Version) -> Self {
        let silent = SilentAddress::new();
        let log = TempDir::new("faults").unwrap();
        let makings: Vec<_> = (0..THREADS)
            .map(|_| {
                let origin = Origin::start(script);
                let proxy = FaultProxy::with_addresses(origin.addr(), 2);
                (origin, proxy)
            })
            .collect();
        let files = Files::new();
        let fronts: Vec<[TlsFront; 2]> = makings
            .iter()
            .map(|(_, proxy)| fronts(&files, proxy.addr()))
            .collect();
        let (mut pools, mut routes) = (String::new(), String::from("routes:\n"));
        for (number, (_, proxy)) in makings.iter().enumerate() {
            add_pools(&mut pools, &mut routes, number, proxy, &silent);
            let tls = files.trusted("server_name: a.test");
            for (name, front) in ["tls", "cut"].into_iter().zip(&fronts[number]) {
                add_pool(
                    (&mut pools, &mut routes),
                    &format!("{name}-{number}"),
                    &[front.addr()],
                    &tls,
                );
            }
        }
        let file = log.path().join(LOG_NAME);
        let config = Config {
            pools,
            ..Config::http(&[makings[0].0.addr()])
        };
        let process = config
            .with(&routes)
            .with(&format!("logging: {{ access_log: '{}' }}", file.display()))
            .start();
        let web = process.listener("web");
        let lane = |(number, making)| {
            Mutex::new(Lane::new(number, making, web, version).with_filler(filler_bytes))
        };
        Self {
            lanes: makings.into_iter().enumerate().map(lane).collect(),
            process,
            log,
            _silent: silent,
            _fronts: fronts,
        }
    }

    /// A lane that nobody uses.
    fn lane(&self) -> MutexGuard<'_, Lane> {
        // A poisoned lane's thread has failed, and that is told elsewhere.
        let free = self.lanes.iter().find_map(|lane| lane.try_lock().ok());
        free.unwrap()
    }

    /// What must hold when all cases are over.
    fn check(mut self) {
        let pools = || json(&get(self.process.listener("admin"), "/pools")).to_string();
        wait_until(
            || !pools().replace("\"in_flight\":0", "").contains("in_flight"),
            "nothing is in flight",
        );
        let active = "balance_active_connections{listener=\"web\"}";
        wait_until(
            || metric(&self.process, active) == 0.0,
            "no connection is open",
        );
        for series in [
            "balance_panics_total",
            "balance_access_log_lines_dropped_total",
        ] {
            assert_eq!(metric(&self.process, series), 0.0, "{series}");
        }
        assert_eq!(self.process.terminate().code(), Some(0));
        let causes = causes_in(&self.log);
        for lane in self.lanes {
            let lane = lane.into_inner().unwrap();
            for promise in lane.promises.borrow().iter() {
                let logged = causes.get(&promise.path).map_or(&[][..], Vec::as_slice);
                let is_as_promised = logged.len() == 1 && promise.causes.contains(&logged[0]);
                assert!(is_as_promised, "{}: {logged:?}", promise.title);
            }
            check_requests(&lane.origin.requests());
        }
    }
}

/// The causes that the access log in this folder has for each path.
fn causes_in(log: &TempDir) -> HashMap<String, Vec<String>> {
    let text = std::fs::read_to_string(log.path().join(LOG_NAME)).unwrap();
    let mut causes: HashMap<String, Vec<String>> = HashMap::new();
    for line in text.lines() {
        let path = line.split(' ').find(|word| word.starts_with('/')).unwrap();
        let cause = line.split(" cause=").nth(1).unwrap();
        let cause = cause.split(' ').next().unwrap().to_owned();
        causes.entry(path.to_owned()).or_default().push(cause);
    }
    causes
}

/// The pools of a lane (see the table), each with its route.
fn add_pools(
    pools: &mut String,
    routes: &mut String,
    number: usize,
    proxy: &FaultProxy,
    silent: &SilentAddress,
) {
    let (first, second) = (proxy.addresses()[0], proxy.addresses()[1]);
    let (dead, silent) = (dead_address(), silent.addr());
    let hasty = "timeouts: { connect: 1s, first_byte: 1s, read: 1s, write_progress: 1s }";
    let again = "resilience: { retry: { initial_delay: 1ms, max_delay: 1ms } }";
    let again_hasty = "resilience: { retry: { initial_delay: 1ms, max_delay: 1ms, per_try: 1s, max_attempts: 6 } }";
    for (name, backends, more) in [
        ("one", vec![first], ""),
        ("two", vec![first, second], ""),
        ("hasty", vec![first], hasty),
        ("dead", vec![dead], ""),
        ("dead-next", vec![dead, first], ""),
        ("silent", vec![silent], hasty),
        ("silent-next", vec![silent, first], hasty),
        ("again", vec![first, second], again),
        ("again-hasty", vec![first, second], again_hasty),
        ("again-dead", vec![dead], again),
    ] {
        add_pool(
            (pools, routes),
            &format!("{name}-{number}"),
            &backends,
            more,
        );
    }
}

/// A pool, with more keys, and its route.
fn add_pool(
    (pools, routes): (&mut String, &mut String),
    name: &str,
    backends: &[SocketAddr],
    more: &str,
) {
    let named = backends.iter().zip('a'..);
    let backends: Vec<String> = named
        .map(|(address, name)| format!("{{ name: {name}, address: '{address}' }}"))
        .collect();
    let backends = backends.join(", ");
    pools.push_str(&format!(
        "  {name}: {{ backends: [ {backends} ], {more} }}\n"
    ));
    routes.push_str(&format!(
        "- {{ name: {name}, match: {{ path_prefix: '/{name}/' }}, pool: {name} }}\n"
    ));
}

fn fronts(files: &Files, target: SocketAddr) -> [TlsFront; 2] {
    [false, true].map(|cuts| {
        let options = TlsFrontOptions {
            cuts,
            ..TlsFrontOptions::default()
        };
        files.front(target, "server", &options)
    })
}

/// What the backends saw: nothing that a strict one refuses, every body its own, no POST twice.
fn check_requests(requests: &[Recorded]) {
    let mut posts: HashMap<&str, usize> = HashMap::new();
    for request in requests {
        let target = request.target.as_str();
        assert_eq!(request.violation, None, "{request:?}");
        if request.method == "POST" {
            *posts.entry(target).or_default() += 1;
            let (body, seen) = (request_body(target), request.text());
            let is_its_own = if request.is_complete {
                seen == body
            } else {
                body.starts_with(&seen) || seen.bytes().all(|byte| byte == BIG_BYTE)
            };
            assert!(is_its_own, "{request:?}");
        }
    }
    let repeated: Vec<_> = posts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(repeated.is_empty(), "{repeated:?}");
}

const LOG_NAME: &str = "access.log";
