//! HTTP/2 on the wire (RFC 9113), free of I/O and of clocks.
//!
//! [`hpack`] compresses and decompresses field blocks (RFC 7541).

pub mod hpack;
