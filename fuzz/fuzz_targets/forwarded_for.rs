//! `balance_fuzz::forwarded_for` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| balance_fuzz::forwarded_for::check(input));
