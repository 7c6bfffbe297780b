//! Time, the origins, what control does, and the books.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use balance_core::{Algorithm, BackendAddress, Backoff, RetryPolicy, Weight};

use super::exchange::{Answer, Client, Reply};
use super::scenario::{self, CALM_MS, Happening, Mode};
use crate::backend::{Backend, BackendIdentity};
use crate::balancer::{Balancer, Member};
use crate::breaker::BreakerRules;
use crate::cursor::Cursor;
use crate::ejection::{
    EjectionMachine, EjectionRecord, EjectionRules, Judgement, PoolSituation, Reason, ejectable,
    usual_latency_us,
};
use crate::gate::AdminState;
use crate::health::{Health, HealthMachine, HealthRecord, HealthRules};
use crate::places::Places;
use crate::rng::Rng;
use crate::tally::Tally;

/// A seed while it is played.
pub(super) struct World {
    pub(super) now_ms: u64,
    pub(super) rng: Rng,
    events: BinaryHeap<Reverse<Entry>>,
    /// Events so far: those of the same time keep their order.
    count: u64,
    pub(super) origins: Vec<Origin>,
    backends: Vec<Arc<Backend>>,
    /// The present configuration.
    pub(super) view: Rc<View>,
    /// Which origin it leaves out.
    without: Option<usize>,
    cursor: Arc<Cursor>,
    pub(super) policy: RetryPolicy,
    pub(super) breaker: BreakerRules,
    pub(super) budget: Arc<Places>,
    /// The generator of each worker, and what it counts of each backend.
    pub(super) workers: Vec<Rng>,
    pub(super) tallies: Vec<Vec<Arc<Tally>>>,
    pub(super) clients: Vec<Client>,
    pub(super) books: Books,
}

/// A snapshot, as an exchange holds it.
pub(super) struct View {
    pub(super) balancer: Balancer,
    pub(super) backends: Vec<Arc<Backend>>,
    /// Which origin each is.
    pub(super) positions: Vec<usize>,
    /// For each, what it weighs.
    pub(super) weights: Vec<u32>,
    panic_threshold: f64,
}

/// A backend as it is, and what control knows of it.
pub(super) struct Origin {
    pub(super) mode: Mode,
    pub(super) is_drained: bool,
    /// When it answered well last.
    pub(super) served_ms: u64,
    health: HealthMachine,
    ejection: EjectionMachine,
}

/// What is counted, apart from the machines.
#[derive(Clone, Debug, Default)]
pub(super) struct Books {
    pub(super) requests: u64,
    pub(super) attempts: u64,
    pub(super) retries: u64,
    pub(super) replays: u64,
    pub(super) trials: u64,
    well: u64,
    failed: u64,
    left: u64,
    ejections: u64,
    outliers: u64,
    unhealthy: u64,
    ramps: u64,
    pub(super) on_ramp: u64,
    weights: u64,
}

