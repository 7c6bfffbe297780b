//! What runs now, in words that can be shown: the source of the admin API's answers.
//!
//! Built once per publish. Only the state of backends is read at the moment of asking.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use balance_config::Config;
use balance_core::Weight;
use balance_lb::{
    BreakerRecord, BreakerState, EjectionRecord, HealthRecord, QueueRecord, RampState,
};
use balance_proxy::{Endpoint, PoolLimits, Snapshot, UpstreamAddress};

/// One published configuration.
pub struct View {
    /// Grows by one with each publish.
    pub generation: u64,
    pub published: SystemTime,
    pub listeners: Vec<ListenerView>,
    pub pools: Vec<PoolView>,
    /// In file order.
    pub routes: Vec<RouteView>,
    pub settings: SettingsView,
    pub(crate) running: Running,
}

/// What a view is a view of.
pub(crate) struct Running {
    pub(crate) config: Arc<Config>,
    /// Weak: whoever holds a view must not keep what the snapshot holds (an access log is written out when it is let
    /// go). Control has the other end for as long as it runs.
    pub(crate) snapshot: Weak<Snapshot>,
}

/// A bound address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerView {
    pub name: String,
    pub mode: &'static str,
    /// The real one: port 0 has become a number.
    pub address: String,
    /// The routes in the order in which they are asked.
    pub routes: Vec<String>,
    /// When no route matches.
    pub pool: Option<String>,
}

/// A pool, or a route's view of one.
pub struct PoolView {
    pub name: String,
    /// The definition, when this is a route's view.
    pub view_of: Option<String>,
    pub algorithm: &'static str,
    pub hash_key: Option<String>,
    pub slow_start: Duration,
    pub members: Vec<MemberView>,
    pub(crate) limits: PoolLimits,
}

/// What a pool is held to, and how much of it is used at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolLimitsView {
    /// 0 = unlimited, and what is in use is not counted.
    pub max_connections: u32,
    pub in_use: u32,
    /// How many may wait. 0 = nobody.
    pub queue: u32,
    pub queue_timeout: Duration,
    /// Of all views of the pool together.
    pub queued: QueueRecord,
}

impl PoolView {
    /// `None`: it has no limits.
    pub fn limits(&self) -> Option<PoolLimitsView> {
        let limits = &self.limits;
        let is_limited = limits.max_connections != 0 || limits.queue_max != 0;
        is_limited.then(|| PoolLimitsView {
            max_connections: limits.max_connections,
            in_use: limits.places.in_use(),
            queue: limits.queue_max,
            queue_timeout: limits.queue_timeout,
            queued: limits.queue.record(),
        })
    }
}

/// A backend in a pool.
pub struct MemberView {
    pub(crate) configured_weight: Weight,
    pub(crate) endpoint: Arc<Endpoint>,
}

/// A backend at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendView {
    pub name: String,
    /// As the configuration has it.
    pub address: String,
    /// What it stands for; empty for a name that does not resolve.
    pub resolved: Vec<String>,
    /// `pickable`, `resting`, `half_open`, `circuit_open`, `unhealthy`, `ejected`, `draining` or `disabled`.
    pub state: &'static str,
    /// Whether a request at this moment could go to it.
    pub is_pickable: bool,
    pub rest_left: Duration,
    /// Failed connects in a row.
    pub failures: u32,
    /// Rests since it is known.
    pub rests: u64,
    /// What it weighs at this moment.
    pub weight: Weight,
    pub configured_weight: Weight,
    pub in_flight: u32,
    /// 0 = unlimited.
    pub max_connections: u32,
    /// `None`: it has its full share.
    pub ramp: Option<RampState>,
    /// `None`: it is not probed.
    pub health: Option<HealthView>,
    /// `None`: its traffic is not judged.
    pub ejection: Option<EjectionView>,
    /// `None`: it has none.
    pub breaker: Option<BreakerView>,
}

/// How the circuit breaker of a backend stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerView {
    pub state: BreakerState,
    /// How long it has been so.
    pub age: Duration,
    /// Until a trial may begin; 0 = at once, or it needs none.
    pub left: Duration,
    /// Ever.
    pub openings: u64,
    /// Of the last change; empty before the first.
    pub reason: Arc<str>,
}

/// What passive checks of a backend have come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EjectionView {
    /// Ever.
    pub ejections: u64,
    /// 0 = it is not ejected.
    pub left: Duration,
    /// Of the last one; empty before the first.
    pub reason: Arc<str>,
}

