//! Gives what libFuzzer thinks of to the target `rewrite`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| serin_fuzz::rewrite::run(bytes));
