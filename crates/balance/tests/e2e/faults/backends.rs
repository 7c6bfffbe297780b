//! Backends of HTTP/2 that fail in the middle of an exchange: the rows of tests/data/faults_http2.txt (the format is
//! described at its top), for clients of both versions.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use balance_testkit::http2::{DATA, END_STREAM, Frame, GOAWAY, Http2Backend, Http2Peer, RESET};
use balance_testkit::{Process, StrictError, TempDir};

use super::client::{Answer, Client, Version};
use super::lane::{encode, request_body};
use super::table::Request;
use super::{LOG_NAME, causes_in};
use crate::robustness::{Outcome, run_all};
use crate::subject::{Config, dead_address, metric, wait_until};

/// One exchange, its fault, and what must become of it.
#[derive(Clone, Debug)]
struct Row {
    line: usize,
    request: Request,
    pool: String,
    is_reused: bool,
    /// `PLACE=ACTION`.
    fault: String,
    outcome: String,
    cause: String,
    asked: usize,
    /// `-`: there is none.
    backend: String,
}

/// What a backend knows of all its connections.
#[derive(Default)]
struct Seen {
    /// Connections that are closed by both sides.
    ended: AtomicUsize,
    /// How often each case was asked for (what is marked in its target), with the bodies that came whole.
    asked: Mutex<HashMap<String, Vec<Option<String>>>>,
}

/// A pool's backend.
struct Behind {
    backend: Http2Backend,
    seen: Arc<Seen>,
}

/// A Balance and the backends behind it, for clients of one version.
struct Place {
    version: Version,
    process: Process,
    log: TempDir,
    /// By pool.
    behind: HashMap<&'static str, Behind>,
    cases: AtomicUsize,
    /// By target: the title, and what the access log must say.
    promises: Mutex<HashMap<String, (String, String)>>,
}

#[test]
fn backends_of_http2_fail_clients_of_http1_as_the_table_says() {
    play(Version::Http1);
}

#[test]
fn backends_of_http2_fail_clients_of_http2_as_the_table_says() {
    play(Version::Http2);
}

fn play(version: Version) {
    let place = Place::start(version);
    let mut of_pools: HashMap<String, Vec<Row>> = HashMap::new();
    for row in rows() {
        of_pools.entry(row.pool.clone()).or_default().push(row);
    }
    // Those of a pool one after the other, so that it is known which connection a request meets.
    let of_pools: Vec<Vec<Row>> = of_pools.into_values().collect();
    let run = |rows: &Vec<Row>| {
        let failures: Vec<String> = rows.iter().filter_map(|row| place.run(row).err()).collect();
        match failures.is_empty() {
            true => Ok(()),
            false => Err(failures.join("\n")),
        }
    };
    run_all(&of_pools, || (), |(), rows| run(rows));
    place.check();
}

impl Behind {
    fn start() -> Self {
        let seen = Arc::new(Seen::default());
        let known = Arc::clone(&seen);
        let backend = Http2Backend::start(move |peer| {
            peer.settings(&[]);
            while serve(peer, &known) {}
            known.ended.fetch_add(1, Ordering::AcqRel);
        });
        Self { backend, seen }
    }
}

impl Place {
    fn start(version: Version) -> Self {
        let log = TempDir::new("faults-http2").unwrap();
        let hasty = "timeouts: { first_byte: 1s, read: 1s, write_progress: 1s }";
        let retry = |more: &str| {
            format!("resilience: {{ retry: {{ initial_delay: 1ms, max_delay: 1ms{more} }} }}")
        };
        let (mut pools, mut routes) = (String::new(), String::from("routes:\n"));
        let mut behind = HashMap::new();
        for (name, more) in [
            ("one", ""),
            ("hasty", hasty),
            ("again", &retry("")),
            ("again-hasty", &retry(", per_try: 1s")),
        ] {
            let started = Behind::start();
            let more = format!("protocol: h2, {more}");
            let addresses = [started.backend.addr()];
            super::add_pool((&mut pools, &mut routes), name, &addresses, &more);
            behind.insert(name, started);
        }
        let dead = dead_address();
        super::add_pool((&mut pools, &mut routes), "dead", &[dead], "protocol: h2");
        let file = log.path().join(LOG_NAME);
        let config = Config {
            pools,
            ..Config::http(&[dead])
        };
        let process = config
            .with(&routes)
            .with(&format!("logging: {{ access_log: '{}' }}", file.display()))
            .start();
        Self {
            version,
            process,
            log,
            behind,
            cases: AtomicUsize::new(0),
            promises: Mutex::default(),
        }
    }

