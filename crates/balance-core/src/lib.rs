//! Words that every other crate of Balance uses: ids, addresses, weights, causes, and the settings
//! that both a configuration and a compiled snapshot embed.
//!
//! It knows no sockets, files, clocks or protocols.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "Balance runs on Linux (5.10 or later): it stands on epoll, splice and SO_REUSEPORT."
);

mod address;
mod cause;
mod health;
mod id;
mod method;
mod resilience;
mod retry;
mod settings;
mod tls_version;

pub use address::{AddressError, BackendAddress, ListenAddress};
pub use cause::{Cause, Fault};
pub use health::{ExpectedStatus, HealthCheck, HttpProbe, PassiveChecks, Probe};
pub use id::{BackendId, ListenerId, MirrorId, PoolId, RouteId, SplitId, Weight, WorkerId};
pub use method::Method;
pub use resilience::CircuitBreaker;
pub use retry::{
    Backoff, RetryConditions, RetryPolicy, RetryReason, RetryRefusal, UnknownCondition,
};
pub use settings::{
    Algorithm, HashKey, Http2Limits, IdleSettings, Limits, PathPolicy, ProtocolSettings,
    ProxyVersion, Timeouts, UnderscorePolicy, UpstreamProtocol,
};
pub use tls_version::TlsVersion;
