//! `balance_fuzz::response_head` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| balance_fuzz::response_head::check(input));
