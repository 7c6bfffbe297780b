//! A lane: an origin behind a fault proxy, and pools of its own in a Balance that all lanes share. Its cases run
//! one after the other, so that it is known which connection is idle; lanes run side by side, so that bytes
//! which went astray would show in another's exchange.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;

use balance_testkit::{Fault, FaultProxy, Origin, Place, RawClient, Recorded, Script, StrictError};

use super::client::{Answer, Client, Version};
use super::table::{Phase, Request, Row, Setting, TableFault};
use crate::robustness::Outcome;

/// Where cases run.
pub(super) struct Lane {
    number: usize,
    pub(super) origin: Origin,
    pub(super) proxy: FaultProxy,
    web: SocketAddr,
    /// Of its clients.
    version: Version,
    /// How many bytes a body has more than it needs.
    filler_bytes: usize,
    cases: Cell<usize>,
    /// How long everything is without a fault, by request and response.
    shapes: RefCell<HashMap<(Request, String), Shape>>,
    pub(super) promises: RefCell<Vec<Promise>>,
}

/// The lengths of a clean exchange, as they pass between Balance and a backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) request_head: u64,
    pub(super) request: u64,
    pub(super) response_head: u64,
    pub(super) response: u64,
}

/// What the access log must say in the end, once.
pub(super) struct Promise {
    pub(super) title: String,
    pub(super) path: String,
    /// Alternatives.
    pub(super) causes: Vec<String>,
}

/// What became of a case.
#[derive(Debug)]
struct Seen {
    outcome: String,
    client: &'static str,
    backend: &'static str,
    sent: usize,
}

/// What became of a try to play a case.
enum Played {
    Seen(Seen),
    /// The first attempt met another connection than it was to.
    Unprepared(String),
}

impl Lane {
    pub(super) fn new(
        number: usize,
        making: (Origin, FaultProxy),
        web: SocketAddr,
        version: Version,
    ) -> Self {
        let (origin, proxy) = making;
        Self {
            number,
            origin,
            proxy,
            web,
            version,
            filler_bytes: 0,
            cases: Cell::new(0),
            shapes: RefCell::default(),
            promises: RefCell::default(),
        }
    }

    /// Makes bodies so much longer than they need to be.
    pub(super) fn with_filler(self, filler_bytes: usize) -> Self {
        Self {
            filler_bytes,
            ..self
        }
    }

    /// Plays a row, its fault in the middle of its phase.
    pub(super) fn run(&self, row: &Row) -> Outcome {
        let faults = match &row.fault {
            None => Vec::new(),
            Some(fault) => vec![self.place(&row.setting, fault); fault.times],
        };
        self.run_with(row, &row.title(), faults)
    }

    /// Plays a row with these faults.
    pub(super) fn run_with(&self, row: &Row, title: &str, faults: Vec<Fault>) -> Outcome {
        let (case, seen) = self
            .play_prepared(&row.setting, &faults)
            .map_err(|problem| format!("{title}: {problem}"))?;
        let expected = &row.expected;
        // A stream that breaks off leaves the connection of its client alone.
        let client_is_as_expected = match self.version {
            Version::Http1 => expected.client.iter().any(|each| each == seen.client),
            Version::Http2 => seen.client == "kept",
        };
        let is_as_expected = expected.outcome.contains(&seen.outcome)
            && client_is_as_expected
            && expected.sent.contains(&seen.sent)
            && expected
                .backend
                .as_ref()
                .is_none_or(|each| each == seen.backend);
        if !is_as_expected {
            return Err(format!("{title}: {seen:?} instead of {expected:?}"));
        }
        self.promises.borrow_mut().push(Promise {
            title: title.to_owned(),
            path: self.target(&row.setting.pool, case, CASE, &row.setting.response),
            causes: expected.causes.clone(),
        });
        Ok(())
    }

