//! One immutable compiled configuration, as the data path sees it.
//!
//! Control builds it, the workers read it. Every table is dense: an id is an index. Whatever outlives
//! a reload (backend state, cursors, connections) is held behind an `Arc` that control carries over.

use std::net::IpAddr;
use std::sync::Arc;

use balance_core::{
    HashKey, IdleSettings, Limits, MirrorId, PoolId, ProtocolSettings, ProxyVersion, RetryPolicy,
    RouteId, SplitId, Timeouts, UpstreamProtocol,
};
use balance_lb::Places;
use balance_proto::Scheme;
use balance_proto::http1::HeadSettings;
use balance_proto::http2::ConnectionSettings;
use balance_route::RouteTable;
use balance_telemetry::AccessLog;
use balance_tls::{Certificates, ClientPolicy, ServerPolicy};
use ipnet::IpNet;

use crate::endpoint::Endpoint;
use crate::filter::Filter;
use crate::listener::ListenerKey;
use crate::mirror::MirrorRules;
use crate::own_response::{Redirect, Respond};
use crate::policy::Policy;
use crate::split::SplitRules;
use crate::upstream::PoolLimits;

/// Everything the data path needs to know, compiled.
pub struct Snapshot {
    /// Grows by one with each publish of the process.
    pub generation: u64,
    pub listeners: Vec<ListenerRules>,
    /// Indexed by [`RouteId`].
    pub routes: Vec<RouteRules>,
    /// Indexed by [`SplitId`].
    pub splits: Vec<SplitRules>,
    /// Indexed by [`MirrorId`].
    pub mirrors: Vec<MirrorRules>,
    /// Indexed by [`PoolId`]; definitions and the `route:<name>` views.
    pub pools: Vec<PoolRules>,
    /// Where finished exchanges are logged; `None` = no access log.
    pub access_log: Option<Arc<AccessLog>>,
}

/// What a listener's connections are served by.
pub struct ListenerRules {
    pub key: ListenerKey,
    /// The name of the configuration: the label of metrics and logs.
    pub name: String,
    pub mode: Mode,
    /// Which routes apply here, in their order (http mode).
    pub table: Arc<RouteTable>,
    /// The routes by the name in the handshake, for requests that none of `table` takes (http mode). `None`: there are
    /// none.
    pub server_names: Option<Arc<RouteTable>>,
    /// When no route matches (http) and for every session (tcp). `None`: 404, cause `no_route`.
    pub pool: Option<PoolId>,
    /// The only peers, and they must begin with a PROXY header. `None`: everybody, without one.
    pub proxy_sources: Option<Vec<IpNet>>,
    /// How URLs that reach it begin.
    pub scheme: Scheme,
    /// How its connections are secured; `None`: they are not.
    pub tls: Option<Arc<ServerPolicy>>,
    /// Peers whose X-Forwarded-* is believed.
    pub trusted_proxies: Vec<IpNet>,
    pub protocol: ProtocolSettings,
    pub limits: Limits,
    /// `head` and `idle` of connections, and the deadlines of exchanges that match no route.
    pub timeouts: Timeouts,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    Http,
    Tcp,
}

impl Mode {
    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }
}

/// What happens to a request that a route matched. On one cache line of its own as far as an exchange reads it: of ten
/// thousand routes the time to find out what to do is that of fetching it.
#[repr(align(64))]
pub struct RouteRules {
    pub name: Box<str>,
    pub action: Action,
    /// Where copies of what it forwards go.
    pub mirror: Option<MirrorId>,
    /// In the order they run.
    pub filters: Box<[Filter]>,
    /// Of a split, until a pool is drawn: each share has its own. Shared by routes that have the same: of ten thousand
    /// routes the ones in use stay in the processor's cache then.
    pub timeouts: Arc<Timeouts>,
}

/// What a route does.
pub enum Action {
    Forward(PoolId),
    Split(SplitId),
    Redirect(Box<Redirect>),
    Respond(Box<Respond>),
}

/// A named group of backends with one balancing policy, or a route's view of some of them.
pub struct PoolRules {
    /// The label of metrics and logs.
    pub name: String,
    pub policy: Policy,
    pub hash_key: HashKey,
    /// In the order of the members of its balancer.
    pub members: Vec<Arc<Endpoint>>,
    /// The PROXY header that each connection to its backends begins with.
    pub send_proxy: Option<ProxyVersion>,
    /// For each member, how connections to it are secured; `None`: they are not.
    pub tls: Option<Vec<Arc<ClientPolicy>>>,
    /// What is spoken to its backends.
    pub protocol: UpstreamProtocol,
    pub idle: IdleSettings,
    pub limits: PoolLimits,
    /// `connect`, `tunnel` and the L4 `idle` of sessions that came by no route.
    pub timeouts: Timeouts,
    /// Runs for requests that reach the pool without a route (top-level `transform`).
    pub filters: Vec<Filter>,
    /// How failed attempts are repeated, beyond what needs no configuration.
    pub retry: Option<RetryRules>,
}

/// How the exchanges of a pool repeat failed attempts.
pub struct RetryRules {
    pub policy: RetryPolicy,
    /// The retries under way, over all workers; outlives reloads.
    pub under_way: Arc<Places>,
}

impl Snapshot {
    /// The deadlines of an exchange that a route took. Of a split they are known once its pool is.
    pub(crate) fn route_timeouts(&self, route: RouteId, pool: Option<PoolId>) -> &Timeouts {
        let rules = &self.routes[route.index()];
        match (&rules.action, pool) {
            (Action::Split(split), Some(pool)) => {
                let split = &self.splits[split.index()];
                let share = split
                    .position(pool)
                    .map(|position| &split.shares()[position]);
                share.map_or(&rules.timeouts, |share| &share.timeouts)
            }
            _ => &rules.timeouts,
        }
    }
}

impl ListenerRules {
    /// What the parser of request and response heads holds them to. The scheme of a request is that of its connection.
    pub(crate) fn head_settings(&self) -> HeadSettings {
        HeadSettings::new(&self.limits, &self.protocol, self.scheme)
    }

    /// What connections of HTTP/2 with clients are held to.
    pub(crate) fn http2_settings(&self) -> ConnectionSettings {
        ConnectionSettings::new(&self.limits.http2, self.head_settings())
    }

    /// Which certificates its clients are shown, if it ends TLS.
    pub(crate) fn certificates(&self) -> Option<&Certificates> {
        self.tls.as_ref().map(|tls| &**tls.certificates())
    }

    /// Whether forwarding headers from `peer` are believed.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}
