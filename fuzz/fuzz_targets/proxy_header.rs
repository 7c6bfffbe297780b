//! `balance_fuzz::proxy_header` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| balance_fuzz::proxy_header::check(input));
