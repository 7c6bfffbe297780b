//! TLS: certificates and keys as they are read, what a listener decides about its handshakes, and sessions without
//! their sockets. rustls does the protocol, aws-lc-rs the cryptography.
//!
//! It opens no file and no socket: bytes are arguments, and so is the time that certificates are judged at.
//! (rustls itself asks the clock and the system's randomness.)
//!
//! | module         | what                                                                        |
//! |----------------|-----------------------------------------------------------------------------|
//! | `chain`, `key` | certificates and private keys, read from PEM and judged                     |
//! | `certificates` | which one a client is shown                                                 |
//! | `suites`       | cipher suites by name, and the order they are preferred in                  |
//! | `client_auth`  | whether clients show certificates, and what is made of them                 |
//! | `policy`       | all of that, compiled for a listener                                        |
//! | `hello`        | what is looked at in a ClientHello before rustls reads it                   |
//! | `session`      | one connection: records opened and sealed                                   |

mod certificates;
mod chain;
mod client_auth;
mod hello;
mod key;
mod policy;
mod session;
mod suites;

#[cfg(test)]
mod tests;

pub use certificates::{Certificate, CertificateStore, Certificates, Entry};
pub use chain::{CertificateError, Chain, Expiry};
pub use client_auth::{Authorities, AuthorityError, ClientAuth};
pub use hello::begins_handshake;
pub use key::{KeyError, PrivateKey};
pub use policy::{PolicyError, ServerPolicy, ServerSettings, TicketKeys};
pub use session::{
    Agreement, Opened, Output, RECORD_BYTES_MAX, RECORD_PLAINTEXT_MAX, Session, SessionError,
    sealed_bytes_max,
};
pub use suites::CipherSuite;
