//! What must hold for every parser and every encoder of client bytes, whatever the bytes are.
//!
//! A target is a module with `check(&[u8])`, which panics when a property does not hold: more than
//! "nothing crashes". Under libFuzzer it is called by a binary of `fuzz_targets/` (`fuzz/run.py`, or
//! `cargo fuzz run`); in `cargo test` by `tests/corpus.rs`, over the corpus in the repository and
//! seeded mutations of it. docs/fuzzing.md says what each target asserts.

#![allow(
    clippy::panic,
    reason = "that a property does not hold is told by panicking"
)]

pub mod access_log;
pub mod chunked;
pub mod config_file;
pub mod corpus;
mod dictionary;
pub mod forwarded_for;
mod input;
mod mutate;
pub mod path_rules;
pub mod pipelined;
mod plain_view;
pub mod request_head;
pub mod response_head;
pub mod route_match;
pub mod route_regex;
mod sender;

pub use dictionary::TOKENS;
pub use mutate::Mutator;

/// One fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Of its module, its binary and its folder in `corpus/`.
    pub name: &'static str,
    /// Panics when a property does not hold.
    pub check: fn(&[u8]),
    /// Inputs made from what the repository has: tables of bytes and verdicts, example configurations.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them, by name.
pub const TARGETS: &[Target] = &[
    target("access_log", access_log::check, access_log::seeds),
    target("chunked", chunked::check, chunked::seeds),
    target("config_file", config_file::check, config_file::seeds),
    target("forwarded_for", forwarded_for::check, forwarded_for::seeds),
    target("path_rules", path_rules::check, path_rules::seeds),
    target("pipelined", pipelined::check, pipelined::seeds),
    target("request_head", request_head::check, request_head::seeds),
    target("response_head", response_head::check, response_head::seeds),
    target("route_match", route_match::check, route_match::seeds),
    target("route_regex", route_regex::check, route_regex::seeds),
];

const fn target(name: &'static str, check: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, check, seeds }
}
