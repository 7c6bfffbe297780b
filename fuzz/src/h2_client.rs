//! The HTTP/2 engine on the client's side: what a backend may send to three requests.

use balance_proto::http2::Role;

use crate::h2_peer;

/// The first byte chooses the reads, the rest is what a backend sends.
pub fn check(input: &[u8]) {
    h2_peer::check(Role::Client, input);
}

/// The rows of the table.
pub fn seeds() -> Vec<Vec<u8>> {
    h2_peer::seeds(Role::Client)
}
