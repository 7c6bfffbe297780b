//! TLS towards backends: whom it takes, what it carries, and how it ends.

mod broken;
mod carried;
mod programs;
mod renewed;
mod verified;
