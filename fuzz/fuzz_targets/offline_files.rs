#![no_main]
//! Fuzzes `offline::offline_files` of `crates/fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::offline::offline_files(bytes));
