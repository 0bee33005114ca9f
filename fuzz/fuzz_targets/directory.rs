#![no_main]
//! Fuzzes `directory::open` of `crates/fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::directory::open(bytes));
