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
mod link;
mod own;
mod ready;
mod server;

pub(crate) use connection::serve;
pub(crate) use server::StreamServer;
