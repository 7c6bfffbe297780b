//! `balance_fuzz::path_rules` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| balance_fuzz::path_rules::check(input));