/// Something to come: its time, its number, and the step of its client that it is void after.
type Entry = (u64, u64, Option<u64>, Event);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Begin { client: usize },
    Connect { client: usize },
    Reply { client: usize, reply: Reply },
    Again { client: usize },
    Leave { client: usize, request: u64 },
    Probe { origin: usize },
    Judge,
    Happens(Happening),
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let names: Vec<String> = (0..3 + rng.below(4)).map(|n| format!("b{n}")).collect();
        let backends: Vec<Arc<Backend>> = names.iter().map(|name| backend(name)).collect();
        let breaker = BreakerRules {
            max_failures: 2 + rng.below(6) as u32,
            timeout_ms: 600 + rng.below(1_000) as u64,
            success_threshold: 1 + rng.below(3) as u32,
            max_concurrent_requests: 1 + rng.below(2) as u32,
        };
        let has_breaker = rng.below(3) > 0;
        let slow_start_ms = [0, 500, 3_000][rng.below(3)];
        for backend in &backends {
            backend.set_slow_start(slow_start_ms);
            backend.set_breaker(has_breaker.then_some(breaker));
        }
        let cursor = Arc::new(Cursor::new());
        let tallies = |_| {
            backends
                .iter()
                .map(|backend| backend.open_tally())
                .collect()
        };
        let policy = RetryPolicy {
            max_attempts: 2 + rng.below(4) as u32,
            backoff: Backoff {
                initial: Duration::from_millis(10 + rng.below(200) as u64),
                max: Duration::from_secs(2),
                ..Backoff::default()
            },
            ..RetryPolicy::default()
        };
        let mut world = Self {
            now_ms: 0,
            events: BinaryHeap::new(),
            count: 0,
            origins: (0..backends.len()).map(|_| Origin::new(&mut rng)).collect(),
            view: view(&mut rng, &backends, &cursor, None),
            without: None,
            tallies: (0..WORKERS).map(tallies).collect(),
            workers: (0..WORKERS).map(|_| Rng::new(rng.next_u64())).collect(),
            backends,
            cursor,
            policy,
            breaker,
            budget: Arc::default(),
            clients: Vec::new(),
            books: Books::default(),
            rng,
        };
        for client in 0..CLIENTS {
            world.clients.push(Client {
                worker: client % WORKERS,
                exchange: None,
                leaves: 0,
                step: 0,
            });
            let after_ms = world.rng.below(2_000) as u64;
            world.after(after_ms, Event::Begin { client });
        }
        for origin in 0..world.origins.len() {
            let random = world.rng.next_u64();
            let after_ms = world.origins[origin].health.first_delay_ms(random);
            world.after(after_ms, Event::Probe { origin });
        }
        world.after(JUDGE_MS, Event::Judge);
        for (at_ms, happening) in scenario::draw(&mut world.rng, world.origins.len()) {
            world.after(at_ms, Event::Happens(happening));
        }
        world
    }

    /// Plays it to its end, and until every exchange is over.
    pub(super) fn run(&mut self) -> Result<(), String> {
        let result = self.run_to_end();
        result.map_err(|problem| format!("after {} ms: {problem}", self.now_ms))
    }

    fn run_to_end(&mut self) -> Result<(), String> {
        let mut is_judged = false;
        while let Some(Reverse((at_ms, _, step, event))) = self.events.pop() {
            if at_ms >= END_MS && !is_judged {
                self.now_ms = END_MS;
                self.check_recovery()?;
                is_judged = true;
            }
            self.now_ms = at_ms;
            if at_ms >= END_MS
                && matches!(
                    event,
                    Event::Begin { .. } | Event::Probe { .. } | Event::Judge
                )
            {
                continue;
            }
            self.on_event(step, event)?;
        }
        self.check_end()
    }

    fn on_event(&mut self, step: Option<u64>, event: Event) -> Result<(), String> {
        let is_void = |client: usize| step.is_some_and(|step| step != self.clients[client].step);
        match event {
            Event::Connect { client } | Event::Reply { client, .. } | Event::Again { client }
                if is_void(client) =>
            {
                Ok(())
            }
            Event::Begin { client } => self.begin(client),
            Event::Connect { client } => self.on_connect(client),
            Event::Reply { client, reply } => self.on_reply(client, reply),
            Event::Again { client } => self.attempt(client),
            Event::Leave { client, request } if self.clients[client].leaves == request => {
                self.leave(client)
            }
            Event::Leave { .. } => Ok(()),
            Event::Probe { origin } => {
                self.probe(origin);
                Ok(())
            }
            Event::Judge => {
                self.judge();
                self.check_places()
            }
            Event::Happens(happening) => {
                self.happen(happening);
                Ok(())
            }
        }
    }

    pub(super) fn after(&mut self, after_ms: u64, event: Event) {
        self.push(after_ms, None, event);
    }

    /// What comes next of a client's exchange: whatever was to come before is void.
    pub(super) fn step(&mut self, client: usize, after_ms: u64, event: Event) {
        self.clients[client].step += 1;
        let step = self.clients[client].step;
        self.push(after_ms, Some(step), event);
    }

    fn push(&mut self, after_ms: u64, step: Option<u64>, event: Event) {
        self.count += 1;
        let at_ms = self.now_ms + after_ms;
        self.events.push(Reverse((at_ms, self.count, step, event)));
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Origin(origin, mode) => {
                self.origins[origin].mode = mode;
                if mode == Mode::Down {
                    self.reset(origin);
                }
            }
            Happening::Drain(origin) => {
                self.origins[origin].is_drained = true;
                self.backends[origin].set_admin_state(AdminState::Draining);
            }
            Happening::Enable(origin) => {
                self.origins[origin].is_drained = false;
                let before = self.backends[origin].admin_state();
                self.backends[origin].set_admin_state(AdminState::Enabled);
                if before != AdminState::Enabled {
                    self.come_back(origin);
                }
            }
            Happening::Weigh(origin, weight) => {
                self.books.weights += 1;
                self.backends[origin].set_weight(Some(Weight(weight)), Weight::ONE);
                self.view = compile(
                    self.view.balancer.algorithm(),
                    self.view.panic_threshold,
                    &self.backends,
                    &self.cursor,
                    self.without,
                );
            }
            Happening::Reload { without } => {
                self.without = without;
                self.view = view(&mut self.rng, &self.backends, &self.cursor, without);
                for origin in &mut self.origins {
                    let health = origin.health.health();
                    origin.health = HealthMachine::new(HEALTH, health);
                }
            }
        }
    }

    fn probe(&mut self, origin: usize) {
        let one = &mut self.origins[origin];
        let before = one.health.health();
        let is_success = match one.mode {
            Mode::Well | Mode::Slow(_) => true,
            Mode::Fails(tenths) => (self.rng.below(10) as u64) >= tenths,
            Mode::Hangs | Mode::Down => false,
        };
        if let Some(health) = one.health.on_result(is_success) {
            self.books.unhealthy += u64::from(!is_success);
            self.backends[origin].set_health(Some(HealthRecord {
                health,
                since_ms: self.now_ms,
                reason: "".into(),
                probes: 0,
                failed_probes: 0,
            }));
        }
        let after_ms = one.health.delay_ms(self.rng.next_u64());
        if (before, one.health.health()) == (Health::Unhealthy, Health::Healthy) {
            self.come_back(origin);
        }
        self.after(after_ms, Event::Probe { origin });
    }

    /// Whatever kept it out is over.
    pub(super) fn come_back(&mut self, origin: usize) {
        let begins = self.backends[origin].begin_ramp(self.now_ms);
        self.books.ramps += u64::from(begins.is_some());
    }

    /// As the judge of balance-control.
    fn judge(&mut self) {
        let all = self.origins.len();
        let mut out = self
            .origins
            .iter()
            .filter(|one| one.ejection.is_ejected())
            .count();
        let latencies = self
            .origins
            .iter()
            .filter_map(|one| one.ejection.latency_us());
        let usual_us = usual_latency_us(latencies);
        let mut returned = Vec::new();
        for (index, origin) in self.origins.iter_mut().enumerate() {
            let backend = &self.backends[index];
            let seen = backend.take_tallied();
            let pool = PoolSituation {
                may_eject: out < ejectable(all, 0.3),
                usual_us,
            };
            let until_ms = match origin.ejection.judge(self.now_ms, seen, pool) {
                None => continue,
                Some(Judgement::Ejected { for_ms, reason }) => {
                    self.books.ejections += 1;
                    self.books.outliers += u64::from(matches!(reason, Reason::Latency { .. }));
                    out += 1;
                    self.now_ms + for_ms
                }
                Some(Judgement::Returned) => {
                    out -= 1;
                    returned.push(index);
                    0
                }
            };
            backend.set_ejection(Some(EjectionRecord {
                until_ms,
                ..EjectionRecord::default()
            }));
        }
        for origin in returned {
            self.come_back(origin);
        }
        self.after(JUDGE_MS, Event::Judge);
    }

    /// The places that are taken are those of the attempts under way.
    fn check_places(&self) -> Result<(), String> {
        let mut counts = vec![0; self.backends.len()];
        self.under_way()
            .for_each(|attempt| counts[attempt.backend] += 1);
        for (backend, (one, count)) in self.backends.iter().zip(counts).enumerate() {
            if one.in_flight() != count {
                let in_flight = one.in_flight();
                return Err(format!(
                    "backend {backend} has {in_flight} places in use for {count} attempts"
                ));
            }
        }
        Ok(())
    }

    /// All has been well for long enough.
    fn check_recovery(&self) -> Result<(), String> {
        let is_even = matches!(
            self.view.balancer.algorithm(),
            Algorithm::RoundRobin | Algorithm::Random
        );
        for (index, (backend, origin)) in self.backends.iter().zip(&self.origins).enumerate() {
            let gate = backend.gate().name();
            if !backend.is_pickable(self.now_ms) {
                return Err(format!("backend {index} did not come back: {gate}"));
            }
            if is_even && origin.served_ms < END_MS - RECENT_MS {
                return Err(format!("backend {index} ({gate}) gets nothing any more"));
            }
        }
        Ok(())
    }

    fn check_end(&self) -> Result<(), String> {
        self.check_places()?;
        let open = self
            .clients
            .iter()
            .filter(|client| client.exchange.is_some())
            .count();
        let Books {
            requests,
            well,
            failed,
            left,
            ..
        } = self.books;
        if open > 0 || requests != well + failed + left {
            return Err(format!(
                "{requests} requests and {well} + {failed} + {left} answers; {open} are under way"
            ));
        }
        match self.budget.in_use() {
            0 => Ok(()),
            retries => Err(format!("{retries} retries are under way and no request")),
        }
    }
}

