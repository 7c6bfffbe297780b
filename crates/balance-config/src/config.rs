//! The result: one normalized configuration, whatever form it was written in. Names are resolved to
//! positions, inheritance is applied, defaults are filled in; nothing here can be wrong any more except
//! about the world outside (addresses in use, names that do not resolve).
//!
//! Positions: `PoolId`, `BackendId` and `RouteId` index the vectors of [`Config`], in that order.

use std::num::NonZeroUsize;
use std::time::Duration;

use balance_core::{
    Algorithm, BackendAddress, BackendId, CircuitBreaker, HashKey, HealthCheck, IdleSettings,
    Limits, ListenAddress, PassiveChecks, PoolId, ProtocolSettings, ProxyVersion, RetryPolicy,
    RouteId, Timeouts, TlsVersion, UpstreamProtocol, Weight,
};
use ipnet::IpNet;

use crate::diagnostics::{Place, Spanned};
use crate::tls_material::CertificateFiles;

/// A complete configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub version: Version,
    pub listeners: Vec<Listener>,
    /// The pool `default` first where there is one, then `pools` in file order, then one view
    /// `route:<name>` for each route that names backends.
    pub pools: Vec<Pool>,
    /// The backends of all definitions. Views refer to the same entries.
    pub backends: Vec<Backend>,
    /// In file order; the order of deciding is priority, the listener's list, file.
    pub routes: Vec<Route>,
    /// What every exchange goes through that no route decided. Routes have it merged in already.
    pub transform: Transform,
    pub admin: Option<Admin>,
    pub metrics: Option<Metrics>,
    pub profiling: Option<Profiling>,
    pub logging: Logging,
    pub limits: Limits,
    /// Where `limits.connections_max` is written.
    pub connections_max_place: Option<Place>,
    /// What holds before a pool or route is known: `head`, `idle` and `drain` always come from here.
    pub timeouts: Timeouts,
    pub idle: IdleSettings,
    /// Idle upstream connections of the whole process, the oldest closed first.
    pub idle_upstream_max: usize,
    /// Bytes that the process may hold for peers which are not ready. 0 = unlimited.
    pub buffered_bytes_max: usize,
    pub protocol: ProtocolSettings,
    /// Data-path threads. `None` = one per core.
    pub worker_threads: Option<NonZeroUsize>,
    /// Whether TCP bytes may go from socket to socket inside the kernel.
    pub zero_copy: bool,
    pub shutdown: Shutdown,
    /// The name in Via. `None` = random per start.
    pub via_name: Option<String>,
}

/// Which rules a file asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// No `version`, or 1: as the original format documents.
    V1,
    /// Unknown keys are errors, prefixes end on segment borders, no match is 404.
    V2,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    Tcp,
    Http,
}

/// An address (or several) that it accepts on.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub name: String,
    pub place: Place,
    /// At least one.
    pub listen: Vec<Spanned<ListenAddress>>,
    pub mode: Mode,
    /// The only peers, and they must begin with a PROXY header. `None`: everybody, without one.
    pub proxy_sources: Option<Vec<IpNet>>,
    /// Peers whose X-Forwarded-* are believed.
    pub trusted_proxies: Vec<IpNet>,
    pub routes: RouteScope,
    /// Routes of sessions for requests that no route takes (http), by the name that the client asked for in its
    /// handshake, in the order in which they are asked.
    pub server_names: Vec<RouteId>,
    /// When no route matches (http), or for every session (tcp: always present).
    pub pool: Option<PoolId>,
    /// How its connections are secured; `None`: they are not.
    pub tls: Option<ListenerTls>,
}

/// TLS towards the clients of a listener. What its files say is not looked at here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    pub place: Place,
    /// At least one.
    pub certificates: Vec<TlsCertificate>,
    pub handshake: HandshakeSettings,
    /// Whose order of suites counts: ours, or the client's.
    pub prefers_server_order: bool,
    pub client_auth: ClientAuth,
    /// There when `client_auth` verifies.
    pub client_ca_file: Option<Spanned<String>>,
    /// `None`: what the mode speaks.
    pub alpn_protocols: Option<Vec<Spanned<String>>>,
}

/// TLS towards the backends of a pool. What its files say is not looked at here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    pub place: Place,
    /// Whether certificates must be of a known authority, and for the name.
    pub verifies: bool,
    /// `None`: the authorities that the system knows.
    pub ca_file: Option<Spanned<String>>,
    /// The name of each backend; `None`: the host of its address.
    pub server_name: Option<Spanned<String>>,
    /// What is shown to backends that ask for it.
    pub certificate: Option<CertificateFiles>,
    pub handshake: HandshakeSettings,
    /// Empty: none is asked for.
    pub alpn_protocols: Vec<Spanned<String>>,
}

