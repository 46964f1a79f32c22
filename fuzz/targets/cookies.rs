//! Gives what libFuzzer thinks of to the target `cookies`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| serin_fuzz::cookies::run(bytes));
