//! TLS: certificates and keys as they are read, what is decided about handshakes with clients and with backends, and
//! sessions without their sockets. rustls does the protocol, aws-lc-rs the cryptography.
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
//! | `authorities`  | whose certificates are trusted                                              |
//! | `policy`       | all of that, compiled for a listener                                        |
//! | `client`       | the same for a backend: whom we trust, what we show                         |
//! | `fault`        | what a session ended with, in few words                                     |
//! | `hello`        | what is looked at in a ClientHello before rustls reads it                   |
//! | `session`      | one connection: records opened and sealed                                   |

mod authorities;
mod certificates;
mod chain;
mod client;
mod client_auth;
mod fault;
mod hello;
mod key;
mod policy;
mod session;
mod suites;
mod unverified;

#[cfg(test)]
mod tests;

pub use authorities::{Authorities, AuthorityError};
pub use certificates::{Certificate, CertificateStore, Certificates, Entry};
pub use chain::{CertificateError, Chain, Expiry};
pub use client::{ClientPolicy, ClientSettings, PeerName, TlsIdentity, Trust};
pub use client_auth::ClientAuth;
pub use fault::TlsFault;
pub use hello::begins_handshake;
pub use key::{KeyError, PrivateKey};
pub use policy::{PolicyError, ServerPolicy, ServerSettings, TicketKeys};
pub use session::{
    Agreement, Opened, Output, RECORD_BYTES_MAX, RECORD_PLAINTEXT_MAX, Session, SessionError,
    sealed_bytes_max,
};
pub use suites::CipherSuite;
