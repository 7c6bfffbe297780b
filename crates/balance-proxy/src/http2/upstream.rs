//! HTTP/2 to backends: connections that many attempts share, each on a stream of its own.
//!
//! ```text
//!   attempts ─heads, content─► out ──one write──► backend        a connection's task reads, writes and has the deadlines;
//!      ▲                                             │            attempts run in the tasks of their clients' connections
//!      └──wakers── inboxes ◄──events── engine ◄──read┘
//! ```

mod attempt;
mod connection;
mod open;
mod shared;

pub(crate) use attempt::{Http2Upstream, Http2UpstreamParts};
pub(crate) use open::{Opened, UpstreamConnections, open};
