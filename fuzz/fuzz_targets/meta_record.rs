#![no_main]
//! Fuzzes `state::meta_record` of `crates/fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::state::meta_record(bytes));
