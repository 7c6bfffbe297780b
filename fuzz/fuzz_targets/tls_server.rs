//! `balance_fuzz::tls_server` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| balance_fuzz::tls_server::check(input));