impl Books {
    pub(super) const COUNTS: usize = 14;

    pub(super) fn on_answer(&mut self, answer: Answer) {
        match answer {
            Answer::Status(200) => self.well += 1,
            Answer::Status(_) | Answer::Failed => self.failed += 1,
            Answer::Left => self.left += 1,
        }
    }

    pub(super) fn counts(&self) -> [(&'static str, u64); Self::COUNTS] {
        [
            ("requests", self.requests),
            ("attempts", self.attempts),
            ("retries", self.retries),
            ("replays", self.replays),
            ("trials", self.trials),
            ("well", self.well),
            ("failed", self.failed),
            ("left", self.left),
            ("ejections", self.ejections),
            ("outliers", self.outliers),
            ("unhealthy", self.unhealthy),
            ("ramps", self.ramps),
            ("on_ramp", self.on_ramp),
            ("weights", self.weights),
        ]
    }

    pub(super) fn sum(&self) -> String {
        format!("{:?}", self.counts())
    }
}

impl Origin {
    fn new(rng: &mut Rng) -> Self {
        let rules = EjectionRules {
            consecutive_failures: 3 + rng.below(5) as u32,
            error_rate: 0.5,
            latency_factor: [0.0, 2.0, 2.0][rng.below(3)],
            window_ms: 5_000,
            ejection_ms: 200 + rng.below(800) as u64,
        };
        Self {
            mode: Mode::Well,
            is_drained: false,
            served_ms: 0,
            health: HealthMachine::new(HEALTH, Default::default()),
            ejection: EjectionMachine::new(rules),
        }
    }
}

fn backend(name: &str) -> Arc<Backend> {
    Arc::new(Backend::new(BackendIdentity {
        pool: "p".to_owned(),
        name: name.to_owned(),
        address: BackendAddress::parse("127.0.0.1:9001").expect("a literal"),
    }))
}

/// A configuration over all backends but one.
fn view(
    rng: &mut Rng,
    all: &[Arc<Backend>],
    cursor: &Arc<Cursor>,
    without: Option<usize>,
) -> Rc<View> {
    let algorithm = ALGORITHMS[rng.below(ALGORITHMS.len())];
    let panic_threshold = if rng.below(2) == 0 { 0.0 } else { 0.5 };
    compile(algorithm, panic_threshold, all, cursor, without)
}

/// With the weights of this moment.
fn compile(
    algorithm: Algorithm,
    panic_threshold: f64,
    all: &[Arc<Backend>],
    cursor: &Arc<Cursor>,
    without: Option<usize>,
) -> Rc<View> {
    let positions: Vec<usize> = (0..all.len())
        .filter(|index| Some(*index) != without)
        .collect();
    let backends: Vec<Arc<Backend>> = positions
        .iter()
        .map(|index| Arc::clone(&all[*index]))
        .collect();
    let members: Vec<Member> = backends
        .iter()
        .map(|one| Member::new(&one.identity().name, one.weight(Weight::ONE)))
        .collect();
    Rc::new(View {
        balancer: Balancer::compile(algorithm, &members, Arc::clone(cursor))
            .with_panic_threshold(panic_threshold),
        backends,
        positions,
        weights: members.iter().map(|member| member.weight.0).collect(),
        panic_threshold,
    })
}

const ALGORITHMS: [Algorithm; 7] = [
    Algorithm::RoundRobin,
    Algorithm::WeightedRoundRobin,
    Algorithm::WeightedLeastConnections,
    Algorithm::LeastConnections,
    Algorithm::Random,
    Algorithm::PowerOfTwoChoices,
    Algorithm::ConsistentHash,
];
const HEALTH: HealthRules = HealthRules {
    rise: 2,
    fall: 2,
    interval_ms: 500,
    fast_interval_ms: 200,
};
const CLIENTS: usize = 50;
const WORKERS: usize = 2;
const END_MS: u64 = 60_000;
/// Longer than the longest ejection.
const RECENT_MS: u64 = END_MS - CALM_MS - 11_000;
const JUDGE_MS: u64 = 100;
