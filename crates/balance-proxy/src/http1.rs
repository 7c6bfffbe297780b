//! HTTP/1.0 and HTTP/1.1 on the wire: connections to clients and to backends.
//!
//! balance-proto parses and encodes; this moves the bytes. An idle connection owns no buffer: what an
//! active one needs ([`Server`], [`UpstreamParts`]) comes from the worker's free lists and goes back
//! to them.

mod connection;
mod downstream;
mod incoming;
mod request;
mod server;
mod sink;
mod transport;
mod tunnel;
mod upstream;

pub(crate) use connection::{refuse_cleartext, serve};
pub(crate) use request::{offered_upgrade, write_request};
pub(crate) use server::Server;
pub(crate) use transport::Http1Transport;
pub(crate) use upstream::{Http1Upstream, UpstreamParts};
