#![no_main]
//! Fuzzes `kinesis::put_records` of `crates/fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::kinesis::put_records(bytes));
