//! Compression of records in the forms that Kafka's broker and Java's clients
//! write, which every client reads: Snappy in xerial's blocks of 32 KiB, LZ4 as
//! a frame of independent blocks of 64 KiB.

use std::io::{Cursor, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use super::XERIAL_MAGIC;
use crate::{batch::Compression, wire::len_u32};

/// Records of one Snappy block, as snappy-java cuts them.
const SNAPPY_BLOCK: usize = 32 << 10;

/// A codec, and how hard it tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Records as they are.
    None,
    /// Gzip.
    Gzip {
        /// 1 (fast) to 9 (small).
        level: u32,
    },
    /// Snappy.
    Snappy,
    /// LZ4, fast: the library has no other level.
    Lz4,
    /// Zstandard.
    Zstd {
        /// Up to 22 (small); negative ones are faster yet.
        level: i32,
    },
}

impl Codec {
    /// Its number in the attributes of a batch.
    #[must_use]
    pub const fn compression(self) -> Compression {
        match self {
            Self::None => Compression::None,
            Self::Gzip { .. } => Compression::Gzip,
            Self::Snappy => Compression::Snappy,
            Self::Lz4 => Compression::Lz4,
            Self::Zstd { .. } => Compression::Zstd,
        }
    }
}

/// Appends `records`, compressed, to `out`.
///
/// # Panics
/// Where the codec itself fails, which in memory it does for want of memory
/// alone.
pub fn compress(codec: Codec, records: &[u8], out: &mut Vec<u8>) {
    let done = match codec {
        Codec::None => {
            out.extend_from_slice(records);
            Ok(())
        }
        Codec::Gzip { level } => gzip(level, records, out),
        Codec::Snappy => snappy(records, out),
        Codec::Lz4 => lz4(records, out),
        Codec::Zstd { level } => zstd(level, records, out),
    };
    if let Err(error) = done {
        panic!("{} bytes can't be compressed as {codec:?}: {error}", records.len());
    }
}

fn gzip(level: u32, records: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(level));
    encoder.write_all(records)?;
    encoder.finish().map(drop)
}

fn snappy(records: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    out.extend_from_slice(&XERIAL_MAGIC);
    // Its version, and the oldest that can read it.
    out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    let mut encoder = snap::raw::Encoder::new();
    for block in records.chunks(SNAPPY_BLOCK) {
        let from = out.len() + size_of::<u32>();
        out.resize(from + snap::raw::max_compress_len(block.len()), 0);
        let place = out.get_mut(from..).unwrap_or_default();
        let len = encoder.compress(block, place)?;
        out.truncate(from + len);
        if let Some(place) = out.get_mut(from - size_of::<u32>()..from) {
            place.copy_from_slice(&len_u32(len).to_be_bytes());
        }
    }
    Ok(())
}

fn lz4(records: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    // Java's clients refuse blocks that refer to earlier ones.
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(records)?;
    encoder.finish()?;
    Ok(())
}

/// In one call, so that the codec knows how little there is and takes tables
/// to match.
fn zstd(level: i32, records: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    out.reserve(zstd::zstd_safe::compress_bound(records.len()));
    let mut place = Cursor::new(&mut *out);
    place.set_position(place.get_ref().len() as u64);
    zstd::bulk::Compressor::new(level)?.compress_to_buffer(records, &mut place).map(drop)
}
