//! Gives what libFuzzer thinks of to the target `response_head`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| serin_fuzz::response_head::run(bytes));
