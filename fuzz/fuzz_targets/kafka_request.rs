#![no_main]
//! Fuzzes `kafka::request` of `crates/fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::kafka::request(bytes));
