//! TLS on the data path: handshakes, and connections that seal what is written and open what is read.
//!
//! balance-tls does everything but the socket. Here are the buffers, which a worker has once for all of its
//! connections, and the order in which handshakes get their turn.

mod handshake;
mod records;
mod stream;
mod turns;
mod upstream;

pub(crate) use handshake::serve;
pub(crate) use records::RecordBuffers;
pub(crate) use stream::TlsStream;
pub(crate) use turns::HandshakeTurns;
pub(crate) use upstream::secure;
