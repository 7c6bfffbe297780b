//! The loader from the outside: files in, configurations and diagnostics out.

mod aliases;
mod bounds;
mod config;
mod includes;
mod mistakes;
mod schema;
mod tables;
