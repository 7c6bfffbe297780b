//! HTTP/2 on the wire (RFC 9113), free of I/O and of clocks, for both sides of a connection.
//!
//! [`Connection`] is what a task drives. Below it, [`hpack`] compresses and decompresses field blocks (RFC 7541), and
//! [`frame`] reads and writes single frames. Heads come out as the same types that HTTP/1 fills ([`crate::http1`]), so
//! that a request is judged, routed and forwarded by one set of rules.

mod budget;
mod connection;
mod encode;
mod error;
mod flow;
pub mod frame;
mod head;
pub mod hpack;
mod stream;

pub use budget::BudgetLimits;
pub use connection::{Connection, ConnectionSettings, Event, OpenError, Role, SendError};
pub use error::{ErrorCode, Flood, Malformed, Violation};
pub use frame::StreamId;
pub use head::Trailers;
