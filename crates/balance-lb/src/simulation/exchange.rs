//! One client's exchange: the order of events that balance-proxy's `exchange::forward` has, without bytes.

use std::rc::Rc;
use std::sync::Arc;

use balance_core::Cause;

use super::scenario::Mode;
use super::world::{Event, View, World};
use crate::Backend;
use crate::balancer::{Pick, PickRequest};
use crate::breaker::BreakerState;
use crate::lease::Lease;
use crate::retry::{AttemptFailure, Retries, Retry, RetryQuestion};
use crate::tally::Outcome;
use crate::tried::TriedSet;

/// A client, and what it waits for.
pub(super) struct Client {
    /// Which worker serves it.
    pub(super) worker: usize,
    pub(super) exchange: Option<Exchange>,
    /// The request that it is going to leave; 0: none.
    pub(super) leaves: u64,
    /// Grows with each step: what was to happen before is void then.
    pub(super) step: u64,
}

pub(super) struct Exchange {
    /// That it began with.
    view: Rc<View>,
    is_idempotent: bool,
    deadline_ms: u64,
    /// Times that a backend has got it.
    sent: u32,
    tried: TriedSet,
    attempts: u32,
    may_return: bool,
    left_behind: bool,
    retries: Retries,
    /// A configured retry is under way.
    pub(super) is_retrying: bool,
    pub(super) attempt: Option<Attempt>,
}

/// An attempt under way.
pub(super) struct Attempt {
    lease: Lease<Arc<Backend>>,
    pub(super) backend: usize,
    pub(super) is_trial: bool,
    began_ms: u64,
    /// The request has reached the backend.
    is_sent: bool,
}

/// How an exchange ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Status(u16),
    Failed,
    /// The client left; nobody gets an answer.
    Left,
}

/// How an attempt ends after the request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reply {
    Status(u16),
    /// Without an answer.
    Reset,
    TooLate,
}

impl Exchange {
    /// Whether a configured retry is under way and was the last.
    fn is_used_up(&self, max_attempts: u32) -> bool {
        self.retries.made() > 0 && self.attempts >= max_attempts
    }
}

impl World {
    /// A client sends a request.
    pub(super) fn begin(&mut self, client: usize) -> Result<(), String> {
        let exchange = Exchange {
            view: Rc::clone(&self.view),
            is_idempotent: self.rng.below(5) > 0,
            deadline_ms: self.now_ms + DEADLINE_MS,
            sent: 0,
            tried: TriedSet::new(),
            attempts: 0,
            may_return: false,
            left_behind: false,
            retries: Retries::default(),
            is_retrying: false,
            attempt: None,
        };
        self.clients[client].exchange = Some(exchange);
        self.books.requests += 1;
        if self.rng.below(30) == 0 {
            let (after_ms, request) = (self.rng.below(200) as u64, self.books.requests);
            self.after(after_ms, Event::Leave { client, request });
            self.clients[client].leaves = request;
        }
        self.attempt(client)
    }

    /// Picks, and begins to connect.
    pub(super) fn attempt(&mut self, client: usize) -> Result<(), String> {
        let worker = self.clients[client].worker;
        let exchange = self.clients[client]
            .exchange
            .as_mut()
            .expect("it is under way");
        let view = Rc::clone(&exchange.view);
        let picked = loop {
            let mut request = PickRequest {
                now_ms: self.now_ms,
                hash: client as u64,
                random: &mut self.workers[worker],
                tried: &exchange.tried,
            };
            match view.balancer.pick(&view.backends, &mut request) {
                Pick::Picked(index) => break Some((index, None)),
                Pick::OnTrial(index, trial) => break Some((index, Some(trial))),
                Pick::Full | Pick::Broken | Pick::Unavailable
                    if exchange.may_return && !exchange.tried.is_empty() =>
                {
                    exchange.may_return = false;
                    exchange.tried.clear();
                }
                Pick::Full | Pick::Broken | Pick::Unavailable => break None,
            }
        };
        let Some((index, trial)) = picked else {
            check_nobody(exchange, self.now_ms)?;
            let cause = match exchange.left_behind {
                true => Cause::ConnectionTerminated,
                false if exchange.attempts > 0 => Cause::ConnectionRefused,
                false => return self.end(client, Answer::Failed),
            };
            let is_unsent = cause == Cause::ConnectionRefused && exchange.sent == 0;
            return self.retry(client, AttemptFailure::Cause(cause), is_unsent, None);
        };
        let backend = Arc::clone(&view.backends[index]);
        exchange.tried.insert(index);
        exchange.attempts += 1;
        exchange.attempt = Some(Attempt {
            lease: match trial {
                None => Lease::adopt(backend),
                Some(trial) => Lease::adopt_trial(backend, trial),
            },
            backend: view.positions[index],
            is_trial: trial.is_some(),
            began_ms: self.now_ms,
            is_sent: false,
        });
        self.books.attempts += 1;
        self.check_pick(client)?;
        let after_ms = self.rng.below(3) as u64;
        self.step(client, after_ms, Event::Connect { client });
        Ok(())
    }

