//! `balance_fuzz::client_hello` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| balance_fuzz::client_hello::check(input));
