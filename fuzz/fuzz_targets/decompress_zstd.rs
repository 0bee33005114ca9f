#![no_main]
//! Fuzzes `records::decompress_zstd` of `crates/fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::records::decompress_zstd(bytes));