    /// The connection stands, or is refused.
    pub(super) fn on_connect(&mut self, client: usize) -> Result<(), String> {
        let max_attempts = self.policy.max_attempts;
        let now_ms = self.now_ms;
        let exchange = self.clients[client]
            .exchange
            .as_mut()
            .expect("it is under way");
        let attempt = exchange.attempt.as_mut().expect("there is an attempt");
        let origin = &self.origins[attempt.backend];
        if origin.mode == Mode::Down {
            attempt
                .lease
                .backend()
                .on_connect_failure(now_ms, self.rng.next_u64());
            self.finish_attempt(client, Some(Outcome::Failure));
            let exchange = self.clients[client]
                .exchange
                .as_mut()
                .expect("it is under way");
            // Nothing was sent: the next backend at once. Of the last configured retry this is the end.
            if exchange.is_used_up(max_attempts) {
                return self.end(client, Answer::Failed);
            }
            return self.attempt(client);
        }
        attempt.lease.backend().on_success();
        attempt.is_sent = true;
        exchange.sent += 1;
        if exchange.sent > 1 {
            self.books.replays += 1;
            if !exchange.is_idempotent {
                return Err("a backend got a request again that is not idempotent".to_owned());
            }
        }
        let (reply, after_ms) = match origin.mode {
            Mode::Hangs => (Reply::TooLate, PER_TRY_MS),
            Mode::Slow(times) => (Reply::Status(200), times * (1 + self.rng.below(30) as u64)),
            Mode::Fails(tenths) if (self.rng.below(10) as u64) < tenths => {
                (Reply::Status(503), 1 + self.rng.below(10) as u64)
            }
            Mode::Well | Mode::Fails(_) | Mode::Down => {
                (Reply::Status(200), 1 + self.rng.below(60) as u64)
            }
        };
        let (reply, after_ms) = if after_ms > PER_TRY_MS {
            (Reply::TooLate, PER_TRY_MS)
        } else {
            (reply, after_ms)
        };
        self.step(client, after_ms, Event::Reply { client, reply });
        Ok(())
    }

    pub(super) fn on_reply(&mut self, client: usize, reply: Reply) -> Result<(), String> {
        let outcome = match reply {
            Reply::Status(200) => Outcome::Success,
            Reply::Status(_) | Reply::Reset | Reply::TooLate => Outcome::Failure,
        };
        self.finish_attempt(client, Some(outcome));
        let max_attempts = self.policy.max_attempts;
        let exchange = self.clients[client]
            .exchange
            .as_mut()
            .expect("it is under way");
        match reply {
            Reply::Status(200) => self.end(client, Answer::Status(200)),
            Reply::Status(status) => {
                self.retry(client, AttemptFailure::Status(status), false, Some(status))
            }
            // Without configuration: to another backend, once.
            Reply::Reset
                if exchange.is_idempotent
                    && !exchange.left_behind
                    && !exchange.is_used_up(max_attempts) =>
            {
                exchange.left_behind = true;
                self.attempt(client)
            }
            Reply::Reset => {
                let cause = AttemptFailure::Cause(Cause::ConnectionTerminated);
                self.retry(client, cause, false, None)
            }
            Reply::TooLate => {
                let cause = AttemptFailure::Cause(Cause::HttpResponseTimeout);
                self.retry(client, cause, false, None)
            }
        }
    }

    /// Asks for a configured retry. `status`: what the client gets otherwise.
    fn retry(
        &mut self,
        client: usize,
        failure: AttemptFailure,
        is_unsent: bool,
        status: Option<u16>,
    ) -> Result<(), String> {
        let live = self.view.backends.iter().map(|one| one.in_flight()).sum();
        let random = self.rng.next_u64();
        let exchange = self.clients[client]
            .exchange
            .as_mut()
            .expect("it is under way");
        let question = RetryQuestion {
            failure,
            attempts: exchange.attempts,
            is_repeatable: is_unsent || exchange.is_idempotent,
            live,
            time_left_ms: exchange.deadline_ms.saturating_sub(self.now_ms),
            random,
        };
        exchange.is_retrying = false;
        match exchange
            .retries
            .on_failure(&self.policy, &self.budget, &question)
        {
            Retry::Granted { after_ms, .. } => {
                exchange.is_retrying = true;
                exchange.may_return = true;
                exchange.left_behind = false;
                self.books.retries += 1;
                self.check_retry(client, live, after_ms)?;
                self.step(client, after_ms, Event::Again { client });
                Ok(())
            }
            Retry::Refused(_) | Retry::NotListed => {
                self.end(client, status.map_or(Answer::Failed, Answer::Status))
            }
        }
    }

    /// A client does not wait any longer.
    pub(super) fn leave(&mut self, client: usize) -> Result<(), String> {
        self.finish_attempt(client, None);
        self.end(client, Answer::Left)
    }