/// What probes of a backend have found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthView {
    /// `unknown`, `healthy` or `unhealthy`.
    pub state: &'static str,
    /// How long it has been so.
    pub age: Duration,
    pub reason: Arc<str>,
    /// Since the backend is known.
    pub probes: u64,
    pub failed_probes: u64,
}

/// A route and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteView {
    pub name: String,
    /// `file:line:column`.
    pub place: String,
    pub priority: i64,
    pub hosts: Vec<String>,
    /// Of a route of sessions.
    pub server_names: Vec<String>,
    /// `any`, `prefix /v1`, `exact /v1`, `regex /v[0-9]+`.
    pub path: String,
    pub methods: Vec<String>,
    pub headers: Vec<(String, ConditionView)>,
    pub query: Vec<(String, ConditionView)>,
    pub cookies: Vec<(String, ConditionView)>,
    /// `pool x`, `split x 95, y 5`, `redirect 308`, `respond 200`.
    pub action: String,
    /// `shadow 10%`: where copies go, and how many of the requests.
    pub mirror: Option<String>,
}

/// What a route wants under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConditionView {
    Value(String),
    Regex(String),
    /// There with any value, or not there.
    Present(bool),
}

/// Settings of the whole process, as names and values.
pub type SettingsView = Vec<(&'static str, Setting)>;

/// A value to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    Number(u64),
    Text(String),
    Flag(bool),
    Group(SettingsView),
    Absent,
}

impl MemberView {
    /// `now_ms` is the data path's clock.
    pub(crate) fn backend(&self, now_ms: u64) -> BackendView {
        let identity = self.endpoint.identity();
        let state = self.endpoint.snapshot_state(now_ms);
        BackendView {
            name: identity.name.clone(),
            address: identity.address.to_string(),
            resolved: self.endpoint.addresses().iter().map(show_address).collect(),
            state: state.gate.name(),
            is_pickable: state.is_pickable,
            rest_left: Duration::from_millis(state.rest_left_ms),
            failures: state.failures,
            rests: state.rests,
            weight: self.endpoint.weight(self.configured_weight),
            configured_weight: self.configured_weight,
            in_flight: state.in_flight,
            max_connections: state.max_connections,
            ramp: state.ramp,
            health: self
                .endpoint
                .health()
                .map(|record| HealthView::new(record, now_ms)),
            ejection: self
                .endpoint
                .ejection()
                .map(|record| EjectionView::new(record, now_ms)),
            breaker: self
                .endpoint
                .breaker()
                .map(|record| BreakerView::new(record, now_ms)),
        }
    }
}

impl BreakerView {
    fn new(record: BreakerRecord, now_ms: u64) -> Self {
        Self {
            state: record.state,
            age: Duration::from_millis(now_ms.saturating_sub(record.since_ms)),
            left: Duration::from_millis(record.trial_ms.saturating_sub(now_ms)),
            openings: record.openings,
            reason: record.reason,
        }
    }
}

impl EjectionView {
    fn new(record: EjectionRecord, now_ms: u64) -> Self {
        Self {
            ejections: record.ejections,
            left: Duration::from_millis(record.until_ms.saturating_sub(now_ms)),
            reason: record.reason,
        }
    }
}

impl HealthView {
    fn new(record: HealthRecord, now_ms: u64) -> Self {
        Self {
            state: record.health.name(),
            age: Duration::from_millis(now_ms.saturating_sub(record.since_ms)),
            reason: record.reason,
            probes: record.probes,
            failed_probes: record.failed_probes,
        }
    }
}

impl From<Duration> for Setting {
    fn from(value: Duration) -> Self {
        if value.is_zero() {
            Self::Text("off".to_owned())
        } else {
            Self::Text(format!("{value:?}"))
        }
    }
}

impl From<u64> for Setting {
    fn from(value: u64) -> Self {
        Self::Number(value)
    }
}

impl From<usize> for Setting {
    fn from(value: usize) -> Self {
        Self::Number(value as u64)
    }
}

impl From<bool> for Setting {
    fn from(value: bool) -> Self {
        Self::Flag(value)
    }
}

impl From<String> for Setting {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&str> for Setting {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<SettingsView> for Setting {
    fn from(value: SettingsView) -> Self {
        Self::Group(value)
    }
}

impl<T: Into<Self>> From<Option<T>> for Setting {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Into::into)
    }
}

pub(crate) fn show_address(address: &UpstreamAddress) -> String {
    match address {
        UpstreamAddress::Ip(ip) => ip.to_string(),
        UpstreamAddress::Unix(path) => format!("unix:{path}"),
    }
}
