//! `balance_fuzz::h2_downgrade` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| balance_fuzz::h2_downgrade::check(input));
