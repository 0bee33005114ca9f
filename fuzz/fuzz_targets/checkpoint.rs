#![no_main]
//! Fuzzes `stored::checkpoint` of `crates/fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::stored::checkpoint(bytes));
