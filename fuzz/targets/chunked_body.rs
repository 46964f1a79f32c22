//! Gives what libFuzzer thinks of to the target `chunked_body`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| serin_fuzz::chunked_body::run(bytes));
