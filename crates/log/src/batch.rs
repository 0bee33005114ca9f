//! Record batches (Kafka's format, magic 2): the header, what is refused from
//! a producer, and the stamping of offsets.
//!
//! Invariant: records are never decoded here, so a batch costs the same however
//! many records it holds; what [`check`] let pass may still lie inside its
//! (compressed) records, which [`crate::records`] finds out for those who look.
//! Called by the broker on every append, and by readers of stored batches.

use std::fmt;

use millrace_types::{
    ErrorKind, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp,
};

use crate::{
    crc,
    wire::{Ended, Reader},
};

mod builder;
mod recode;
#[cfg(test)]
mod tests;

pub use builder::{BatchBuilder, RecordHeader};
pub use recode::{recode, with_max_timestamp};

/// Bytes of a batch before its records.
pub const HEADER_LEN: usize = 61;
/// The magic of every stored batch.
pub const MAGIC: i8 = 2;

/// Bytes before those that the length field counts: base offset and length.
const LENGTH_END: usize = 12;
/// Start of what the CRC covers: everything from the attributes on.
const CRC_FROM: usize = 21;
/// What the length field of a batch without records says.
const LENGTH_MIN: usize = HEADER_LEN - LENGTH_END;

const COMPRESSION_MASK: u16 = 0b111;
const APPEND_TIME_BIT: u16 = 1 << 3;
const TRANSACTIONAL_BIT: u16 = 1 << 4;
const CONTROL_BIT: u16 = 1 << 5;
const DELETE_HORIZON_BIT: u16 = 1 << 6;
const KNOWN_BITS: u16 =
    COMPRESSION_MASK | APPEND_TIME_BIT | TRANSACTIONAL_BIT | CONTROL_BIT | DELETE_HORIZON_BIT;

/// The codec of a batch's records, ordered by its number in the attributes
/// (a later one needs a newer protocol).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// 0: records as they are.
    #[default]
    None,
    /// 1.
    Gzip,
    /// 2: raw, or in the blocks that Java clients write.
    Snappy,
    /// 3: LZ4 frame.
    Lz4,
    /// 4.
    Zstd,
}

impl Compression {
    /// The codec of the number in a batch's attributes; `None` for 5 and up.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            _ => return None,
        })
    }

    /// The number of the codec in a batch's attributes.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Kafka's name of the codec, as clients' settings have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the timestamps of a batch mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// When the producer made the record.
    #[default]
    CreateTime,
    /// When the broker appended it: the batch's largest timestamp holds for
    /// every record.
    LogAppendTime,
}

/// An idempotent producer's mark on a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The producer (≥0).
    pub id: ProducerId,
    /// Its generation (≥0).
    pub epoch: ProducerEpoch,
    /// Sequence of the batch's first record (≥0).
    pub base_sequence: Sequence,
}

/// The decoded header of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record; 0 in a producer's batch.
    pub base_offset: Offset,
    /// Bytes of the whole batch, from its base offset on (≥61).
    pub len: usize,
    /// The epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
    /// CRC32C of everything from the attributes on.
    pub crc: u32,
    /// Codec of the records.
    pub compression: Compression,
    /// What the timestamps mean.
    pub timestamp_type: TimestampType,
    /// Whether it belongs to a transaction.
    pub transactional: bool,
    /// Whether its records are markers of the broker's, hidden from readers.
    pub control: bool,
    /// Whether the base timestamp is when compaction may drop its tombstones.
    pub delete_horizon: bool,
    /// Last offset minus base offset.
    pub last_offset_delta: i32,
    /// What the records' timestamps are relative to; negative is legal.
    pub base_timestamp: Timestamp,
    /// The largest timestamp of its records, as the producer says.
    pub max_timestamp: Timestamp,
    /// Producer, where it is idempotent.
    pub producer: Option<ProducerStamp>,
    /// Number of records.
    pub count: i32,
}

