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
pub mod client_hello;
pub mod config_file;
pub mod corpus;
mod dictionary;
pub mod forwarded_for;
pub mod h2_client;
pub mod h2_downgrade;
mod h2_peer;
pub mod h2_server;
pub mod hpack;
mod input;
mod mutate;
pub mod path_rules;
pub mod pipelined;
#[path = "../../crates/balance-proto/tests/shared/plain_view.rs"]
mod plain_view;
pub mod proxy_header;
pub mod request_head;
pub mod response_head;
pub mod route_match;
pub mod route_regex;
#[path = "../../crates/balance-proto/tests/http2/script.rs"]
#[allow(
    dead_code,
    reason = "the rows are played by the tests of balance-proto; here they are only seeds"
)]
mod script;
mod sender;
pub mod tls_client;
mod tls_peer;
pub mod tls_server;

pub use dictionary::TOKENS;
pub use mutate::Mutator;

/// One fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Of its module, its binary and its folder in `corpus/`.
    pub name: &'static str,
    /// How many mutations `cargo test` makes: about a second's.
    pub rounds: u64,
    /// Panics when a property does not hold.
    pub check: fn(&[u8]),
    /// Inputs made from what the repository has: tables of bytes and verdicts, example configurations.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them, by name.
pub const TARGETS: &[Target] = &[
    target("access_log", 10_000, access_log::check, access_log::seeds),
    target("chunked", 20_000, chunked::check, chunked::seeds),
    target(
        "client_hello",
        20_000,
        client_hello::check,
        client_hello::seeds,
    ),
    target(
        "config_file",
        10_000,
        config_file::check,
        config_file::seeds,
    ),
    target(
        "forwarded_for",
        40_000,
        forwarded_for::check,
        forwarded_for::seeds,
    ),
    target("h2_client", 3_000, h2_client::check, h2_client::seeds),
    target(
        "h2_downgrade",
        10_000,
        h2_downgrade::check,
        h2_downgrade::seeds,
    ),
    target("h2_server", 3_000, h2_server::check, h2_server::seeds),
    // The other decoder builds its tables anew for each string.
    target("hpack", 3_000, hpack::check, hpack::seeds),
    target("path_rules", 40_000, path_rules::check, path_rules::seeds),
    target("pipelined", 10_000, pipelined::check, pipelined::seeds),
    target(
        "proxy_header",
        40_000,
        proxy_header::check,
        proxy_header::seeds,
    ),
    target(
        "request_head",
        40_000,
        request_head::check,
        request_head::seeds,
    ),
    target(
        "response_head",
        40_000,
        response_head::check,
        response_head::seeds,
    ),
    target("route_match", 5_000, route_match::check, route_match::seeds),
    // Compiling a pattern takes milliseconds without optimisation.
    target("route_regex", 200, route_regex::check, route_regex::seeds),
    // Each input meets a hello with fresh keys, twice.
    target("tls_client", 1_000, tls_client::check, tls_client::seeds),
    // A hello that is good is answered with a signature.
    target("tls_server", 2_000, tls_server::check, tls_server::seeds),
];

const fn target(
    name: &'static str,
    rounds: u64,
    check: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
) -> Target {
    Target {
        name,
        rounds,
        check,
        seeds,
    }
}
