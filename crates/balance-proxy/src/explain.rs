//! What would become of a request or a session, and why: the steps of an exchange up to its backend, without taking,
//! sending or counting anything.
//!
//! Each step is the one that serves: the parser, `exchange::decision`, hygiene, the filters, the encoder and the
//! balancer. Only their order is written down once more, as [`exchange::run`](crate::exchange::run) has it; tests over
//! sockets hold the two together. Nothing is counted, so what depends on time or on other requests (the turn of a
//! pool, chance, whether a connect succeeds) is told as it stands at this moment.

mod destination;
mod head;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use balance_core::{Cause, RouteId, Timeouts};
use balance_proto::http1::{Progress, RequestHead};
use balance_proto::hygiene::edit_request;
use balance_proto::{HeadEdits, HeadView, RequestView};
use balance_route::Trace;
use balance_tls::Certificates;

use crate::exchange::decision::{self, Plan, Scope, Sender};
use crate::exchange::retry::may_be_sent_again;
use crate::filter;
use crate::http1::{offered_upgrade, write_request};
use crate::own_response::OwnResponse;
use crate::snapshot::{ListenerRules, Snapshot};
use crate::tcp::server_name;

pub use destination::{Candidate, Destination, Hashed};
pub use head::{Author, LostField, SentField, SentHead};

use head::Recorder;

/// What a question is asked about, and when.
#[derive(Clone, Copy)]
pub struct Explainer<'a> {
    pub snapshot: &'a Snapshot,
    /// The position in the snapshot.
    pub listener: usize,
    /// Where the request or session comes from.
    pub peer: IpAddr,
    /// Whom the client names in its handshake.
    pub server_name: Option<&'a str>,
    /// Which certificates it is shown, where TLS is ended.
    pub certificates: Option<&'a Certificates>,
    /// Our name in Via.
    pub via_name: &'a str,
    /// The clock that the backends' gates are fed with.
    pub now_ms: u64,
    /// Of the numbers that balancing draws.
    pub seed: u64,
    /// Whether to tell every route that is asked. That takes a look at each, which serving does not need.
    pub is_tracing: bool,
}

/// The life of a request up to its backend.
#[derive(Clone, Debug)]
pub struct RequestExplanation {
    /// The request as it was understood; `None` if it was not.
    pub request: Option<RequestLine>,
    /// The peer, or whoever it speaks for.
    pub client: IpAddr,
    pub peer_is_trusted: bool,
    /// `None` where it does not come to routing, or nobody asked for it.
    pub trace: Option<Trace>,
    pub route: Option<RouteId>,
    pub outcome: Outcome,
}

/// The life of a session up to its backend.
#[derive(Clone, Debug)]
pub struct SessionExplanation {
    /// `None` where the name of the server does not matter, or there is none.
    pub trace: Option<Trace>,
    pub route: Option<RouteId>,
    /// `None`: no route takes it, and the listener has no pool.
    pub destination: Option<Destination>,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLine {
    pub method: String,
    pub authority: String,
    pub path_and_query: String,
}

/// How far a request comes.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Balance answers itself.
    Answered(Answer),
    Forwarded(Box<Forward>),
    /// It should be forwarded, but no backend can be had: Balance answers after all.
    Stranded(Box<Forward>, Answer),
}

/// A response of our own.
#[derive(Clone, Debug)]
pub struct Answer {
    pub stage: Stage,
    pub status: u16,
    pub cause: Cause,
    /// Content-Type among them; without what every response has.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The request cannot be read, or only in more than one way.
    Parser,
    /// It is for another host than its connection.
    Host,
    /// It exceeds a limit that needs no route.
    Limits,
    /// Its route answers, or there is none.
    Route,
    /// It must not be passed on.
    Hygiene,
    /// The filter at this position.
    Filter(usize),
    /// No backend of its pool can be had.
    Balancer,
}

