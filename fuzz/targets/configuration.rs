//! Gives what libFuzzer thinks of to the target `configuration`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| serin_fuzz::configuration::run(bytes));
