#![no_main]
//! Fuzzes `stored::frame_front` of `crates/fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::stored::frame_front(bytes));
