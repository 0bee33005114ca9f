//! A producer's batch in another form: with another codec, or with the largest
//! timestamp that its records really have.
//!
//! Invariant: the records, their offsets and times, and the producer's mark stay
//! as they are; length, attributes and CRC follow. Called by the broker before
//! a batch is admitted.

use millrace_types::Timestamp;

use super::{BatchHeader, CRC_FROM, HEADER_LEN, LENGTH_END, put};
use crate::compression::{Codec, compress};

/// The batch with `records` (its own, decompressed) compressed by `codec`, and
/// with `max_timestamp` as the largest of their timestamps.
///
/// # Panics
/// Beyond 2 GiB, which records that were decompressed under a limit don't
/// reach; and as [`compress`].
#[must_use]
pub fn recode(
    header: &BatchHeader,
    batch: &[u8],
    records: &[u8],
    codec: Codec,
    max_timestamp: Timestamp,
) -> (BatchHeader, Vec<u8>) {
    // Most topics that compress again are sent batches that are compressed
    // already, or save at least half.
    let room = if codec == Codec::None { records.len() } else { records.len() / 2 };
    let mut out = Vec::with_capacity(HEADER_LEN + room);
    out.extend_from_slice(batch.get(..HEADER_LEN).unwrap_or_default());
    compress(codec, records, &mut out);
    let len = out.len();
    let Ok(length) = i32::try_from(len - LENGTH_END) else {
        panic!("a batch of {len} bytes exceeds 2 GiB")
    };
    let compression = codec.compression();
    if let Some(fields) = out.first_chunk_mut::<HEADER_LEN>() {
        put(fields, 8, length.to_be_bytes());
        // The low byte of the big-endian attributes holds all known bits.
        fields[22] = fields[22] & !0b111 | compression.number();
    }
    sealed(BatchHeader { len, compression, ..*header }, out, max_timestamp)
}

/// The batch with `max_timestamp` as the largest timestamp of its records.
#[must_use]
pub fn with_max_timestamp(
    header: &BatchHeader,
    batch: &[u8],
    max_timestamp: Timestamp,
) -> (BatchHeader, Vec<u8>) {
    sealed(*header, batch.to_vec(), max_timestamp)
}

/// `batch` with this largest timestamp, and a CRC to match.
fn sealed(
    header: BatchHeader,
    mut batch: Vec<u8>,
    max_timestamp: Timestamp,
) -> (BatchHeader, Vec<u8>) {
    if let Some(fields) = batch.first_chunk_mut::<HEADER_LEN>() {
        put(fields, 35, max_timestamp.get().to_be_bytes());
    }
    let crc = crc32c::crc32c(batch.get(CRC_FROM..).unwrap_or_default());
    if let Some(fields) = batch.first_chunk_mut::<HEADER_LEN>() {
        put(fields, 17, crc.to_be_bytes());
    }
    (BatchHeader { crc, max_timestamp, ..header }, batch)
}