    fn target(&self, pool: &str, fault: &str) -> String {
        let case = self.cases.fetch_add(1, Ordering::Relaxed);
        format!("/{pool}/{MARK}{case:06}={fault}{MARK}")
    }

    fn client(&self) -> Client {
        Client::connect(self.version, self.process.listener("web"))
    }

    fn get(&self, client: &mut Client, target: &str) -> Result<(), String> {
        let encoded = encode(Request::Get, target);
        match client.exchange(Request::Get, target, &encoded) {
            Ok(answer) if answer.status == 200 && answer.text == ANSWER => Ok(()),
            other => Err(format!("{target}: {other:?}")),
        }
    }

    /// Sees to it that the next request meets a connection, or none.
    fn prepare(&self, row: &Row) -> Result<(), String> {
        let Some(behind) = self.behind.get(row.pool.as_str()) else {
            return Ok(());
        };
        if row.is_reused {
            return self.get(&mut self.client(), &self.target(&row.pool, "no=fault"));
        }
        // One after the other, as a request that was refused has opened a second one. Balance closes its side when it knows.
        loop {
            let ended = behind.seen.ended.load(Ordering::Acquire);
            self.get(&mut self.client(), &self.target(&row.pool, "at-end=close"))?;
            let has_ended = || behind.seen.ended.load(Ordering::Acquire) > ended;
            wait_until(has_ended, "the connection is closed");
            if behind.backend.connections() == behind.seen.ended.load(Ordering::Acquire) {
                return Ok(());
            }
        }
    }

    fn run(&self, row: &Row) -> Outcome {
        let title = format!("{:?} {row:?}", self.version);
        self.play(row, &title)
            .map_err(|problem| format!("line {}: {title}: {problem}", row.line))
    }

    fn play(&self, row: &Row, title: &str) -> Result<(), String> {
        self.prepare(row)?;
        let target = self.target(&row.pool, &row.fault);
        let mut client = self.client();
        let encoded = encode(row.request, &target);
        let result = match row.request {
            Request::Uploading => {
                let held_bytes = request_body(&target).len() / 2;
                client.upload(&target, &encoded, held_bytes)
            }
            request => client.exchange(request, &target, &encoded),
        };
        let outcome = outcome(&result)?;
        if outcome != row.outcome {
            return Err(format!("{outcome}: {result:?}"));
        }
        let promise = (title.to_owned(), row.cause.clone());
        self.promises
            .lock()
            .unwrap()
            .insert(target.clone(), promise);
        let mut next = match client.is_kept(&result) {
            true => client,
            false => self.client(),
        };
        let Some(behind) = self.behind.get(row.pool.as_str()) else {
            return self.get(&mut next, &self.target("one", "no=fault"));
        };
        let before = behind.backend.connections();
        self.get(&mut next, &self.target(&row.pool, "no=fault"))?;
        let is_kept = behind.backend.connections() == before;
        let asked = behind.seen.asked.lock().unwrap();
        let key = target.split(MARK).nth(1).unwrap();
        let bodies = asked.get(key).map_or(&[][..], Vec::as_slice);
        let body = match row.request {
            Request::Get => String::new(),
            _ => request_body(&target),
        };
        let is_as_asked =
            bodies.len() == row.asked && bodies.iter().flatten().all(|seen| *seen == body);
        let is_as_told = match row.backend.as_str() {
            "kept" => is_kept,
            "closed" => !is_kept,
            _ => true,
        };
        if is_as_asked && is_as_told {
            Ok(())
        } else {
            Err(format!("asked {bodies:?}, kept: {is_kept}"))
        }
    }

    /// What must hold when all rows are over.
    fn check(mut self) {
        assert_eq!(metric(&self.process, "balance_panics_total"), 0.0);
        assert_eq!(self.process.terminate().code(), Some(0));
        let causes = causes_in(&self.log);
        for (target, (title, cause)) in &*self.promises.lock().unwrap() {
            assert_eq!(causes.get(target), Some(&vec![cause.clone()]), "{title}");
        }
    }
}

