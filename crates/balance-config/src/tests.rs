//! The loader from the outside: files in, configurations and diagnostics out.

mod config;
