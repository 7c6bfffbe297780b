//! The data path: from an accepted connection to a settled exchange.
//!
//! One [`Worker`](worker) per core runs everything in this crate on its own thread; control reaches
//! it only through its mailbox. The crate knows snapshots, not configurations: it does not depend on
//! balance-config, balance-control or balance-admin.

mod budget;
mod buffers;
mod client_hello;
mod clock;
mod coroutine;
mod endpoint;
mod exchange;
pub mod explain;
mod filter;
mod http1;
mod http2;
mod isolate;
mod linger;
mod listener;
mod maybe_tls;
#[cfg(feature = "measured")]
pub mod measured;
mod mirror;
mod own_response;
mod planted;
mod policy;
mod relay;
mod server_name;
mod shared;
mod snapshot;
mod split;
mod tcp;
mod tls;
mod transport;
mod upstream;
mod wheel;
mod worker;

pub use clock::Clock;
pub use endpoint::{Endpoint, UpstreamAddress};
pub use filter::{
    Filter, HeaderAction, HeaderRule, HeaderRuleError, PathRewrite, PathRewriteError,
};
pub use listener::{ListenerKey, ListenerSocket};
pub use mirror::{MirrorRules, Sample};
pub use own_response::{Redirect, Respond};
pub use policy::Policy;
pub use shared::{Shared, SharedOptions};
pub use snapshot::{Action, ListenerRules, Mode, PoolRules, RetryRules, RouteRules, Snapshot};
pub use split::{ShareRules, SplitRules};
pub use upstream::{ConnectError, OwnConnection, OwnConnector, PoolLimits, announce_ramp};
pub use worker::{Message, SendError, Workers};
