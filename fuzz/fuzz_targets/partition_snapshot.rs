#![no_main]
//! Fuzzes `state::partition_snapshot` of `crates/fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::state::partition_snapshot(bytes));
