#![no_main]
//! Fuzzes `stored::companion` of `crates/fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::stored::companion(bytes));
