//! All backends of a pool are down, and come back: what clients see meanwhile, how often backends are asked, and that
//! nobody has to do anything about it.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use balance_testkit::{HeldPort, Origin, OriginOptions, Process, RawClient, Script};

use crate::http2::raw::RawHttp2;
use crate::subject::{Config, backend, get_on, metric, wait_until};

/// What a client was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    /// Of clients over HTTP/1.
    retry_after: Option<String>,
    cause: Option<String>,
}

/// Clients that ask one after the other and note all answers, until this is dropped.
struct Crowd {
    answers: Arc<Mutex<Vec<Answer>>>,
    is_over: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Crowd {
    /// Half of them speak HTTP/1, half HTTP/2.
    fn start(web: SocketAddr) -> Self {
        let answers = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let threads = (0..CLIENTS).map(|number| {
            let (answers, is_over) = (Arc::clone(&answers), Arc::clone(&is_over));
            std::thread::spawn(move || {
                let mut ask = client(web, number % 2 == 0);
                while !is_over.load(Ordering::Relaxed) {
                    let answer = ask();
                    answers.lock().unwrap().push(answer);
                }
            })
        });
        Self {
            threads: threads.collect(),
            answers,
            is_over,
        }
    }

    fn answers(&self) -> Vec<Answer> {
        self.answers.lock().unwrap().clone()
    }

    /// Waits for so many more answers, and returns those.
    #[track_caller]
    fn next(&self, count: usize) -> Vec<Answer> {
        let before = self.answers().len();
        wait_until(|| self.answers().len() >= before + count, "answers come");
        self.answers().split_off(before)
    }

    /// Ends it. A client that was not answered has failed.
    fn end(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// One client on one connection that is kept.
fn client(web: SocketAddr, is_http1: bool) -> Box<dyn FnMut() -> Answer> {
    if is_http1 {
        let mut client = RawClient::connect(web).unwrap();
        return Box::new(move || {
            let response = get_on(&mut client, "/");
            assert!(response.keeps_alive(), "{response:?}");
            let field = |name| response.header(name).map(str::to_owned);
            Answer {
                status: response.status,
                retry_after: field("retry-after"),
                cause: field("proxy-status"),
            }
        });
    }
    let mut client = RawHttp2::connect(web);
    Box::new(move || {
        let stream = client.ask("/");
        let (status, _) = client.response(stream).unwrap();
        Answer {
            status,
            retry_after: None,
            cause: None,
        }
    })
}

fn is_served(answers: &[Answer]) -> bool {
    answers.iter().all(|answer| answer.status == 200)
}

/// Waits until nothing but 200 comes: what was refused before is on its way for a moment.
fn wait_until_served(crowd: &Crowd) {
    wait_until(|| is_served(&crowd.next(10 * CLIENTS)), "all are served");
}

/// All have this status, but for one that each client may have been about to note; those over HTTP/1 are told why, and
/// when to come again.
fn check_refusals(answers: &[Answer], status: u16, cause: &str, retry_after: Option<&str>) {
    let (refused, others): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == status);
    assert!(others.len() <= CLIENTS, "{others:?}");
    let told: Vec<_> = refused.iter().filter(|one| one.cause.is_some()).collect();
    assert!(!told.is_empty(), "{refused:?}");
    for answer in told {
        assert_eq!(answer.cause.as_deref(), Some(cause));
        assert_eq!(answer.retry_after.as_deref(), retry_after);
    }
}

fn origin_at(address: SocketAddr) -> Origin {
    // A process that another test is just starting has a copy of the last listener, until it is itself.
    wait_until(|| TcpListener::bind(address).is_ok(), "nobody listens");
    let options = OriginOptions {
        listen: Some(address),
        ..OriginOptions::default()
    };
    Origin::with_options(options, |_| Script::ok("here"))
}

/// How often a backend's breaker has opened.
fn openings(process: &Process, name: &str) -> u64 {
    let breaker = &backend(process, name)["circuit_breaker"];
    breaker["openings"].as_u64().unwrap()
}

/// Three backends that stop listening, all at once, and a crowd that goes on asking.
struct Outage {
    ports: [HeldPort; 3],
    origins: Vec<Origin>,
    process: Process,
    crowd: Crowd,
}

impl Outage {
    /// `more` is what the pool has besides its backends.
    fn begin(more: &str) -> Self {
        let ports = [(); 3].map(|()| HeldPort::new().unwrap());
        let addresses = ports.each_ref().map(HeldPort::addr);
        let origins: Vec<Origin> = addresses.into_iter().map(origin_at).collect();
        let config = Config {
            workers: 2,
            ..Config::http(&addresses)
        };
        let process = config.with_pool(more).start();
        let crowd = Crowd::start(process.listener("web"));
        assert!(is_served(&crowd.next(20 * CLIENTS)));
        origins.into_iter().for_each(Origin::stop);
        Self {
            ports,
            origins: Vec::new(),
            process,
            crowd,
        }
    }

    /// Until all are refused with this status.
    fn wait_until_refused(&self, status: u16) {
        let are_refused = || {
            let answers = self.crowd.next(CLIENTS);
            answers.iter().all(|answer| answer.status == status)
        };
        wait_until(are_refused, "all are refused");
    }

    /// Connections that could not be opened, to all three.
    fn failed_connects(&self) -> f64 {
        let of = |name| {
            let labels = format!("{{pool=\"p\",backend=\"{name}\"}}");
            let series = format!("balance_backend_connect_failures_total{labels}");
            metric(&self.process, &series)
        };
        NAMES.into_iter().map(of).sum()
    }

    /// They listen again; nobody does anything else.
    fn end(mut self) {
        let addresses = self.ports.each_ref().map(HeldPort::addr);
        self.origins = addresses.into_iter().map(origin_at).collect();
        wait_until(|| are_pickable(&self.process), "they are back");
        wait_until_served(&self.crowd);
        for origin in &self.origins {
            origin.wait_for(1);
        }
        self.crowd.end();
        for origin in &self.origins {
            // No stampede: each client has one exchange at a time, and connections are kept. Probes go on, one at a time:
            // connections are counted first, and the request of the last one may not have been read yet.
            let connections = origin.connections();
            let requests = origin.requests();
            let probes = requests.iter().filter(|seen| seen.target == PROBED).count();
            let most = CLIENTS + probes + 1;
            assert!(connections <= most, "{connections} of {most}");
        }
    }
}

fn are_pickable(process: &Process) -> bool {
    let is_pickable = |name| backend(process, name)["state"] == "pickable";
    NAMES.into_iter().all(is_pickable)
}

/// Where all rest, each is tried all the same, so that the first request after their return succeeds.
#[test]
fn backends_that_refuse_are_asked_once_each_and_come_back() {
    let outage = Outage::begin("protocol: h1");
    outage.wait_until_refused(502);
    let before = outage.failed_connects();
    let answers = outage.crowd.next(40 * CLIENTS);
    check_refusals(&answers, 502, "balance; error=connection_refused", None);
    // In this order: answers go on while it is asked for.
    let connects = outage.failed_connects() - before;
    let most = NAMES.len() * outage.crowd.answers().len() + UNDER_WAY_MAX;
    assert!(connects <= most as f64, "{connects} of {most}");
    outage.end();
}

#[test]
fn backends_whose_probes_are_refused_are_not_asked_and_come_back() {
    let check = format!("{{ path: {PROBED}, interval: 50ms, timeout: 20s }}");
    let outage = Outage::begin(&format!("health_check: {check}"));
    outage.wait_until_refused(503);
    let before = outage.failed_connects();
    let answers = outage.crowd.next(40 * CLIENTS);
    let cause = "balance; error=destination_unavailable";
    check_refusals(&answers, 503, cause, Some("1"));
    let connects = outage.failed_connects() - before;
    assert!(connects <= UNDER_WAY_MAX as f64, "{connects}");
    outage.end();
}

/// They accept, and break off every request: only circuit breakers keep requests from them.
#[test]
fn backends_that_break_off_are_asked_by_trials_alone() {
    let is_well = Arc::new(AtomicBool::new(true));
    let origins = [(); 3].map(|()| {
        let is_well = Arc::clone(&is_well);
        Origin::start(move |_| match is_well.load(Ordering::Relaxed) {
            true => Script::ok("here"),
            false => Script::reset(),
        })
    });
    let breaker = format!("{{ max_failures: {MAX_FAILURES}, timeout: 100ms }}");
    let config = Config {
        workers: 2,
        ..Config::http(&origins.each_ref().map(Origin::addr))
    };
    let process = config
        .with_pool(&format!("resilience: {{ circuit_breaker: {breaker} }}"))
        .start();
    let crowd = Crowd::start(process.listener("web"));
    assert!(is_served(&crowd.next(20 * CLIENTS)));
    let served = origins.each_ref().map(Origin::connections);

    is_well.store(false, Ordering::Relaxed);
    let are_open = || {
        let has_failed = |name| openings(&process, name) >= 3;
        NAMES.into_iter().all(has_failed)
    };
    wait_until(are_open, "breakers open, and trials fail");
    let mut refused = crowd.next(40 * CLIENTS);
    // But for the trials, which are told how they failed.
    refused.retain(|answer| answer.status != 502);
    let cause = "balance; details=\"circuit_open\"";
    check_refusals(&refused, 503, cause, Some("1"));
    for (index, name) in NAMES.into_iter().enumerate() {
        let attempts = origins[index].connections() - served[index];
        let openings = openings(&process, name);
        // Whoever was on the way when it opened, on a kept connection and then on a new one; and the trials, each of
        // which has opened it again, or is under way.
        let most = 2 * (CLIENTS as u64 + MAX_FAILURES) + openings + 1;
        assert!(attempts as u64 <= most, "{name}: {attempts} of {most}");
    }

    is_well.store(true, Ordering::Relaxed);
    let are_closed = || {
        NAMES
            .iter()
            .all(|name| backend(&process, name)["state"] == "pickable")
    };
    wait_until(are_closed, "they are back");
    wait_until_served(&crowd);
    crowd.end();
}

const NAMES: [&str; 3] = ["a", "b", "c"];
const CLIENTS: usize = 8;
/// Each client's request may have an attempt at each backend.
const UNDER_WAY_MAX: usize = 3 * CLIENTS;
const PROBED: &str = "/up";
const MAX_FAILURES: u64 = 3;