impl UpstreamTls {
    /// The name that the certificate of the backend there must have. `None`: a unix socket has no name of its own.
    pub fn name_for(&self, address: &BackendAddress) -> Option<String> {
        match (&self.server_name, address) {
            (Some(name), _) => Some(name.value.clone()),
            (None, BackendAddress::Ip(address)) => Some(address.ip().to_string()),
            (None, BackendAddress::Name { host, .. }) => Some(host.clone()),
            (None, BackendAddress::Unix(_)) => None,
        }
    }
}

/// What both sides of TLS have to say about handshakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeSettings {
    pub min_version: TlsVersion,
    /// Not below `min_version`.
    pub max_version: TlsVersion,
    /// As written, whether known or not. Empty: all.
    pub cipher_suites: Vec<Spanned<String>>,
    pub resumes_sessions: bool,
}

/// A certificate of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCertificate {
    pub files: CertificateFiles,
    /// For clients that name no server, or an unknown one.
    pub is_default: bool,
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAuth {
    None,
    /// If they have one; not verified.
    Request,
    /// Some; not verified.
    Require,
    /// If they have one, it must be of a known authority.
    Verify,
    /// One of a known authority.
    RequireAndVerify,
}

/// Which routes a listener asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteScope {
    /// All routes of requests. A tcp listener always lists its own.
    All,
    /// These, in this order where priorities are equal.
    Listed(Vec<RouteId>),
}

/// A named group of backends with one balancing policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    pub name: String,
    pub place: Place,
    pub kind: PoolKind,
    /// Positions in [`Config::backends`], at least one, in file order.
    pub members: Vec<BackendId>,
    pub algorithm: Algorithm,
    pub hash_key: HashKey,
    /// How long a backend that comes back takes to its full share.
    pub slow_start: Duration,
    /// Of a view: that of its definition, shared with it.
    pub limits: PoolLimits,
    /// The PROXY header that each connection to its backends begins with.
    pub send_proxy: Option<ProxyVersion>,
    /// How connections to its backends are secured; `None`: they are not. Of a view: that of its definition.
    pub tls: Option<UpstreamTls>,
    /// What is spoken to its backends. Of a view: that of its definition.
    pub protocol: UpstreamProtocol,
    pub timeouts: Timeouts,
    /// Of a view: that of its definition.
    pub health: PoolHealth,
    /// Of each backend, those that only a view knows included. `None`: they have none.
    pub breaker: Option<CircuitBreaker>,
    /// How failed attempts are repeated, beyond what needs no configuration. Of a view: that of its definition.
    pub retry: Option<RetryPolicy>,
}

/// What may be under way to a pool, and who may wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Requests and sessions to all backends together. 0 = unlimited.
    pub max_connections: u32,
    /// How many may wait. 0 = nobody.
    pub queue: u32,
    pub queue_timeout: Duration,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            max_connections: 0,
            queue: 0,
            queue_timeout: Duration::from_secs(2),
        }
    }
}

/// How a pool learns which of its backends are healthy, and what it does when few are.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct PoolHealth {
    /// `None`: nobody probes them.
    pub check: Option<HealthCheck>,
    /// Below this share of healthy backends, 0 to 1, all are used. 0 = never.
    pub panic_threshold: f64,
    /// `None`: nobody judges their traffic.
    pub passive: Option<PassiveChecks>,
}

/// Where a pool comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// It owns its members: their identity is this pool's name, their name and their address.
    Definition,
    /// A route's choice among the members of another pool, over the same objects.
    View { of: PoolId, route: RouteId },
}

/// One address in a pool. Its identity over reloads is `(pool, name, address)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// The name of the pool that defines it.
    pub pool: String,
    pub name: String,
    pub address: Spanned<BackendAddress>,
    /// 0 only with `version: 2`: no new traffic.
    pub weight: Weight,
    /// Connections in use over the whole process. 0 = unlimited.
    pub max_connections: u32,
    pub place: Place,
}

/// A match and an action.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub name: String,
    pub place: Place,
    /// Higher first.
    pub priority: i64,
    pub matches: RouteMatch,
    /// `Some`: not a route of requests but of sessions, by the server that a TLS client names. `matches` is empty then,
    /// and the action is to forward.
    pub server_names: Option<Vec<HostPattern>>,
    pub action: Action,
    pub mirror: Option<Mirror>,
    /// The top-level `transform` and this route's, merged.
    pub transform: Transform,
    pub timeouts: Timeouts,
    /// What `balance check` runs.
    pub tests: Vec<RouteTest>,
}

/// All of these must match; an empty list matches everything.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RouteMatch {
    pub hosts: Vec<HostPattern>,
    pub path: PathMatch,
    pub methods: Vec<String>,
    /// Names in lower case.
    pub headers: Vec<NamedMatch>,
    pub query: Vec<NamedMatch>,
    pub cookies: Vec<NamedMatch>,
}

/// A condition on a header, a query parameter or a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedMatch {
    pub name: String,
    pub value: ValueMatch,
}

