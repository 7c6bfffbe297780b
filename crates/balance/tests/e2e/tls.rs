//! TLS towards clients: real clients, and what is refused.

mod bad;
mod clients;
pub(crate) mod files;
mod front;
mod programs;
mod renewal;
mod server_names;
mod termination;

pub(crate) use files::{Files, rename, said};
