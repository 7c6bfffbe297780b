//! An explanation as it is told: names and places instead of positions. It is what the admin API answers with, what the
//! command line reads, and what `--format json` prints.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What would become of a request or session, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub verdict: Verdict,
    pub source: Source,
    pub listener: Listener,
    /// Absent in cleartext, and when the certificates cannot be used: `balance check` says why.
    pub tls: Option<Tls>,
    /// Where it comes from.
    pub peer: IpAddr,
    /// The peer, or whoever it speaks for.
    pub client: IpAddr,
    /// Whether what the peer says about the client is believed.
    pub peer_is_trusted: bool,
    /// As it was understood. Absent in tcp mode, and when it was not.
    pub request: Option<Request>,
    /// Absent where it does not come to routing.
    pub routes: Option<Routes>,
    /// In the order they act.
    pub filters: Vec<Filter>,
    /// What the backend gets to read.
    pub sent: Option<Sent>,
    pub pool: Option<Pool>,
    pub timeouts: Vec<Timeout>,
    /// What is tried again, in sentences.
    pub retries: Vec<String>,
    /// What Balance answers itself.
    pub answer: Option<Answer>,
}

/// The end of it in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub outcome: Outcome,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It goes to a backend.
    Forwarded,
    /// Its route answers: a redirect or a direct response.
    Answered,
    /// It gets an error.
    Refused,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub config: String,
    /// That of the running process; absent where a file was asked, which knows no states.
    pub generation: Option<u64>,
}

/// What a client is shown in its handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// Whom it names.
    pub server_name: Option<String>,
    /// The first whose key it can check: one for each kind of key.
    pub certificates: Vec<Certificate>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    pub file: String,
    pub place: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    pub name: String,
    /// `file:line`, as everywhere here.
    pub place: String,
    pub mode: String,
    pub address: String,
    /// `cleartext` or `TLS`.
    pub transport: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub method: String,
    pub authority: String,
    pub path_and_query: String,
}

/// The routes that were asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routes {
    /// In order of precedence, up to the one that takes the request.
    pub asked: Vec<Asked>,
    /// How many stand behind it.
    pub unasked: usize,
    /// The one that takes it.
    pub decided: Option<String>,
    /// What it does, or what is done without one.
    pub action: String,
    /// Where copies go, and how many of the requests.
    pub mirror: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub name: String,
    pub place: String,
    /// What the request lacks; absent where it matches.
    pub mismatch: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    pub what: String,
    /// It would ask somebody else first; that was left out, and the filters after it act as if it had let the request
    /// pass.
    pub waits: bool,
}

/// A request head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    pub method: String,
    pub path_and_query: String,
    /// Who replaced the path; absent where it is the client's.
    pub path_by: Option<String>,
    /// In the order of the wire.
    pub fields: Vec<Field>,
    /// What the client sent and the backend does not see.
    pub removed: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    pub name: String,
    pub value: String,
    /// Who wrote or removed it; absent for what passes unchanged.
    pub by: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub name: String,
    pub place: String,
    /// The definition, when this is a route's choice among its backends.
    pub view_of: Option<String>,
    /// Its share, `95 of 100`, where a split draws the pool. It is the one whose turn is next; each request of the
    /// route takes a turn.
    pub turn: Option<String>,
    pub algorithm: String,
    /// What is hashed.
    pub hashed: Option<String>,
    pub backends: Vec<Backend>,
    pub pick: Option<Pick>,
    /// Where the request goes on while connects fail, in this order.
    pub then: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    pub name: String,
    pub place: String,
    pub address: String,
    /// How connections to it are secured, `TLS as a.test`: the name that its certificate must have.
    pub tls: Option<String>,
    /// What is spoken to it, `HTTP/2`. Absent where that is HTTP/1.1.
    pub protocol: Option<String>,
    /// What a name stands for.
    pub resolved: Vec<String>,
    /// Absent where a file was asked.
    pub state: Option<State>,
    pub weight: u32,
    /// 0 = unlimited.
    pub max_connections: u32,
    /// Why it cannot be picked.
    pub excluded: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// `pickable`, `resting`, `half_open`, `unhealthy`, `ejected`, `draining` or `disabled`.
    pub gate: String,
    /// Until a rest or trial ends.
    pub rest_left_ms: u64,
    /// Failed connects in a row.
    pub failures: u32,
    /// Leases: connections in use.
    pub in_flight: u32,
    /// What it gets of its share; absent where that is all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start_percent: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pick {
    pub backend: String,
    pub address: String,
    /// Whether the next such request goes there for sure, as things stand.
    pub is_certain: bool,
    /// How it was chosen.
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeout {
    pub name: String,
    /// 0 = off.
    pub ms: u64,
}

/// A response of our own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub status: u16,
    /// As in the access log.
    pub cause: String,
    /// Who answers, and why.
    pub by: String,
    pub fields: Vec<Field>,
    pub body: String,
}
