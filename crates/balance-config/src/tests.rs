//! The loader from the outside: files in, configurations and diagnostics out.

mod bounds;
mod config;
mod mistakes;
mod tables;
