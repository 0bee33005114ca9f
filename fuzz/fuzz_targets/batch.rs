#![no_main]
//! Fuzzes `records::batch` of `crates/fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::records::batch(bytes));
