//! Backends from one worker's point of view: its connections to them, and how an attempt gets one.

mod announced;
mod connect;
mod idle;
mod member;
mod outcome;
mod own;
mod selection;

pub(crate) use announced::Announced;
pub use connect::ConnectError;
pub(crate) use connect::{cause_of_fault, connect};
pub(crate) use idle::{IdleConnection, IdleConnections, IdleLimits};
pub(crate) use member::Member;
pub(crate) use outcome::report;
pub use own::{OwnConnection, OwnConnector};
pub(crate) use selection::{HashSource, Selection, cause_of};
