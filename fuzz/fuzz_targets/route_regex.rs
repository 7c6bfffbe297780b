//! `balance_fuzz::route_regex` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| balance_fuzz::route_regex::check(input));
