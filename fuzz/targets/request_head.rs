//! Gives what libFuzzer thinks of to the target `request_head`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| serin_fuzz::request_head::run(bytes));