/// Serves the next request; whether there may be another on this connection.
fn serve(peer: &mut Http2Peer, seen: &Seen) -> bool {
    let Some(asked) = peer.asked() else {
        return false;
    };
    let key = asked.text.split(MARK).nth(1).unwrap().to_owned();
    let [_, place, action] = key.split('=').collect::<Vec<_>>()[..] else {
        unreachable!("{key}")
    };
    let is_first = {
        let mut all = seen.asked.lock().unwrap();
        let bodies = all.entry(key.clone()).or_default();
        bodies.push(None);
        bodies.len() == 1
    };
    let place = if is_first { place } else { "no" };
    let stream = asked.stream;
    if place == "head" {
        return strike(peer, stream, action);
    }
    let body = String::from_utf8_lossy(&peer.content(&asked)).into_owned();
    if let Some(last) = seen.asked.lock().unwrap().get_mut(&key) {
        *last.last_mut().unwrap() = Some(body);
    }
    if place == "whole" && !action.starts_with("interim") {
        return strike(peer, stream, action);
    }
    let interim = match action {
        "interim8" => 8,
        "interim9" => 9,
        _ => 0,
    };
    for _ in 0..interim {
        peer.head(stream, &[(":status", "103")], 0);
    }
    let length = ANSWER.len().to_string();
    peer.head(
        stream,
        &[(":status", "200"), ("content-length", &length)],
        0,
    );
    if place == "after-head" {
        return strike(peer, stream, action);
    }
    let (first, second) = ANSWER.split_at(ANSWER.len() / 2);
    peer.send(&Frame::new(DATA, 0, stream, first));
    if place == "in-body" {
        return strike(peer, stream, action);
    }
    peer.send(&Frame::new(DATA, END_STREAM, stream, second));
    place != "at-end" || strike(peer, stream, action)
}

/// Does what a fault says; whether the connection goes on.
fn strike(peer: &mut Http2Peer, stream: u32, action: &str) -> bool {
    let code = |code: u32| Frame::new(RESET, 0, stream, code.to_be_bytes());
    match action {
        "close" => peer.close(),
        "reset" => peer.reset(),
        "cancel" => peer.send(&code(INTERNAL_ERROR)),
        "refuse" => peer.send(&code(REFUSED_STREAM)),
        "goaway" => {
            let last = stream.saturating_sub(2);
            let payload = [last.to_be_bytes(), 0_u32.to_be_bytes()].concat();
            peer.send(&Frame::new(GOAWAY, 0, 0, payload));
        }
        "hang" => {}
        "garbage" => peer.send_bytes(&b"\xff".repeat(64)),
        "early" => {
            peer.answer(stream, ANSWER);
            peer.send(&code(NO_ERROR));
        }
        other => unreachable!("{other}"),
    }
    !matches!(action, "close" | "reset")
}

/// In the words of the table.
fn outcome(result: &Result<Answer, StrictError>) -> Result<String, String> {
    match result {
        Err(StrictError::Truncated | StrictError::Reset) => Ok("broken".to_owned()),
        Err(error) => Err(format!("no response: {error:?}")),
        Ok(answer) if answer.status != 200 && answer.text.contains(ANSWER) => Err(format!(
            "bytes of a backend in our own response: {answer:?}"
        )),
        Ok(answer) if answer.status == 200 && answer.text != ANSWER => {
            Err(format!("it looks complete and is not: {answer:?}"))
        }
        Ok(answer) => Ok(answer.status.to_string()),
    }
}

fn rows() -> Vec<Row> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/faults_http2.txt");
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let rows: Vec<Row> = lines
        .flat_map(|(index, line)| parse_line(index + 1, line))
        .collect();
    assert!(rows.len() > 100, "{}", rows.len());
    rows
}

/// The rows that a line stands for.
fn parse_line(line: usize, text: &str) -> Vec<Row> {
    let words: Vec<&str> = text
        .split_whitespace()
        .filter(|word| *word != ":")
        .collect();
    let [
        _,
        requests,
        pool,
        connections,
        faults,
        outcome,
        cause,
        asked,
        backend,
    ] = words[..]
    else {
        unreachable!("line {line}: {words:?}")
    };
    let (places, actions) = faults.split_once('=').unwrap();
    let mut rows = Vec::new();
    for request in requests.split(',') {
        for connection in connections.split(',') {
            for place in places.split(',') {
                for action in actions.split(',') {
                    rows.push(Row {
                        line,
                        request: request.parse().unwrap(),
                        pool: pool.to_owned(),
                        is_reused: connection == "reused",
                        fault: format!("{place}={action}"),
                        outcome: outcome.to_owned(),
                        cause: cause.to_owned(),
                        asked: asked.parse().unwrap(),
                        backend: backend.to_owned(),
                    });
                }
            }
        }
    }
    rows
}

/// Around what a backend reads in a target.
const MARK: char = '~';
const ANSWER: &str = "the answer of the backend";

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
