//! `balance_fuzz::hpack` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| balance_fuzz::hpack::check(input));
