//! TLS towards clients: real clients, and what is refused.

mod bad;
mod clients;
pub(crate) mod files;
mod renewal;
mod termination;

pub(crate) use files::Files;
