//! Gives what libFuzzer thinks of to the target `version`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| serin_fuzz::version::run(bytes));
