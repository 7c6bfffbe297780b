//! From what the data path says about itself to an [`Explanation`]: positions become names and places.

use std::time::Duration;

use balance_config::{Place, PoolKind};
use balance_core::{Algorithm, BackendId, Cause, PoolId, RouteId, Timeouts, UpstreamProtocol};
use balance_lb::GateState;
use balance_proto::Scheme;
use balance_proxy::explain::{
    Answer as OwnAnswer, Author, Candidate, Destination, Explainer, Forward, Hashed,
    Outcome as Fate, REQUEST_ID, RequestExplanation, SentHead, SessionExplanation, Stage,
};
use balance_proxy::{Action, Filter as FilterRules, RetryRules, ShareRules};
use balance_route::Trace;

use super::{
    Answer, Asked, Backend, Certificate, Explanation, Field, Filter, Listener, Outcome, Pick, Pool,
    Request, Routes, Sent, Source, State, Subject, Timeout, Tls, Verdict,
};
use crate::view::show_address;

impl Subject<'_> {
    pub(super) fn request(
        &self,
        explainer: &Explainer<'_>,
        explained: &RequestExplanation,
    ) -> Explanation {
        let (forward, answer) = match &explained.outcome {
            Fate::Answered(answer) => (None, Some(answer)),
            Fate::Forwarded(forward) => (Some(&**forward), None),
            Fate::Stranded(forward, answer) => (Some(&**forward), Some(answer)),
        };
        let pool = forward.map(|forward| Pool {
            turn: self.turn(explained, forward.destination.pool),
            ..self.pool(&forward.destination)
        });
        let answer = answer.map(|answer| self.answer(answer, explained));
        let verdict = verdict(pool.as_ref(), answer.as_ref(), explained);
        let mut explanation = self.common(explainer, verdict);
        explanation.client = explained.client;
        explanation.peer_is_trusted = explained.peer_is_trusted;
        explanation.request = explained.request.as_ref().map(|line| Request {
            method: line.method.clone(),
            authority: line.authority.clone(),
            path_and_query: line.path_and_query.clone(),
        });
        let trace = explained.trace.as_ref();
        explanation.routes = trace.map(|trace| self.routes(explainer, trace, explained.route));
        explanation.answer = answer;
        explanation.pool = pool;
        if let Some(forward) = forward {
            explanation.filters = self.filters(explained.route, forward);
            explanation.sent = Some(sent(&forward.head));
            explanation.timeouts = http_timeouts(&forward.timeouts);
            let pool = &self.snapshot.pools[forward.destination.pool.index()];
            explanation.retries = http_retries(forward, pool.retry.as_ref());
        }
        explanation
    }

    pub(super) fn session(
        &self,
        explainer: &Explainer<'_>,
        explained: &SessionExplanation,
    ) -> Explanation {
        let trace = explained.trace.as_ref();
        let routes = trace.map(|trace| self.routes(explainer, trace, explained.route));
        let reset = |cause: Cause| Verdict {
            outcome: Outcome::Refused,
            text: format!("would be reset: {}", cause.name()),
        };
        let Some(destination) = &explained.destination else {
            return Explanation {
                routes,
                ..self.common(explainer, reset(Cause::NoRoute))
            };
        };
        let pool = self.pool(destination);
        let verdict = match (&pool.pick, destination.failure()) {
            (None, Some(cause)) => reset(cause),
            _ => forwarded(&pool),
        };
        let timeouts = match explained.route {
            Some(route) => &self.snapshot.routes[route.index()].timeouts,
            None => &self.snapshot.pools[destination.pool.index()].timeouts,
        };
        Explanation {
            timeouts: tcp_timeouts(timeouts),
            retries: vec![NEXT_BACKEND.to_owned()],
            routes,
            pool: Some(pool),
            ..self.common(explainer, verdict)
        }
    }

    /// What there is to say about everything.
    fn common(&self, explainer: &Explainer<'_>, verdict: Verdict) -> Explanation {
        let rules = &self.snapshot.listeners[explainer.listener];
        let mut configured = self.config.listeners.iter();
        let place = configured
            .find(|listener| listener.name == rules.name)
            .map_or_else(String::new, |listener| place(&listener.place));
        Explanation {
            verdict,
            source: Source {
                config: self.path.to_owned(),
                generation: self.is_running().then_some(self.snapshot.generation),
            },
            listener: Listener {
                name: rules.name.clone(),
                place,
                mode: rules.mode.name().to_owned(),
                address: rules.key.address.to_string(),
                transport: match rules.scheme {
                    Scheme::Http => "cleartext".to_owned(),
                    Scheme::Https => "TLS".to_owned(),
                },
            },
            tls: self.shown(explainer),
            peer: explainer.peer,
            client: explainer.peer,
            peer_is_trusted: false,
            request: None,
            routes: None,
            filters: Vec::new(),
            sent: None,
            pool: None,
            timeouts: Vec::new(),
            retries: Vec::new(),
            answer: None,
        }
    }

    /// Which certificates the client is shown.
    fn shown(&self, explainer: &Explainer<'_>) -> Option<Tls> {
        let rules = &self.snapshot.listeners[explainer.listener];
        let written = &self.tls(&rules.name)?.certificates;
        let shown = explainer.certificates?.shown_to(explainer.server_name);
        let certificates = shown.into_iter().map(|entry| {
            let file = &written[entry].files.certificate;
            Certificate {
                file: file.value.clone(),
                place: place(&file.place),
            }
        });
        Some(Tls {
            server_name: explainer.server_name.map(str::to_owned),
            certificates: certificates.collect(),
        })
    }

    fn routes(&self, explainer: &Explainer<'_>, trace: &Trace, decided: Option<RouteId>) -> Routes {
        let rules = &self.snapshot.listeners[explainer.listener];
        // A trace follows the order of the table.
        let specs = rules.table.routes();
        let asked = trace.steps.iter().zip(specs).map(|(step, spec)| {
            let route = &self.config.routes[step.route.index()];
            Asked {
                name: route.name.clone(),
                place: place(&route.place),
                mismatch: step.mismatch.map(|mismatch| mismatch.reason(spec)),
            }
        });
        Routes {
            asked: asked.collect(),
            unasked: trace.unasked,
            decided: decided.map(|route| self.snapshot.routes[route.index()].name.to_string()),
            mirror: decided.and_then(|route| self.mirror(route)),
            action: match (decided, rules.pool) {
                (Some(route), _) => self.action(&self.snapshot.routes[route.index()].action),
                (None, Some(pool)) => format!("{} of the listener", self.pool_text(pool)),
                (None, None) => "no route matches, and the listener has no pool".to_owned(),
            },
        }
    }

    fn action(&self, action: &Action) -> String {
        match action {
            Action::Forward(pool) => self.pool_text(*pool),
            Action::Split(split) => {
                let shares = self.snapshot.splits[split.index()].shares().iter();
                let share = |share: &ShareRules| {
                    let name = &self.snapshot.pools[share.pool.index()].name;
                    format!("{name} {}", share.weight.0)
                };
                format!(
                    "split over pools {}",
                    shares.map(share).collect::<Vec<_>>().join(", ")
                )
            }
            Action::Redirect(redirect) => format!("redirect {}", redirect.status),
            Action::Respond(respond) => format!("respond {}", respond.status),
        }
    }

    /// Where copies of its requests go.
    fn mirror(&self, route: RouteId) -> Option<String> {
        let mirror = self.config.routes[route.index()].mirror.as_ref()?;
        let name = &self.config.pools[mirror.pool.index()].name;
        let percent = mirror.sample * 100.0;
        Some(format!("{percent}% are copied to pool {name}"))
    }

    /// What a split gives a pool: `95 of 100`. `None` without one.
    fn turn(&self, explained: &RequestExplanation, pool: PoolId) -> Option<String> {
        let Action::Split(split) = self.snapshot.routes[explained.route?.index()].action else {
            return None;
        };
        let shares = self.snapshot.splits[split.index()].shares();
        let own = shares.iter().find(|share| share.pool == pool)?;
        let sum: u64 = shares.iter().map(|share| u64::from(share.weight.0)).sum();
        Some(format!("{} of {sum}", own.weight.0))
    }

    fn pool_text(&self, pool: PoolId) -> String {
        format!("pool {}", self.snapshot.pools[pool.index()].name)
    }

    fn filters(&self, route: Option<RouteId>, forward: &Forward) -> Vec<Filter> {
        let pool = forward.destination.pool;
        let rules: &[FilterRules] = match route {
            Some(route) => &self.snapshot.routes[route.index()].filters,
            None => &self.snapshot.pools[pool.index()].filters,
        };
        let filter = |(index, rules): (usize, &FilterRules)| Filter {
            what: rules.to_string(),
            waits: forward.waiting_filters.contains(&index),
        };
        rules.iter().enumerate().map(filter).collect()
    }

    fn pool(&self, destination: &Destination) -> Pool {
        let pool = &self.config.pools[destination.pool.index()];
        let candidates = destination.candidates.iter().zip(&pool.members);
        let backends: Vec<Backend> = candidates
            .enumerate()
            .map(|(index, (candidate, id))| self.backend(destination.pool, index, candidate, *id))
            .collect();
        let mut order = destination.rehearsal.order.iter();
        let pick = order.next().map(|index| Pick {
            backend: backends[*index].name.clone(),
            address: backends[*index].address.clone(),
            ..self.choice(pool.algorithm, destination, *index)
        });
        Pool {
            name: pool.name.clone(),
            place: place(&pool.place),
            view_of: match pool.kind {
                PoolKind::Definition => None,
                PoolKind::View { of, .. } => Some(self.config.pools[of.index()].name.clone()),
            },
            turn: None,
            algorithm: pool.algorithm.name().to_owned(),
            hashed: destination.hashed.as_ref().map(hashed),
            pick,
            then: order.map(|index| backends[*index].name.clone()).collect(),
            backends,
        }
    }

    fn backend(&self, pool: PoolId, index: usize, candidate: &Candidate, id: BackendId) -> Backend {
        let configured = &self.config.backends[id.index()];
        let endpoint = &self.snapshot.pools[pool.index()].members[index];
        let tls = self.config.pools[pool.index()].tls.as_ref();
        let resolved = endpoint.addresses().iter().map(show_address).collect();
        let state = &candidate.state;
        Backend {
            name: configured.name.clone(),
            place: place(&configured.place),
            address: configured.address.value.to_string(),
            tls: tls.map(|tls| match tls.name_for(&configured.address.value) {
                Some(name) if tls.verifies => format!("TLS as {name}"),
                Some(name) => format!("TLS as {name}, verifying nothing"),
                None => "TLS".to_owned(),
            }),
            protocol: match self.snapshot.pools[pool.index()].protocol {
                UpstreamProtocol::Http1 => None,
                UpstreamProtocol::Http2 => Some("HTTP/2".to_owned()),
                UpstreamProtocol::Auto => Some("what ALPN chooses".to_owned()),
            },
            resolved,
            state: self.is_running().then(|| State {
                gate: state.gate.name().to_owned(),
                rest_left_ms: state.rest_left_ms,
                failures: state.failures,
                in_flight: state.in_flight,
                slow_start_percent: state.ramp.map(|ramp| ramp.percent),
            }),
            weight: endpoint.weight(configured.weight).0,
            max_connections: configured.max_connections,
            excluded: excluded(candidate),
        }
    }

    /// How the backend at `index` was chosen; its names are filled in by the caller.
    fn choice(&self, algorithm: Algorithm, destination: &Destination, index: usize) -> Pick {
        let open = destination.candidates.iter().filter(|one| is_open(one));
        let open = open.count();
        let state = &destination.candidates[index].state;
        let (is_certain, why) = match (open, state.gate) {
            (0, _) => (
                true,
                "all that are left rest: the one whose rest ends first".to_owned(),
            ),
            (1, _) => (true, "the only one that can be picked".to_owned()),
            (_, GateState::Resting { .. } | GateState::HalfOpen { .. }) => (
                false,
                format!("{}, and its rest is over: a trial", chosen_by(algorithm)),
            ),
            (_, GateState::Broken) => (
                false,
                format!(
                    "{}, and its breaker is half open: a trial",
                    chosen_by(algorithm)
                ),
            ),
            _ => (is_certain(algorithm), chosen_by(algorithm).to_owned()),
        };
        Pick {
            backend: String::new(),
            address: String::new(),
            is_certain,
            why,
        }
    }

    fn answer(&self, answer: &OwnAnswer, explained: &RequestExplanation) -> Answer {
        let route = explained.route;
        let name = route.map(|route| &*self.snapshot.routes[route.index()].name);
        let by = match (answer.stage, name) {
            (Stage::Parser, _) => "the request is refused as it is read".to_owned(),
            (Stage::Host, _) => {
                "the client is shown another certificate than for this host".to_owned()
            }
            (Stage::Limits, _) => "the request exceeds a limit".to_owned(),
            (Stage::Route, Some(name)) => format!("route {name} answers"),
            (Stage::Route, None) => "no route matches, and the listener has no pool".to_owned(),
            (Stage::Hygiene, _) => "the request must not be passed on".to_owned(),
            (Stage::Filter(_), _) => "a filter refuses the request".to_owned(),
            (Stage::Balancer, _) => "no backend can be picked".to_owned(),
        };
        let field = |(name, value): &(String, String)| Field {
            name: name.clone(),
            value: value.clone(),
            by: None,
        };
        Answer {
            status: answer.status,
            cause: answer.cause.name().to_owned(),
            by,
            fields: answer.fields.iter().map(field).collect(),
            body: String::from_utf8_lossy(&answer.body).into_owned(),
        }
    }
}