/// A request on its way to a backend.
#[derive(Clone, Debug)]
pub struct Forward {
    /// What the backend gets to read.
    pub head: SentHead,
    /// Filters, by position, that ask somebody else first. They were not asked to.
    pub waiting_filters: Vec<usize>,
    pub destination: Destination,
    pub timeouts: Timeouts,
    /// Whether it may be sent again after a connection was lost without an answer.
    pub is_repeatable: bool,
    /// Whether the retries of its pool, if it has any, may send it again after a backend has got it.
    pub is_retryable: bool,
}

/// The bytes are not exactly one request head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOneHead {
    #[error("what is asked does not end where a request ends")]
    Incomplete,
    #[error("what is asked is more than one request: there is an empty line in it")]
    Several,
}

impl Explainer<'_> {
    /// Explains an HTTP/1 request with this head, up to its empty line. It has no body but what it announces.
    ///
    /// # Errors
    /// It is no head, or more than one. A head that is refused is an explanation.
    pub fn request(&self, bytes: &[u8]) -> Result<RequestExplanation, NotOneHead> {
        let mut head = RequestHead::default();
        let explanation = match head.parse(bytes, &self.rules().head_settings()) {
            Ok(Progress::Complete { consumed }) if consumed == bytes.len() => {
                self.accepted(&head, bytes)
            }
            Ok(Progress::Complete { .. }) => return Err(NotOneHead::Several),
            Ok(Progress::Partial) => return Err(NotOneHead::Incomplete),
            Err(error) => {
                let answer = Answer::new(Stage::Parser, &OwnResponse::unreadable(error));
                let client = self.peer.to_canonical();
                self.explanation(None, client, Outcome::Answered(answer))
            }
        };
        Ok(explanation)
    }

    /// Explains a TCP session whose client names this server, in lower case, or none.
    pub fn session(&self, server_name: Option<&str>) -> SessionExplanation {
        let rules = self.rules();
        let route = server_name::route(rules, server_name);
        let pool = server_name::pool(self.snapshot, rules, route);
        SessionExplanation {
            trace: server_name
                .filter(|_| server_name::is_asked(rules))
                .map(|name| server_name::trace(rules, name)),
            route,
            destination: pool.map(|pool| Destination::find(self, pool, self.peer, |_| None)),
        }
    }

    fn rules(&self) -> &ListenerRules {
        &self.snapshot.listeners[self.listener]
    }

    fn explanation(
        &self,
        request: Option<RequestLine>,
        client: IpAddr,
        outcome: Outcome,
    ) -> RequestExplanation {
        RequestExplanation {
            request,
            client,
            peer_is_trusted: self.rules().trusts(self.peer),
            trace: None,
            route: None,
            outcome,
        }
    }

    /// In the order of [`exchange::run`](crate::exchange::run).
    fn accepted(&self, head: &RequestHead, received: &[u8]) -> RequestExplanation {
        let rules = self.rules();
        let client = decision::client_of(rules, head, self.peer);
        let request = Some(RequestLine::of(head));
        if let Err(response) = decision::admit_host(self.certificates, self.server_name, head) {
            let answer = Answer::new(Stage::Host, &response);
            return self.explanation(request, client, Outcome::Answered(answer));
        }
        if let Err(response) = decision::admit(rules, head.body()) {
            let answer = Answer::new(Stage::Limits, &response);
            return self.explanation(request, client, Outcome::Answered(answer));
        }
        let route = decision::route(rules, self.server_name, head);
        let outcome = match decision::plan(self.snapshot, rules, route, head) {
            Plan::Own(response) => Outcome::Answered(Answer::new(Stage::Route, &response)),
            Plan::Forward(destination) => {
                let pool = destination.peek(self.snapshot);
                let scope = Scope {
                    listener: self.listener,
                    route,
                    pool: Some(pool),
                };
                match self.edited(head, received, scope, client) {
                    Ok(edited) => {
                        let destination =
                            Destination::find(self, pool, client, |name| head.get(name.as_bytes()));
                        self.forwarded(head, edited, scope, destination)
                    }
                    Err(answer) => Outcome::Answered(answer),
                }
            }
        };
        RequestExplanation {
            trace: self.is_tracing.then(|| decision::trace(rules, head)),
            route,
            ..self.explanation(request, client, outcome)
        }
    }

    /// Hygiene and the request filters.
    fn edited(
        &self,
        head: &RequestHead,
        received: &[u8],
        scope: Scope,
        client: IpAddr,
    ) -> Result<Edited, Answer> {
        let rules = self.rules();
        let mut edits = HeadEdits::default();
        let mut recorder = Recorder::new(head, received);
        let sender = Sender {
            peer: self.peer,
            client,
            scheme: head.scheme(),
        };
        let context = decision::forward_context(rules, sender, self.via_name, &REQUEST_ID);
        edit_request(head, &mut edits, &context)
            .map_err(|error| Answer::new(Stage::Hygiene, &OwnResponse::refused(error)))?;
        recorder.note(Author::Hygiene, head, &edits);

        let context = decision::filter_context(rules, client, head.scheme());
        let mut waiting_filters = Vec::new();
        for (index, filter) in scope.filters(self.snapshot).iter().enumerate() {
            let filters = std::slice::from_ref(filter);
            match poll_once(filter::run_request(filters, head, &mut edits, &context)) {
                Some(Ok(())) => recorder.note(Author::Filter(index), head, &edits),
                Some(Err(response)) => return Err(Answer::new(Stage::Filter(index), &response)),
                None => waiting_filters.push(index),
            }
        }
        Ok(Edited {
            edits,
            recorder,
            waiting_filters,
        })
    }

    fn forwarded(
        &self,
        head: &RequestHead,
        edited: Edited,
        scope: Scope,
        destination: Destination,
    ) -> Outcome {
        let Edited {
            mut edits,
            recorder,
            waiting_filters,
        } = edited;
        if let Some(backend) = destination.picked(self.snapshot)
            && head.authority().is_empty()
        {
            decision::name_backend(&mut edits, backend);
        }
        let mut encoded = Vec::new();
        let upgrade = offered_upgrade(head, self.rules().protocol.enable_websocket);
        write_request(&mut encoded, head, &edits, head.body(), upgrade);
        let failure = destination.failure();
        let retry = self.snapshot.pools[destination.pool.index()].retry.as_ref();
        let forward = Box::new(Forward {
            head: recorder.finish(head, &edits, &encoded),
            waiting_filters,
            destination,
            timeouts: scope.timeouts(self.snapshot).clone(),
            is_repeatable: head.method_kind().is_idempotent(),
            is_retryable: retry.is_some_and(|rules| may_be_sent_again(&rules.policy, head)),
        });
        match failure {
            None => Outcome::Forwarded(forward),
            Some(cause) => {
                let answer = Answer::new(Stage::Balancer, &OwnResponse::of_cause(cause));
                Outcome::Stranded(forward, answer)
            }
        }
    }
}

/// A request as it will be sent, and how it came to be so.
struct Edited {
    edits: HeadEdits,
    recorder: Recorder,
    waiting_filters: Vec<usize>,
}

impl RequestLine {
    fn of(head: &RequestHead) -> Self {
        Self {
            method: text(head.method()),
            authority: text(head.authority()),
            path_and_query: text(head.path_and_query()),
        }
    }
}

impl Answer {
    fn new(stage: Stage, response: &OwnResponse) -> Self {
        let content_type = Some(&response.content_type).filter(|value| !value.is_empty());
        let typed = content_type.map(|value| ("Content-Type".to_owned(), value.clone()));
        let others = response
            .fields()
            .map(|(name, value)| (text(name.as_bytes()), text(value.as_bytes())));
        Self {
            stage,
            status: response.status,
            cause: response.cause,
            fields: typed.into_iter().chain(others).collect(),
            body: response.body.clone(),
        }
    }
}

/// `None` if it waits for somebody.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// For people: what is not UTF-8 is replaced.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Stands for the X-Request-ID that each request gets anew.
pub const REQUEST_ID: [u8; 32] = [b'0'; 32];
