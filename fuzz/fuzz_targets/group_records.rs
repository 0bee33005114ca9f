#![no_main]
//! Fuzzes `state::group_records` of `crates/fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::state::group_records(bytes));