fn verdict(
    pool: Option<&Pool>,
    answer: Option<&Answer>,
    explained: &RequestExplanation,
) -> Verdict {
    match (answer, pool) {
        (Some(answer), _) if answer.cause == "completed" => {
            let to = answer.fields.iter().find(|field| field.name == "Location");
            let to = to.map_or_else(String::new, |field| format!(" to {}", field.value));
            Verdict {
                outcome: Outcome::Answered,
                text: format!(
                    "would be answered with {}{to}: {}",
                    answer.status, answer.by
                ),
            }
        }
        (Some(answer), _) => Verdict {
            outcome: Outcome::Refused,
            // Of an error the first line says what the client is told: status, cause and reason.
            text: format!(
                "would be refused: {}",
                answer.body.lines().next().unwrap_or_default()
            ),
        },
        (None, Some(pool)) => forwarded(pool),
        (None, None) => {
            debug_assert!(false, "neither forwarded nor answered: {explained:?}");
            Verdict {
                outcome: Outcome::Refused,
                text: "would go nowhere".to_owned(),
            }
        }
    }
}

fn forwarded(pool: &Pool) -> Verdict {
    let to = pool.pick.as_ref().map_or_else(String::new, |pick| {
        format!(", backend {} ({})", pick.backend, pick.address)
    });
    let turn = pool
        .turn
        .as_ref()
        .map_or_else(String::new, |turn| format!(" (its turn is next: {turn})"));
    Verdict {
        outcome: Outcome::Forwarded,
        text: format!("would go to pool {}{turn}{to}", pool.name),
    }
}

