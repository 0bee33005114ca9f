#![no_main]
//! Fuzzes `kafka::framing` of `crates/fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::kafka::framing(bytes));
