//! Decompression of a batch's records, for the few who look inside: searches
//! by time, topics with a codec of their own, protocols that serve single
//! records. And compression, for the second of these.
//!
//! Invariant: compressed bytes are hostile. Output never exceeds the given
//! limit, and memory grows with what really comes out, not with what a header
//! announces.

use std::{borrow::Cow, io::Read};

use crate::{batch::Compression, wire::Reader};

mod compress;
#[cfg(test)]
mod tests;

pub use compress::{Codec, compress};

/// What precedes the blocks that Java clients write with Snappy: a magic, a
/// version and the oldest version that can read it.
const XERIAL_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
/// What an LZ4 frame begins with. The codec reads the legacy form too, whose
/// blocks are 8 MiB whatever they hold; Kafka does not.
const LZ4_MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();
/// Raw Snappy yields at most 64 bytes for each 3 read.
const SNAPPY_RATIO_MAX: usize = 22;
/// The largest window that zstd's own levels use (2^27 bytes at level 22).
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Why records could not be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// The bytes are not what the codec writes.
    #[error("the records are not {0} data, as their batch says")]
    Malformed(Compression),
    /// More would come out than the caller takes.
    #[error("the records take more than {limit} bytes when decompressed")]
    TooLarge {
        /// The caller's limit.
        limit: usize,
    },
}

/// Decompresses `bytes` into at most `limit` bytes.
///
/// # Errors
/// Where the bytes are malformed, or exceed the limit.
pub fn decompress(
    compression: Compression,
    bytes: &[u8],
    limit: usize,
) -> Result<Cow<'_, [u8]>, DecompressError> {
    let malformed = |_| DecompressError::Malformed(compression);
    let out = match compression {
        Compression::None if bytes.len() > limit => {
            return Err(DecompressError::TooLarge { limit });
        }
        Compression::None => return Ok(Cow::Borrowed(bytes)),
        Compression::Gzip => {
            read_capped(flate2::read::MultiGzDecoder::new(bytes), compression, limit)
        }
        Compression::Snappy => snappy(bytes, limit),
        Compression::Lz4 if !bytes.starts_with(&LZ4_MAGIC) => {
            return Err(DecompressError::Malformed(compression));
        }
        Compression::Lz4 => {
            read_capped(lz4_flex::frame::FrameDecoder::new(bytes), compression, limit)
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(malformed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(malformed)?;
            read_capped(decoder, compression, limit)
        }
    };
    out.map(Cow::Owned)
}

fn read_capped(
    from: impl Read,
    compression: Compression,
    limit: usize,
) -> Result<Vec<u8>, DecompressError> {
    let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut out = Vec::new();
    from.take(one_more)
        .read_to_end(&mut out)
        .map_err(|_| DecompressError::Malformed(compression))?;
    if out.len() > limit { Err(DecompressError::TooLarge { limit }) } else { Ok(out) }
}

/// Raw Snappy (librdkafka and most clients), or xerial's blocks (Java).
fn snappy(bytes: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let mut out = Vec::new();
    let Some(blocks) = bytes.strip_prefix(&XERIAL_MAGIC) else {
        snappy_block(bytes, limit, &mut out)?;
        return Ok(out);
    };
    let malformed = |_| DecompressError::Malformed(Compression::Snappy);
    let mut reader = Reader::new(blocks);
    // Version and compatible version: every one has the same blocks.
    let _versions: [u8; 8] = reader.take().map_err(malformed)?;
    while !reader.rest().is_empty() {
        let len = u32::from_be_bytes(reader.take().map_err(malformed)?);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        snappy_block(reader.bytes(len).map_err(malformed)?, limit, &mut out)?;
    }
    Ok(out)
}

fn snappy_block(block: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
    let malformed = DecompressError::Malformed(Compression::Snappy);
    let len = snap::raw::decompress_len(block).map_err(|_| malformed)?;
    if len > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(malformed);
    }
    if len > limit.saturating_sub(out.len()) {
        return Err(DecompressError::TooLarge { limit });
    }
    let from = out.len();
    out.resize(from + len, 0);
    let place = out.get_mut(from..).unwrap_or_default();
    let written = snap::raw::Decoder::new().decompress(block, place).map_err(|_| malformed)?;
    if written == len { Ok(()) } else { Err(malformed) }
}
