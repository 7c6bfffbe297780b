//! `balance_fuzz::pipelined` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| balance_fuzz::pipelined::check(input));
