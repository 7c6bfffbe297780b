//! `balance_fuzz::access_log` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| balance_fuzz::access_log::check(input));