/// Why bytes are not a batch, or not one that a client may produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than a header, or than the header announces.
    #[error("the batch ends after {available} of at least {needed} bytes")]
    Truncated {
        /// Bytes that it takes at least.
        needed: usize,
        /// Bytes that there are.
        available: usize,
    },
    /// A length that not even an empty batch has.
    #[error("the batch says that it is {length} bytes long; its header alone takes {LENGTH_MIN}")]
    Length {
        /// The length field.
        length: i32,
    },
    /// More bytes than one batch.
    #[error("{extra} bytes follow the batch; send one batch for a partition in a request")]
    Trailing {
        /// Bytes after the batch.
        extra: usize,
    },
    /// Message formats 0 and 1, or one of the future.
    #[error("message format {0} is not supported; only 2 is")]
    Magic(i8),
    /// Attribute bits without a meaning.
    #[error("the batch has unknown attributes {0:#06x}")]
    Attributes(u16),
    /// A codec number without a meaning.
    #[error("the batch has the unknown compression {0}")]
    UnknownCompression(u8),
    /// The checksum does not match the bytes.
    #[error(
        "the batch fails its checksum: it says {stored:#010x}, its bytes have {computed:#010x}"
    )]
    Crc {
        /// What the header says.
        stored: u32,
        /// What the bytes have.
        computed: u32,
    },
    /// Offsets are the broker's to give.
    #[error("the batch begins at offset {0}; producers send 0")]
    BaseOffset(Offset),
    /// No records, or fewer.
    #[error("the batch says that it has {0} records")]
    Count(i32),
    /// The offsets that it takes are not as many as its records.
    #[error("the batch has {count} records and the last offset delta {last_offset_delta}")]
    LastOffsetDelta {
        /// Records by its header.
        count: i32,
        /// Last offset delta by its header.
        last_offset_delta: i32,
    },
    /// A producer id with an epoch or a sequence that no producer has.
    #[error(
        "producer {id} sends the epoch {epoch} and the sequence {base_sequence}; neither may be negative"
    )]
    Producer {
        /// Producer id by the header.
        id: i64,
        /// Epoch by the header.
        epoch: i16,
        /// Base sequence by the header.
        base_sequence: i32,
    },
    /// Control batches are the broker's.
    #[error("clients may not write control batches")]
    Control,
    /// Only compaction sets a delete horizon.
    #[error("clients may not write batches with a delete horizon")]
    DeleteHorizon,
    /// Only the broker sets append times.
    #[error("clients may not write batches with the timestamp type LogAppendTime")]
    AppendTime,
}

impl BatchError {
    /// Whether the bytes are damaged (Kafka's CORRUPT_MESSAGE: sent again they
    /// may arrive whole) rather than a well-formed batch that is not allowed.
    #[must_use]
    pub const fn is_corrupt(&self) -> bool {
        matches!(self, Self::Truncated { .. } | Self::Length { .. } | Self::Crc { .. })
    }

    /// What the caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        if self.is_corrupt() { ErrorKind::Corrupt } else { ErrorKind::Invalid }
    }
}

