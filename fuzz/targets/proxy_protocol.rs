//! Gives what libFuzzer thinks of to the target `proxy_protocol`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| serin_fuzz::proxy_protocol::run(bytes));
