#![no_main]
//! Fuzzes `records::decompress_lz4` of `crates/fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::records::decompress_lz4(bytes));