impl BatchHeader {
    /// Decodes the header at the start of `bytes`; the records need not be
    /// there. Checks the length field, the magic, the attributes, the codec
    /// and the producer, not the CRC.
    ///
    /// # Errors
    /// Says what is wrong with the header.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let mut reader = Reader::new(bytes);
        Self::read(&mut reader)
            .unwrap_or(Err(BatchError::Truncated { needed: HEADER_LEN, available: bytes.len() }))
    }

    fn read(reader: &mut Reader<'_>) -> Result<Result<Self, BatchError>, Ended> {
        let base_offset = Offset(i64::from_be_bytes(reader.take()?));
        let length = i32::from_be_bytes(reader.take()?);
        let leader_epoch = LeaderEpoch(i32::from_be_bytes(reader.take()?));
        // The magic first: older formats have other fields behind it.
        let magic = i8::from_be_bytes(reader.take()?);
        if magic != MAGIC {
            return Ok(Err(BatchError::Magic(magic)));
        }
        let crc = u32::from_be_bytes(reader.take()?);
        let attributes = u16::from_be_bytes(reader.take()?);
        let last_offset_delta = i32::from_be_bytes(reader.take()?);
        let base_timestamp = Timestamp(i64::from_be_bytes(reader.take()?));
        let max_timestamp = Timestamp(i64::from_be_bytes(reader.take()?));
        let id = i64::from_be_bytes(reader.take()?);
        let epoch = i16::from_be_bytes(reader.take()?);
        let base_sequence = i32::from_be_bytes(reader.take()?);
        let count = i32::from_be_bytes(reader.take()?);

        let len = match usize::try_from(length) {
            Ok(length) if length >= LENGTH_MIN => length.saturating_add(LENGTH_END),
            _ => return Ok(Err(BatchError::Length { length })),
        };
        if attributes & !KNOWN_BITS != 0 {
            return Ok(Err(BatchError::Attributes(attributes)));
        }
        let codec = u8::try_from(attributes & COMPRESSION_MASK).unwrap_or(u8::MAX);
        let Some(compression) = Compression::from_number(codec) else {
            return Ok(Err(BatchError::UnknownCompression(codec)));
        };
        Ok(Ok(Self {
            base_offset,
            len,
            leader_epoch,
            crc,
            compression,
            timestamp_type: if attributes & APPEND_TIME_BIT == 0 {
                TimestampType::CreateTime
            } else {
                TimestampType::LogAppendTime
            },
            transactional: attributes & TRANSACTIONAL_BIT != 0,
            control: attributes & CONTROL_BIT != 0,
            delete_horizon: attributes & DELETE_HORIZON_BIT != 0,
            last_offset_delta,
            base_timestamp,
            max_timestamp,
            producer: match producer(id, epoch, base_sequence) {
                Ok(producer) => producer,
                Err(error) => return Ok(Err(error)),
            },
            count,
        }))
    }

    /// Offset of the last record; kept within the range of offsets.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset.get().saturating_add(i64::from(self.last_offset_delta)))
    }

    /// The offset after the last record; `None` where that overflows.
    #[must_use]
    pub fn next_offset(&self) -> Option<Offset> {
        self.base_offset.checked_add(i64::from(self.last_offset_delta))?.checked_add(1)
    }
}

/// The producer of a header's fields. Markers of transactions come with a
/// sequence of -1 from the broker; they are not built yet.
const fn producer(
    id: i64,
    epoch: i16,
    base_sequence: i32,
) -> Result<Option<ProducerStamp>, BatchError> {
    if id < 0 {
        return Ok(None);
    }
    if epoch < 0 || base_sequence < 0 {
        return Err(BatchError::Producer { id, epoch, base_sequence });
    }
    Ok(Some(ProducerStamp {
        id: ProducerId(id),
        epoch: ProducerEpoch(epoch),
        base_sequence: Sequence(base_sequence),
    }))
}

/// Checks that `bytes` are exactly one batch that a client may produce, and
/// whole. A transactional one passes: the caller decides about those, as it
/// does about timestamps and codecs.
///
/// # Errors
/// Says what the batch breaks; [`BatchError::is_corrupt`] tells damage from
/// what is not allowed.
pub fn check(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse(bytes)?;
    if header.len > bytes.len() {
        return Err(BatchError::Truncated { needed: header.len, available: bytes.len() });
    }
    if header.len < bytes.len() {
        return Err(BatchError::Trailing { extra: bytes.len() - header.len });
    }
    check_crc(&header, bytes)?;
    if header.control {
        return Err(BatchError::Control);
    }
    if header.delete_horizon {
        return Err(BatchError::DeleteHorizon);
    }
    if header.timestamp_type == TimestampType::LogAppendTime {
        return Err(BatchError::AppendTime);
    }
    if header.base_offset != Offset::ZERO {
        return Err(BatchError::BaseOffset(header.base_offset));
    }
    if header.count <= 0 {
        return Err(BatchError::Count(header.count));
    }
    if header.last_offset_delta != header.count - 1 {
        return Err(BatchError::LastOffsetDelta {
            count: header.count,
            last_offset_delta: header.last_offset_delta,
        });
    }
    Ok(header)
}

