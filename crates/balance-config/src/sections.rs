//! One file a section: its table, and the reading of a block that was checked against it. What sections
//! say about one another is for `resolve`.

pub(crate) mod backend;
pub(crate) mod condition;
pub(crate) mod health;
pub(crate) mod http;
pub(crate) mod limits;
pub(crate) mod listener;
pub(crate) mod mirror;
pub(crate) mod pool;
pub(crate) mod resilience;
pub(crate) mod retry;
pub(crate) mod root;
pub(crate) mod route;
pub(crate) mod security;
pub(crate) mod split;
pub(crate) mod telemetry;
pub(crate) mod timeouts;
pub(crate) mod tls;
pub(crate) mod transform;