    /// How long this exchange is without a fault.
    pub(super) fn shape(&self, setting: &Setting) -> Shape {
        let request = match setting.request {
            Request::Uploading | Request::Big => Request::Post,
            other => other,
        };
        let key = (request, setting.response.clone());
        if let Some(shape) = self.shapes.borrow().get(&key) {
            return *shape;
        }
        let (case, response) = (self.next_case(), &setting.response);
        self.proxy.begin([]);
        let mut client = self.client();
        let pool = match setting.pool.as_str() {
            "cut" => "tls", // the same bytes, with an end that can be told
            other => other,
        };
        let target = self.target(pool, case, CASE, response);
        self.exchange(&mut client, request, &target, &[]).unwrap();
        let carried = self.proxy.carried();
        self.follow(&mut client, pool, case, LAST).unwrap();
        let shape = Shape {
            request_head: head_len(&carried.up),
            request: carried.up.len() as u64,
            response_head: head_len(&carried.down),
            response: carried.down.len() as u64,
        };
        self.shapes.borrow_mut().insert(key, shape);
        shape
    }

    /// A client on a new connection.
    pub(super) fn client(&self) -> Client {
        Client::connect(self.version, self.web)
    }

    /// A connection to Balance.
    pub(super) fn connect(&self) -> RawClient {
        RawClient::connect(self.web).unwrap()
    }

    pub(super) fn next_case(&self) -> usize {
        self.cases.set(self.cases.get() + 1);
        self.cases.get()
    }

    /// Always of the same length in one pool, so that every case has the same offsets.
    pub(super) fn target(&self, pool: &str, case: usize, part: char, response: &str) -> String {
        let Self {
            number,
            filler_bytes,
            ..
        } = self;
        format!("/{pool}-{number}/{case:06}{part}/{response}/{filler_bytes}")
    }

    /// An exchange that must go well, and leaves no idle connection when it is the last one of a case.
    pub(super) fn follow(
        &self,
        client: &mut Client,
        pool: &str,
        case: usize,
        part: char,
    ) -> Result<(), String> {
        let response = if part == LAST { "last" } else { "length" };
        let target = self.target(pool, case, part, response);
        let response = self
            .exchange(client, Request::Get, &target, &[])
            .map_err(|error| format!("the exchange {target} failed: {error}"))?;
        if response.status == 200 && response.text == answer(&target) {
            Ok(())
        } else {
            Err(format!("{target}: {response:?}"))
        }
    }

    fn place(&self, setting: &Setting, fault: &TableFault) -> Fault {
        // Nothing else tells when the queue of a backend that does not read is full.
        if setting.request == Request::Big {
            return fault_at(Place::Up(100_000), fault);
        }
        let shape = self.shape(setting);
        let middle = |from: u64, to: u64| u64::midpoint(from, to);
        let place = match fault.phase {
            Phase::Accept => Place::Accept,
            Phase::RequestHead => Place::Up(shape.request_head / 2),
            Phase::RequestBody => Place::Up(middle(shape.request_head, shape.request)),
            Phase::BeforeHead => Place::Down(0),
            Phase::InHead => Place::Down(shape.response_head / 2),
            Phase::AfterHead => Place::Down(shape.response_head),
            Phase::InBody => Place::Down(middle(shape.response_head, shape.response)),
            Phase::AtEnd => Place::Down(shape.response),
        };
        fault_at(place, fault)
    }

    /// Plays until the first attempt met a connection as the setting wants it; the number of that case, and what was
    /// seen. A connection that was closed between two cases may be taken for a living one as long as Balance was not
    /// told, which on a busy machine is longer than the pause; that it is then replaced is what rows of `reused` are
    /// about.
    fn play_prepared(&self, setting: &Setting, faults: &[Fault]) -> Result<(usize, Seen), String> {
        let mut unprepared = String::new();
        for _ in 0..PREPARATIONS_MAX {
            let case = self.next_case();
            match self.play(setting, case, faults)? {
                Played::Seen(seen) => return Ok((case, seen)),
                Played::Unprepared(what) => unprepared = what,
            }
        }
        Err(unprepared)
    }