/// What must stand under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    Exact(String),
    /// Not compiled here.
    Regex(Spanned<String>),
    /// With any value.
    Present,
    Absent,
}

/// A host of a route: lower case, without port and trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    Any,
    Exact(String),
    /// `*.example.com` as `example.com`: any depth, not `example.com` itself.
    Under(String),
}

/// How a route looks at the path (without query).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum PathMatch {
    #[default]
    Any,
    /// The first bytes, wherever a segment ends: without `version`.
    BytePrefix(String),
    /// Whole segments: `/v1` matches `/v1` and `/v1/x`, not `/v10`. With `version: 2`.
    SegmentPrefix(String),
    Exact(String),
    /// Of the whole path; not compiled here.
    Regex(Spanned<String>),
}

/// What a route does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Forward(PoolId),
    /// At least one share; not all of their weights are 0, and no pool is there twice.
    Split(Vec<Share>),
    Redirect(Redirect),
    Respond(Respond),
}

/// A pool of a split.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    pub pool: PoolId,
    /// 0: no requests.
    pub weight: Weight,
    /// The route's over the pool's.
    pub timeouts: Timeouts,
}

/// Where copies of a route's requests go.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    pub pool: PoolId,
    /// Between 0 and 1.
    pub sample: f64,
    pub body_bytes_max: usize,
    /// Over the whole process.
    pub in_flight_max: u32,
    /// For one copy.
    pub timeout: Duration,
}

/// A redirection; what is absent stays as the request has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    pub scheme: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub path: Option<String>,
    pub status: u16,
}

/// A response of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respond {
    pub status: u16,
    pub body: String,
    /// `content-type` included.
    pub headers: Vec<(String, String)>,
}

/// A request that `balance check` puts to the routes, and what must come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTest {
    pub place: Place,
    /// `GET https://host/path`.
    pub request: Spanned<String>,
    pub headers: Vec<(String, String)>,
    /// One of [`RouteTest::EXPECTATIONS`] and the expected value.
    pub expect: Vec<(String, Spanned<String>)>,
}

impl RouteTest {
    /// What a test can say about a request: the pool it goes to, the route that takes it (`none` for
    /// none), the path that the backend sees, the status of a response of our own.
    pub const EXPECTATIONS: [&str; 4] = ["pool", "route", "path", "status"];
}

/// Edits of heads and paths.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Transform {
    pub request_headers: Vec<HeaderEdit>,
    pub response_headers: Vec<HeaderEdit>,
    pub strip_prefix: Option<String>,
    pub add_prefix: Option<String>,
}

/// One edit, applied in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderEdit {
    Add { name: String, value: String },
    Set { name: String, value: String },
    Remove { name: String },
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    pub listen: Spanned<ListenAddress>,
    /// Off loopback without a token only health, readiness, version and metrics are open.
    pub token_file: Option<Spanned<String>>,
}

/// Profiles of the running process.
#[derive(Clone, Debug, PartialEq)]
pub struct Profiling {
    /// May be that of the admin API or of the metrics.
    pub listen: Spanned<ListenAddress>,
    /// Files of the whole run. They are read at the start only.
    pub cpu_profile: Option<Spanned<String>>,
    pub mem_profile: Option<Spanned<String>>,
}

/// Where metrics are scraped. An address equal to the admin's shares its listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    pub listen: Spanned<ListenAddress>,
    pub path: String,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    pub level: LogLevel,
    pub format: LogFormat,
    pub access_log: AccessLog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Where access-log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    Off,
    Stdout,
    Stderr,
    File(Spanned<String>),
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Between failing readiness and the drain: time for those in front to notice.
    pub delay: Duration,
    /// How long a drain may take.
    pub limit: Duration,
}

impl Action {
    /// The pools that it sends to.
    pub fn pools(&self) -> impl Iterator<Item = PoolId> {
        let (one, several) = match self {
            Self::Forward(pool) => (Some(*pool), &[][..]),
            Self::Split(shares) => (None, &shares[..]),
            Self::Redirect(_) | Self::Respond(_) => (None, &[][..]),
        };
        one.into_iter()
            .chain(several.iter().map(|share| share.pool))
    }
}

impl Config {
    /// A pool by its name.
    pub fn pool(&self, name: &str) -> Option<PoolId> {
        let index = self.pools.iter().position(|pool| pool.name == name)?;
        Some(PoolId::from_index(index))
    }

    /// A route by its name.
    pub fn route(&self, name: &str) -> Option<RouteId> {
        let index = self.routes.iter().position(|route| route.name == name)?;
        Some(RouteId::from_index(index))
    }
}

impl ClientAuth {
    /// Whether certificates are held against `client_ca_file`.
    pub fn verifies(self) -> bool {
        matches!(self, Self::Verify | Self::RequireAndVerify)
    }
}

impl Mode {
    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
        }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            format: LogFormat::Text,
            access_log: AccessLog::Off,
        }
    }
}
