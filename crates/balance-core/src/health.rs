//! How the backends of a pool are probed: settings that a configuration has and the probes follow.

use std::time::Duration;

use crate::settings::{ProxyVersion, UpstreamProtocol};

/// Probes of one backend. Two backends with one address and equal checks are probed once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    pub probe: Probe,
    /// The PROXY header that a probe begins with, as all connections to the pool do. It names no client.
    pub send_proxy: Option<ProxyVersion>,
    /// What is spoken to the pool.
    pub protocol: UpstreamProtocol,
    /// From the start of one probe to the start of the next, give or take a tenth.
    pub interval: Duration,
    /// The same while the results contradict the state, so that a change is soon certain.
    pub fast_interval: Duration,
    /// How long a probe may take, connecting included.
    pub timeout: Duration,
    /// Successes in a row that bring a backend back.
    pub healthy_threshold: u32,
    /// Failures in a row that take it out.
    pub unhealthy_threshold: u32,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Probe {
    /// Connects, and closes.
    Tcp,
    /// Sends a request over a connection of its own.
    Http(HttpProbe),
}

/// What an HTTP probe asks, and what it wants to hear.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpProbe {
    pub method: String,
    /// With the query, if any.
    pub path: String,
    /// The Host header; `None` = the address of the backend as the configuration has it.
    pub host: Option<String>,
    pub headers: Vec<(String, String)>,
    pub expected_status: ExpectedStatus,
    /// What the body must contain.
    pub expected_body: Option<String>,
}

/// The statuses that count as healthy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ExpectedStatus {
    /// 200 to 399.
    Fine,
    OneOf(Vec<u16>),
}

/// Judging a backend by its traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct PassiveChecks {
    /// Failures in a row that eject.
    pub consecutive_failures: u32,
    /// The share of failures in `window` that ejects, 0 to 1.
    pub error_rate_threshold: f64,
    /// So many times as long as is usual in the pool ejects; 0 = never.
    pub latency_factor: f64,
    pub window: Duration,
    /// Of the first ejection; each further one in a row lasts twice as long, up to ten times this.
    pub ejection_time: Duration,
    /// The share of the pool that may be out at once, 0 to 1.
    pub max_ejected: f64,
}

impl Default for PassiveChecks {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            error_rate_threshold: 0.5,
            latency_factor: 0.0,
            window: Duration::from_secs(60),
            ejection_time: Duration::from_secs(30),
            max_ejected: 0.3,
        }
    }
}

impl ExpectedStatus {
    pub fn contains(&self, status: u16) -> bool {
        match self {
            Self::Fine => matches!(status, 200..=399),
            Self::OneOf(statuses) => statuses.contains(&status),
        }
    }
}

impl HealthCheck {
    pub const INTERVAL: Duration = Duration::from_secs(10);
    pub const TIMEOUT: Duration = Duration::from_secs(3);
    pub const HEALTHY_THRESHOLD: u32 = 2;
    pub const UNHEALTHY_THRESHOLD: u32 = 3;
    /// `fast_interval` is this part of `interval` where it is not given.
    pub const FAST_DIVISOR: u32 = 5;
}
