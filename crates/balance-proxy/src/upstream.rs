//! Backends from one worker's point of view: its connections to them, and how an attempt gets one.

mod announced;
mod connect;
mod idle;
mod member;
mod selection;

pub(crate) use announced::Announced;
pub(crate) use connect::connect;
pub use connect::{ConnectError, connect_for_ourselves};
pub(crate) use idle::{IdleConnection, IdleConnections, IdleLimits};
pub(crate) use member::Member;
pub(crate) use selection::{HashSource, Selection, cause_of};
