//! The HTTP/2 engine on the server's side: what a client may send.

use balance_proto::http2::Role;

use crate::h2_peer;

/// The first byte chooses the reads, the rest is what a client sends.
pub fn check(input: &[u8]) {
    h2_peer::check(Role::Server, input);
}

/// The rows of the table.
pub fn seeds() -> Vec<Vec<u8>> {
    h2_peer::seeds(Role::Server)
}