fn sent(head: &SentHead) -> Sent {
    Sent {
        method: head.method.clone(),
        path_and_query: head.path_and_query.clone(),
        path_by: head.path_author.map(author),
        fields: head
            .fields
            .iter()
            .map(|field| Field {
                name: field.name.clone(),
                value: match field.value.as_bytes() == REQUEST_ID {
                    true => "(new for each request)".to_owned(),
                    false => field.value.clone(),
                },
                by: field.author.map(author),
            })
            .collect(),
        removed: head
            .lost
            .iter()
            .map(|field| Field {
                name: field.name.clone(),
                value: field.value.clone(),
                by: Some(author(field.author)),
            })
            .collect(),
    }
}

fn author(author: Author) -> String {
    match author {
        Author::Parser => "underscores_in_headers",
        Author::Hygiene => "proxy rules",
        Author::Filter(_) => "transform",
        Author::Encoder => "connection",
    }
    .to_owned()
}

fn hashed(hashed: &Hashed) -> String {
    match hashed {
        Hashed::Header { name, value } => format!("header {name}: {value}"),
        Hashed::Client {
            ip,
            instead_of: None,
        } => format!("client {ip}"),
        Hashed::Client {
            ip,
            instead_of: Some(name),
        } => format!("client {ip}, for there is no header {name}"),
    }
}

