#![no_main]
//! Fuzzes `stored::file_header` of `crates/fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::stored::file_header(bytes));
