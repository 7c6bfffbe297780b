//! HTTP/2 on the wire: connections of clients, whose streams are exchanges that run side by side.
//!
//! balance-proto's engine reads and writes frames; this moves the bytes. All exchanges of a connection run inside its
//! one task, so that they share the engine without a lock and their output goes out in one write.
//!
//! ```text
//!   socket ─read─► engine ─events─► inboxes ─► exchanges (exchange::run)
//!      ▲                                           │
//!      └──────────── one write ◄── out ◄───────────┘
//! ```

mod connection;
mod downstream;
mod grpc;
mod inbox;
mod link;
mod outgoing;
mod output;
mod own;
mod ready;
mod server;
mod upstream;

pub(crate) use connection::serve;
pub(crate) use server::StreamServer;
pub(crate) use upstream::{Http2Upstream, Http2UpstreamParts, Opened, UpstreamConnections, open};

/// At least a record of TLS, which is read as a whole.
const PIECE_BYTES_MIN: usize = 16 * 1024;
/// A body of 64 KiB comes in one piece with its head.
const PIECE_BYTES_MAX: usize = 68 * 1024;
