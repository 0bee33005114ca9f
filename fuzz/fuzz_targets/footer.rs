#![no_main]
//! Fuzzes `stored::footer` of `crates/fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::stored::footer(bytes));
