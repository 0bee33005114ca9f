#![no_main]
//! Fuzzes `kafka::connection` of `crates/fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::kafka::connection(bytes));
