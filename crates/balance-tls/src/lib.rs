//! Certificates and private keys: read from PEM, and judged before anything uses them.
//!
//! It opens no file and reads no clock: bytes and the time are arguments. It does not decide whether a chain
//! is trusted; that needs somebody's list of authorities.

mod chain;
mod key;

#[cfg(test)]
mod tests;

pub use chain::{CertificateError, Chain, Expiry};
pub use key::{KeyError, PrivateKey};
