//! Backends from one worker's point of view: its connections to them, and how an attempt gets one.

mod announced;
mod connect;
mod idle;
mod limits;
mod member;
mod outcome;
mod own;
mod selection;

pub(crate) use announced::Announced;
pub use connect::ConnectError;
pub(crate) use connect::{cause_of_fault, connect};
pub(crate) use idle::{IdleConnection, IdleConnections, IdleLimits, IdlePlace};
pub use limits::PoolLimits;
pub(crate) use limits::Waiting;
pub(crate) use member::Member;
pub use outcome::announce_ramp;
pub(crate) use outcome::{report, report_time};
pub use own::{OwnConnection, OwnConnector};
pub(crate) use selection::{HashSource, NoPick, Selection, cause_of};
