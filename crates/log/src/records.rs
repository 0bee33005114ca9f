//! The records inside a batch.
//!
//! A batch is stored and served without looking at them; this is for those who
//! must: searches by time, hidden partitions, protocols of single records.
//! Invariant: what a producer wrote there is hostile, its lies fail this batch
//! only, and nothing is allocated for what it claims.

use std::borrow::Cow;

use millrace_types::{Offset, Timestamp};

pub use crate::batch::RecordHeader;
use crate::{
    batch::{BatchHeader, HEADER_LEN, TimestampType},
    compression::{self, DecompressError},
    wire::{Ended, Reader},
};

#[cfg(test)]
mod tests;

/// One record; its bytes are borrowed from the decompressed batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset minus the batch's base offset.
    pub offset_delta: i32,
    /// Its timestamp minus the batch's base timestamp.
    pub timestamp_delta: i64,
    /// Its key; `None` is Kafka's null.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is Kafka's null (a tombstone).
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Headers<'a>,
}

/// Why records cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// They cannot be decompressed.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// A record's lengths reach beyond its bytes, or its numbers are none.
    #[error("record {index} of the batch is malformed")]
    Malformed {
        /// Which record of the batch, from 0.
        index: i32,
    },
    /// Fewer or more records than the batch's header says.
    #[error("the batch has {found} records; its header says {count}")]
    Count {
        /// Records by the header.
        count: i32,
        /// Records found before the bytes ended, or one more than announced.
        found: i32,
    },
    /// Offsets within a batch count from 0 and leave none out.
    #[error("record {index} of the batch has the offset delta {offset_delta}")]
    OffsetDelta {
        /// Which record of the batch, from 0.
        index: i32,
        /// What it says.
        offset_delta: i32,
    },
}

/// Decompresses the records of a whole batch into at most `limit` bytes, for
/// [`records`].
///
/// # Errors
/// Where they are malformed or exceed the limit.
pub fn body<'a>(
    header: &BatchHeader,
    batch: &'a [u8],
    limit: usize,
) -> Result<Cow<'a, [u8]>, DecompressError> {
    let bytes = batch.get(HEADER_LEN..).unwrap_or_default();
    compression::decompress(header.compression, bytes, limit)
}

/// The records of a batch whose decompressed [`body`] this is. Ends after the
/// first error.
#[must_use]
pub const fn records<'a>(header: &BatchHeader, body: &'a [u8]) -> Records<'a> {
    Records { reader: Reader::new(body), index: 0, count: header.count, ended: false }
}

/// The record that `bytes` begin with: for who has a body in pieces. `None` where
/// they hold no whole one.
#[must_use]
pub fn first(bytes: &[u8]) -> Option<Record<'_>> {
    record(&mut Reader::new(bytes)).ok()
}

/// How many bytes the record takes that `bytes` begin with; `None` where they
/// don't say.
#[must_use]
pub fn first_len(bytes: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(bytes);
    let len = usize::try_from(varint(&mut reader).ok()?).ok()?;
    (bytes.len() - reader.rest().len()).checked_add(len)
}

/// See [`records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    reader: Reader<'a>,
    index: i32,
    count: i32,
    ended: bool,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let (count, found) = (self.count, self.index);
        match (found < count, self.reader.rest().is_empty()) {
            (true, false) => {}
            (true, true) => {
                self.ended = true;
                return Some(Err(RecordError::Count { count, found }));
            }
            (false, false) => {
                self.ended = true;
                let found = found.saturating_add(1);
                return Some(Err(RecordError::Count { count, found }));
            }
            (false, true) => {
                self.ended = true;
                return None;
            }
        }
        let index = self.index;
        match record(&mut self.reader) {
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(Ended) => {
                self.ended = true;
                Some(Err(RecordError::Malformed { index }))
            }
        }
    }
}

impl Record<'_> {
    /// Its offset in a batch.
    #[must_use]
    pub fn offset(&self, batch: &BatchHeader) -> Offset {
        Offset(batch.base_offset.get().saturating_add(i64::from(self.offset_delta)))
    }

    /// Its timestamp in a batch: with LogAppendTime the batch's.
    #[must_use]
    pub fn timestamp(&self, batch: &BatchHeader) -> Timestamp {
        match batch.timestamp_type {
            TimestampType::CreateTime => batch.base_timestamp.plus_ms(self.timestamp_delta),
            TimestampType::LogAppendTime => batch.max_timestamp,
        }
    }
}

/// The headers of a record: proven to be well-formed, decoded on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    count: i32,
}

impl<'a> Headers<'a> {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(0)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count <= 0
    }

    /// Each in turn.
    pub fn iter(&self) -> impl Iterator<Item = RecordHeader<'a>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| header(&mut reader).ok())
    }
}

/// Decodes one record, whose length must be exactly that of its fields.
fn record<'a>(reader: &mut Reader<'a>) -> Result<Record<'a>, Ended> {
    let len = usize::try_from(varint(reader)?).map_err(|_| Ended)?;
    let mut reader = Reader::new(reader.bytes(len)?);
    let _attributes = reader.u8()?;
    let timestamp_delta = varlong(&mut reader)?;
    let offset_delta = varint(&mut reader)?;
    let key = field(&mut reader)?;
    let value = field(&mut reader)?;
    let count = varint(&mut reader)?;
    if count < 0 {
        return Err(Ended);
    }
    let headers = Headers { bytes: reader.rest(), count };
    for _ in 0..count {
        header(&mut reader)?;
    }
    if !reader.rest().is_empty() {
        return Err(Ended);
    }
    Ok(Record { offset_delta, timestamp_delta, key, value, headers })
}

fn header<'a>(reader: &mut Reader<'a>) -> Result<RecordHeader<'a>, Ended> {
    let key = field(reader)?.ok_or(Ended)?;
    Ok(RecordHeader { key, value: field(reader)? })
}

/// Bytes with their length before them; a negative one is null.
fn field<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Ended> {
    match usize::try_from(varint(reader)?) {
        Ok(len) => reader.bytes(len).map(Some),
        Err(_) => Ok(None),
    }
}

/// A zigzag integer of 32 bits.
fn varint(reader: &mut Reader<'_>) -> Result<i32, Ended> {
    i32::try_from(varlong(reader)?).map_err(|_| Ended)
}

/// A zigzag integer of 64 bits in 1 to 10 bytes.
fn varlong(reader: &mut Reader<'_>) -> Result<i64, Ended> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = reader.u8()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
        }
    }
    Err(Ended)
}
