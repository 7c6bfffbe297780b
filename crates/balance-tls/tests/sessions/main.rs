//! Sessions of both sides against each other, without a socket: what is agreed on, what is refused, and that bytes
//! come through however they are cut.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod choice;
mod client;
mod client_auth;
mod cover;
mod pair;
mod transfer;
