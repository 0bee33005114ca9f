//! The bodies of the fuzz targets: every decoder that meets the network or the
//! disk, and what must hold of it whatever bytes it is given.
//!
//! `fuzz/` runs them under libFuzzer; the tests of this crate replay the corpus
//! (`fuzz/corpus`) through the same functions, on any toolchain. A target takes
//! bytes, and panics where they break something: a decoder that panics, takes
//! memory that its bytes do not justify, or reads back other than it wrote.
//!
//! Most stored structures carry checksums, which no fuzzer guesses. So each is
//! decoded twice: as it came, and with its checksums (and the lengths that must
//! agree) put right by [`stored::mend`]. No other crate depends on this one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a target fails by panicking"
)]

pub mod directory;
pub mod kafka;
pub mod kinesis;
pub mod memory;
pub mod offline;
pub mod records;
pub mod state;
pub mod stored;

/// One fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: that of the file in `fuzz/fuzz_targets` and of its folder in
    /// `fuzz/corpus`.
    pub name: &'static str,
    /// Panics if `bytes` break something.
    pub run: fn(bytes: &[u8]),
    /// Valid inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Declares targets: `name = function, seeds;`.
macro_rules! targets {
    ($($name:ident = $run:path, $seeds:path;)*) => {
        /// Every target, by name.
        pub const TARGETS: &[Target] =
            &[$(Target { name: stringify!($name), run: $run, seeds: $seeds }),*];
    };
}

targets! {
    batch = records::batch, records::batch_seeds;
    checkpoint = stored::checkpoint, stored::checkpoint_seeds;
    companion = stored::companion, stored::companion_seeds;
    decompress_gzip = records::decompress_gzip, records::gzip_seeds;
    decompress_lz4 = records::decompress_lz4, records::lz4_seeds;
    decompress_snappy = records::decompress_snappy, records::snappy_seeds;
    decompress_zstd = records::decompress_zstd, records::zstd_seeds;
    directory = directory::open, directory::seeds;
    file_header = stored::file_header, stored::file_header_seeds;
    footer = stored::footer, stored::footer_seeds;
    frame_back = stored::frame_back, stored::frame_back_seeds;
    frame_front = stored::frame_front, stored::frame_front_seeds;
    group_records = state::group_records, state::group_records_seeds;
    kafka_connection = kafka::connection, kafka::connection_seeds;
    kafka_framing = kafka::framing, kafka::framing_seeds;
    kafka_request = kafka::request, kafka::request_seeds;
    kinesis_put_records = kinesis::put_records, kinesis::put_records_seeds;
    meta_record = state::meta_record, state::meta_record_seeds;
    offline_files = offline::offline_files, offline::offline_files_seeds;
    partition_snapshot = state::partition_snapshot, state::partition_snapshot_seeds;
    records = records::records, records::records_seeds;
}
