#![no_main]
//! Fuzzes `stored::frame_back` of `crates/fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::stored::frame_back(bytes));
