//! `balance_fuzz::route_match` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| balance_fuzz::route_match::check(input));