/// Why it cannot be picked, if so.
fn excluded(candidate: &Candidate) -> Option<String> {
    let state = &candidate.state;
    let is_full = state.max_connections != 0 && state.in_flight >= state.max_connections;
    let why = match state.gate {
        _ if !candidate.is_eligible => "its weight is 0",
        GateState::Draining => "it drains",
        GateState::Disabled => "it is disabled",
        GateState::Resting { .. } if !state.is_pickable => "it rests after a failed connect",
        GateState::HalfOpen { .. } if !state.is_pickable => "a trial connect is under way",
        GateState::Broken if !state.is_pickable => "its circuit breaker is open",
        GateState::Ejected if !candidate.is_in_panic => "passive checks have ejected it",
        GateState::Unhealthy if !candidate.is_in_panic => "its health check fails",
        _ if is_full => "it is at its max_connections",
        _ => return None,
    };
    Some(why.to_owned())
}

fn is_open(candidate: &Candidate) -> bool {
    excluded(candidate).is_none()
}

fn chosen_by(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RoundRobin | Algorithm::WeightedRoundRobin => {
            "its turn is next; each request of anybody takes a turn"
        }
        Algorithm::LeastConnections => "it has the fewest connections; ties are drawn",
        Algorithm::WeightedLeastConnections => {
            "it has the fewest connections for its weight; ties are drawn"
        }
        Algorithm::ConsistentHash => "the key belongs to it",
        Algorithm::BoundedConsistentHash => {
            "the key belongs to it, or those before it on the ring have more than their share"
        }
        Algorithm::Random => "drawn by chance, each is as likely: this is one draw",
        Algorithm::PowerOfTwoChoices => {
            "two are drawn by chance, the one with fewer connections is taken: this is one draw"
        }
    }
}