    fn play(&self, setting: &Setting, case: usize, faults: &[Fault]) -> Result<Played, String> {
        let pool = setting.pool.as_str();
        if setting.is_reused {
            // In turn, so that each backend has an idle connection.
            for part in WARM_UPS.chars().take(warm_ups(pool)) {
                self.follow(&mut self.client(), pool, case, part)?;
            }
        }
        let known = self.proxy.connections();
        self.proxy.begin(faults.iter().cloned());
        let mut client = self.client();
        let target = self.target(pool, case, CASE, &setting.response);
        let result = self.exchange(&mut client, setting.request, &target, faults);
        let attempts = self.proxy.carried().senders;
        let met_fresh = match attempts.first() {
            Some(first) => *first >= known,
            // Sent to who had closed: nobody saw it.
            None => self.proxy.connections() > known || is_out_of_reach(pool),
        };
        self.proxy.wait_until_struck();
        // What failed without its fault has met a connection that had been closed.
        let is_served = result.as_ref().is_ok_and(|answer| answer.status == 200);
        let has_missed = !is_served && !faults.is_empty() && self.proxy.carried().faults == 0;
        if met_fresh == setting.is_reused || has_missed {
            self.proxy.begin([]);
            self.proxy.close_connections();
            return Ok(Played::Unprepared(format!(
                "the attempts met connections {attempts:?}, of which {known} were known; no fault: {has_missed}"
            )));
        }
        let outcome = outcome(&setting.response, &target, &result)?;
        self.proxy.begin([]);
        let client_is_kept = client.is_kept(&result);
        if client_is_kept {
            self.follow_in(&mut client, pool, case)?;
        } else {
            if result.is_ok() && !client.is_closed_by_peer() {
                return Err("something followed the last response".to_owned());
            }
            self.follow_in(&mut self.client(), pool, case)?;
        }
        let next = self.proxy.carried().senders;
        let backend_is_kept = next.iter().any(|next| attempts.contains(next));
        let state = |is_kept| if is_kept { "kept" } else { "closed" };
        Ok(Played::Seen(Seen {
            outcome,
            client: state(client_is_kept),
            backend: state(backend_is_kept),
            sent: attempts.len(),
        }))
    }

    /// The next request after a case, on whatever pool can serve one. Idle connections do not outlive it.
    fn follow_in(&self, client: &mut Client, pool: &str, case: usize) -> Result<(), String> {
        let working = if is_out_of_reach(pool) { "one" } else { pool };
        self.follow(client, working, case, LAST)?;
        if !["one", "hasty", "tls", "cut"].contains(&working) {
            self.proxy.close_connections();
        }
        Ok(())
    }

    fn exchange(
        &self,
        client: &mut Client,
        request: Request,
        target: &str,
        faults: &[Fault],
    ) -> Result<Answer, StrictError> {
        let bytes = encode(request, target);
        match (request, client) {
            (Request::Big, Client::Http1(client)) => {
                // The answer comes while it is sent, and the rest may meet a closed connection.
                let _ = client.send(bytes);
                client.read_response().map(Answer::from)
            }
            (Request::Uploading, client) => {
                // As much of the body as the fault lets pass, so that it strikes.
                let body_bytes = request_body(target).len();
                let passed = match faults.first().map(|fault| fault.place) {
                    Some(Place::Up(at)) => at.saturating_sub(self.forwarded_head_bytes(target)),
                    _ => body_bytes as u64 / 2,
                };
                let held = body_bytes - usize::try_from(passed).unwrap();
                client.upload(target, &bytes, held)
            }
            (_, client) => client.exchange(request, target, &bytes),
        }
    }

    /// How long the head of a POST to this target is when Balance has forwarded it.
    fn forwarded_head_bytes(&self, target: &str) -> u64 {
        let response = target.split('/').nth(3).unwrap();
        let key = (Request::Post, response.to_owned());
        self.shapes.borrow()[&key].request_head
    }
}