/// Checks a whole batch against the CRC of its header.
///
/// # Errors
/// [`BatchError::Crc`].
pub fn check_crc(header: &BatchHeader, batch: &[u8]) -> Result<(), BatchError> {
    let computed = crc32c::crc32c(batch.get(CRC_FROM..).unwrap_or_default());
    if computed == header.crc {
        Ok(())
    } else {
        Err(BatchError::Crc { stored: header.crc, computed })
    }
}

/// Sets where the batch stands and the epoch of the leader that appends it.
/// The CRC does not cover these fields.
///
/// # Errors
/// [`BatchError::Truncated`] if there is no header.
pub fn stamp(batch: &mut [u8], base_offset: Offset, epoch: LeaderEpoch) -> Result<(), BatchError> {
    let header = header_mut(batch)?;
    put(header, 0, base_offset.get().to_be_bytes());
    put(header, 12, epoch.get().to_be_bytes());
    Ok(())
}

/// The CRC32C of a whole batch: `head` are its first bytes as they will be
/// stored, up to the end of its own CRC at least, and `header` is of a batch
/// whose CRC was checked: the rest is not read again.
#[must_use]
pub fn stored_crc(head: &[u8], header: &BatchHeader) -> u32 {
    let before = head.get(..CRC_FROM).unwrap_or(head);
    let rest = u32::try_from(header.len.saturating_sub(CRC_FROM)).unwrap_or(u32::MAX);
    crc::concatenated(crc32c::crc32c(before), header.crc, rest)
}

/// Makes `at` the timestamp of all records, as topics with
/// `message.timestamp.type=LogAppendTime` want it: sets the type and the
/// largest timestamp and computes the CRC anew. The records stay as they are.
///
/// # Errors
/// [`BatchError::Truncated`] if there is no header.
pub fn stamp_append_time(batch: &mut [u8], at: Timestamp) -> Result<(), BatchError> {
    let header = header_mut(batch)?;
    // The low byte of the big-endian attributes holds all known bits.
    header[22] |= 0b1000;
    put(header, 35, at.get().to_be_bytes());
    let crc = crc32c::crc32c(batch.get(CRC_FROM..).unwrap_or_default());
    put(header_mut(batch)?, 17, crc.to_be_bytes());
    Ok(())
}

fn header_mut(batch: &mut [u8]) -> Result<&mut [u8; HEADER_LEN], BatchError> {
    let available = batch.len();
    batch.first_chunk_mut().ok_or(BatchError::Truncated { needed: HEADER_LEN, available })
}

/// Writes one field of a header; `at + N` is within it.
fn put<const N: usize>(header: &mut [u8; HEADER_LEN], at: usize, field: [u8; N]) {
    if let Some(place) = header.get_mut(at..at + N) {
        place.copy_from_slice(&field);
    }
}

/// Walks the consecutive batches of `bytes`, as a fetch answer or an extent
/// holds them, without checking CRCs. Ends after the first error.
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { rest: bytes }
}

/// See [`batches`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<(BatchHeader, &'a [u8]), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.rest);
        let header = match BatchHeader::parse(bytes) {
            Ok(header) => header,
            Err(error) => return Some(Err(error)),
        };
        let Some((batch, rest)) = bytes.split_at_checked(header.len) else {
            let (needed, available) = (header.len, bytes.len());
            return Some(Err(BatchError::Truncated { needed, available }));
        };
        self.rest = rest;
        Some(Ok((header, batch)))
    }
}
