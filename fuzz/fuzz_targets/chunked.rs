//! `balance_fuzz::chunked` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| balance_fuzz::chunked::check(input));