/// Whether it stays the same while the states do.
fn is_certain(algorithm: Algorithm) -> bool {
    algorithm.needs_hash()
}

fn http_timeouts(timeouts: &Timeouts) -> Vec<Timeout> {
    list(&[
        ("connect", timeouts.connect),
        ("first_byte", timeouts.first_byte),
        ("read", timeouts.read),
        ("write_progress", timeouts.write_progress),
        ("request", timeouts.request),
    ])
}

fn tcp_timeouts(timeouts: &Timeouts) -> Vec<Timeout> {
    list(&[
        ("connect", timeouts.connect),
        ("write_progress", timeouts.write_progress),
        ("idle", timeouts.idle),
    ])
}

fn list(timeouts: &[(&str, Duration)]) -> Vec<Timeout> {
    let timeout = |(name, after): &(&str, Duration)| Timeout {
        name: (*name).to_owned(),
        ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
    };
    timeouts.iter().map(timeout).collect()
}

/// What `exchange::forward` does.
fn http_retries(forward: &Forward, configured: Option<&RetryRules>) -> Vec<String> {
    let after_loss = if forward.is_repeatable {
        "a connection lost without an answer: sent again, three times at most, while none of a body is lost"
    } else {
        "a connection lost without an answer: sent again only if nothing of it was sent"
    };
    let mut retries = vec![NEXT_BACKEND.to_owned(), after_loss.to_owned()];
    if let Some(rules) = configured {
        retries.extend(configured_retries(forward, rules));
    }
    retries
}

fn configured_retries(forward: &Forward, rules: &RetryRules) -> Vec<String> {
    let policy = &rules.policy;
    let what = policy.on.describe().join(", ");
    let attempts = format!(
        "then by configuration, {} attempts in all: {what}",
        policy.max_attempts
    );
    let again = if forward.is_retryable {
        format!(
            "its method may be sent again, with a body of {} bytes at most",
            policy.body_bytes_max
        )
    } else {
        "its method is not sent again after a backend has got it".to_owned()
    };
    let backoff = &policy.backoff;
    let delays = format!(
        "retries wait {:?}, times {} each, {:?} at most; {:.0}% of that is random",
        backoff.initial,
        backoff.multiplier,
        backoff.max,
        backoff.jitter * 100.0
    );
    let budget = format!(
        "{:.0}% of the pool's live requests may be retries, and 3 always; {} are under way",
        policy.budget * 100.0,
        rules.under_way.in_use()
    );
    let mut lines = vec![attempts, again, delays, budget];
    if !policy.per_try.is_zero() {
        lines.push(format!(
            "an attempt has {:?} for the head of its response",
            policy.per_try
        ));
    }
    lines
}

fn place(place: &Place) -> String {
    format!("{}:{}", place.file, place.line)
}

const NEXT_BACKEND: &str = "a failed connect: the next backend, until none is left";
