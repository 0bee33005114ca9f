#![no_main]
//! Fuzzes `records::records` of `crates/fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::records::records(bytes));