    fn finish_attempt(&mut self, client: usize, outcome: Option<Outcome>) {
        let client = &mut self.clients[client];
        let exchange = client.exchange.as_mut().expect("it is under way");
        if let Some(attempt) = exchange.attempt.take()
            && let Some(outcome) = outcome
        {
            let tally = &self.tallies[client.worker][attempt.backend];
            let change = attempt.lease.on_outcome(tally, outcome, self.now_ms);
            if outcome == Outcome::Success {
                tally.on_answer((self.now_ms - attempt.began_ms) * 1_000);
                self.origins[attempt.backend].served_ms = self.now_ms;
            }
            if change.is_some_and(|change| change.to == BreakerState::Closed) {
                self.come_back(attempt.backend);
            }
        }
    }

    fn end(&mut self, client: usize, answer: Answer) -> Result<(), String> {
        let one = &mut self.clients[client];
        one.step += 1;
        one.leaves = 0;
        let Some(exchange) = one.exchange.take() else {
            return Err("a request is answered twice".to_owned());
        };
        if self.now_ms > exchange.deadline_ms + PER_TRY_MS {
            return Err("an answer comes after its deadline".to_owned());
        }
        drop(exchange);
        self.books.on_answer(answer);
        let after_ms = THINK_MS / 2 + self.rng.below(THINK_MS as usize) as u64;
        self.after(after_ms, Event::Begin { client });
        Ok(())
    }

    /// Resets every attempt that waits for this origin.
    pub(super) fn reset(&mut self, origin: usize) {
        for client in 0..self.clients.len() {
            let exchange = self.clients[client].exchange.as_ref();
            let attempt = exchange.and_then(|exchange| exchange.attempt.as_ref());
            if attempt.is_some_and(|attempt| attempt.is_sent && attempt.backend == origin) {
                let after_ms = self.rng.below(3) as u64;
                let reply = Reply::Reset;
                self.step(client, after_ms, Event::Reply { client, reply });
            }
        }
    }

    /// What must hold when a backend was chosen.
    fn check_pick(&mut self, client: usize) -> Result<(), String> {
        let exchange = self.clients[client]
            .exchange
            .as_ref()
            .expect("it is under way");
        let attempt = exchange.attempt.as_ref().expect("there is an attempt");
        let backend = attempt.backend;
        if self.origins[backend].is_drained {
            return Err(format!("backend {backend} is drained and gets a request"));
        }
        let view = &exchange.view;
        let mut members = view.positions.iter().zip(&view.weights);
        let is_weightless = members.any(|(position, weight)| (*position, *weight) == (backend, 0));
        if is_weightless && view.balancer.algorithm().uses_weights() {
            return Err(format!(
                "backend {backend} weighs nothing and gets a request"
            ));
        }
        let state = attempt.lease.backend().snapshot_state(self.now_ms);
        self.books.on_ramp += u64::from(state.ramp.is_some());
        if exchange.is_retrying && exchange.attempts > self.policy.max_attempts {
            return Err(format!("attempt {} of a request", exchange.attempts));
        }
        if attempt.is_trial {
            self.books.trials += 1;
            let under_way = self
                .under_way()
                .filter(|other| other.is_trial && other.backend == backend);
            let count = under_way.count();
            if count > self.breaker.max_concurrent_requests as usize {
                return Err(format!("{count} trials at once at backend {backend}"));
            }
        }
        Ok(())
    }

    /// What must hold when a retry was granted.
    fn check_retry(&mut self, client: usize, live: u32, after_ms: u64) -> Result<(), String> {
        let clients = self.clients.iter();
        let exchanges = clients.filter_map(|client| client.exchange.as_ref());
        let retrying = exchanges.filter(|exchange| exchange.is_retrying).count();
        let allowed = (live / 5).max(3) as usize;
        if retrying > allowed {
            return Err(format!(
                "{retrying} retries at once, of {live} live requests"
            ));
        }
        let exchange = self.clients[client]
            .exchange
            .as_ref()
            .expect("it is under way");
        if self.now_ms + after_ms >= exchange.deadline_ms {
            return Err("a retry waits beyond the deadline".to_owned());
        }
        Ok(())
    }

    /// All attempts under way.
    pub(super) fn under_way(&self) -> impl Iterator<Item = &Attempt> {
        let exchanges = self
            .clients
            .iter()
            .filter_map(|client| client.exchange.as_ref());
        exchanges.filter_map(|exchange| exchange.attempt.as_ref())
    }
}

/// What must hold when none was: whoever is left is better than nobody, also one that has just come back.
fn check_nobody(exchange: &Exchange, now_ms: u64) -> Result<(), String> {
    let view = &exchange.view;
    let is_left = |index: &usize| {
        let may_be_picked = view.balancer.is_eligible(*index) && !exchange.tried.contains(*index);
        may_be_picked && view.backends[*index].is_pickable(now_ms)
    };
    match (0..view.backends.len()).find(is_left) {
        None => Ok(()),
        Some(index) => Err(format!(
            "nobody is picked, and backend {} is there",
            view.positions[index]
        )),
    }
}

/// Of a whole exchange.
const DEADLINE_MS: u64 = 5_000;
const PER_TRY_MS: u64 = 500;
/// Between an answer and the next request, on average.
const THINK_MS: u64 = 1_500;
