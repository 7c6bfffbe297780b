//! `balance_fuzz::tls_client` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| balance_fuzz::tls_client::check(input));