/// A request's bytes in HTTP/1.
pub(super) fn encode(request: Request, target: &str) -> Vec<u8> {
    let body = request_body(target);
    let (method, framing, body) = match request {
        Request::Get => ("GET", String::new(), String::new()),
        Request::Post | Request::Uploading => {
            let length = format!("Content-Length: {}\r\n", body.len());
            ("POST", length, body)
        }
        Request::Chunked => {
            let (first, second) = body.split_at(body.len() / 2);
            let (first_len, second_len) = (first.len(), second.len());
            let body =
                format!("{first_len:x}\r\n{first}\r\n{second_len:x}\r\n{second}\r\n0\r\n\r\n");
            ("POST", "Transfer-Encoding: chunked\r\n".to_owned(), body)
        }
        Request::Big => {
            let length = format!("Content-Length: {BIG_BYTES}\r\n");
            (
                "POST",
                length,
                char::from(BIG_BYTE).to_string().repeat(BIG_BYTES),
            )
        }
    };
    format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{framing}\r\n{body}").into_bytes()
}

/// The script of the origins. It knows all from the target.
pub(super) fn script(request: &Recorded) -> Script {
    let body = answer(&request.target);
    let (first, second) = body.as_bytes().split_at(body.len() / 2);
    let interim = |count| (0..count).fold(Script::ok(&*body), |script, _| script.interim(103, &[]));
    match request.target.split('/').nth(3).unwrap_or_default() {
        "chunked" => Script::default().chunked(&[first, second]),
        "close" => Script::default().until_close(&*body),
        "interim8" => interim(8),
        "interim9" => interim(9),
        "early" => Script::ok(&*body).early(),
        "giant" => Script::ok(&*body).header("X-Giant", &"g".repeat(200_000)),
        "last" => Script::ok(&*body)
            .header("Connection", "close")
            .then_close(),
        _ => Script::ok(&*body),
    }
}

/// The body of the answer to a target, which no other target has.
fn answer(target: &str) -> String {
    format!("answer to {target}{}", filler(target))
}

/// The body of a request to a target.
pub(super) fn request_body(target: &str) -> String {
    format!("sent to {target}{}", filler(target))
}

fn filler(target: &str) -> String {
    let bytes = target
        .rsplit('/')
        .next()
        .and_then(|count| count.parse().ok());
    let part = format!(" {target}");
    let parts = part.bytes().cycle().take(bytes.unwrap_or(0));
    String::from_utf8(parts.collect()).unwrap()
}

/// In the words of the table.
fn outcome(
    response: &str,
    target: &str,
    result: &Result<Answer, StrictError>,
) -> Result<String, String> {
    let expected = answer(target);
    match result {
        Err(StrictError::Truncated | StrictError::Reset) => Ok("broken".to_owned()),
        Err(error) => Err(format!("no response: {error:?}")),
        Ok(answered) if answered.status != 200 => {
            if answered.text.contains("answer to") {
                return Err(format!(
                    "bytes of a backend in our own response: {answered:?}"
                ));
            }
            Ok(answered.status.to_string())
        }
        Ok(answered) if answered.text == expected => Ok("200".to_owned()),
        Ok(answered)
            if response == "close" && answered.has_end && expected.starts_with(&answered.text) =>
        {
            Ok("short".to_owned())
        }
        Ok(answered) => Err(format!("it looks complete and is not: {answered:?}")),
    }
}

fn fault_at(place: Place, fault: &TableFault) -> Fault {
    Fault {
        place,
        action: fault.action.clone(),
    }
}

/// Whether no attempt at the pool gets as far as a connection.
fn is_out_of_reach(pool: &str) -> bool {
    matches!(pool, "dead" | "silent" | "again-dead")
}

/// As many exchanges as it takes for each backend to have an idle connection.
fn warm_ups(pool: &str) -> usize {
    match pool {
        "two" | "again" | "again-hasty" => 2,
        _ => 1,
    }
}

fn head_len(message: &[u8]) -> u64 {
    let end = message.windows(4).position(|four| four == b"\r\n\r\n");
    end.map_or(0, |end| end as u64 + 4)
}

/// The parts of a case, as they stand in its targets.
pub(super) const CASE: char = 'c';
const PREPARATIONS_MAX: usize = 10;
const WARM_UPS: &str = "vw";
pub(super) const LAST: char = 'z';

/// More than both sockets' buffers and all of Balance's take.
const BIG_BYTES: usize = 24 << 20;
pub(super) const BIG_BYTE: u8 = b'x';
