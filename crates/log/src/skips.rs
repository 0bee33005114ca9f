//! Skip files: offsets that a person gave up after corruption took them.
//!
//! `millrace repair` writes one, a new file each time, and changes nothing else;
//! the next start takes its entries into the log's own records and removes it.
//! Invariant: it is read whole or not at all.

use millrace_types::{FileId, Offset, TopicPartition};

use crate::{
    FORMAT_VERSION,
    wire::{Ended, Reader, Writer, len_u32, partition_bytes},
};

/// Bytes of a skip file before its entries.
pub const SKIPS_HEADER_LEN: usize = 40;
/// Bytes of one entry.
pub const SKIP_LEN: usize = 56;

const MAGIC: [u8; 8] = *b"MLRSKIPS";
/// Bytes of the header that its CRC covers, all before it.
const CRC_AT: usize = 32;

/// The entries of one skip file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skips {
    /// The data directory that it is for (a UUID).
    pub log_id: [u8; 16],
    /// What is given up.
    pub entries: Vec<Skip>,
}

/// Offsets of one partition that readers pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    /// The partition.
    pub partition: TopicPartition,
    /// The first that is given up.
    pub first: Offset,
    /// One past the last.
    pub end: Offset,
    /// The log file in which they were.
    pub file: FileId,
    /// Where the bad bytes begin in it.
    pub byte: u64,
    /// The end of the partition was lost with them: it goes on behind them.
    pub ends: bool,
}

/// Why bytes are no skip file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SkipsError {
    /// Cut short, rotten, or something else's file.
    #[error("the skip file fails its checksum or is not whole")]
    Damaged,
    /// Of a newer program.
    #[error(
        "the skip file has the format version {0}; this program reads {FORMAT_VERSION}: start the version that wrote it"
    )]
    Version(u16),
}

impl From<Ended> for SkipsError {
    fn from(_: Ended) -> Self {
        Self::Damaged
    }
}

impl Skips {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let entries: Vec<u8> = self.entries.iter().flat_map(Skip::encode).collect();
        let mut out = vec![0; SKIPS_HEADER_LEN];
        let (head, rest) = out.split_at_mut(CRC_AT);
        let mut writer = Writer::new(head);
        writer
            .put(&MAGIC)
            .put(&FORMAT_VERSION.to_le_bytes())
            .put(&[0; 2])
            .put(&len_u32(self.entries.len()).to_le_bytes())
            .put(&self.log_id);
        writer.finish();
        let mut writer = Writer::new(rest);
        writer
            .put(&crc32c::crc32c(head).to_le_bytes())
            .put(&crc32c::crc32c(&entries).to_le_bytes());
        writer.finish();
        out.extend_from_slice(&entries);
        out
    }

    /// Decodes a skip file; `bytes` are all of it.
    ///
    /// # Errors
    /// Says why this is none that this program reads.
    pub fn decode(bytes: &[u8]) -> Result<Self, SkipsError> {
        let mut reader = Reader::new(bytes);
        let head = reader.bytes(CRC_AT)?;
        let (crc, entries_crc) = (reader.u32()?, reader.u32()?);
        let mut fields = Reader::new(head);
        if fields.take()? != MAGIC {
            return Err(SkipsError::Damaged);
        }
        // The version before the checksum: another format may have it elsewhere.
        let version = fields.u16()?;
        if version != FORMAT_VERSION {
            return Err(SkipsError::Version(version));
        }
        let _reserved = fields.take::<2>()?;
        let count = reader.fits(fields.u32()?, SKIP_LEN)?;
        let whole = reader.rest().len() == count * SKIP_LEN
            && crc32c::crc32c(head) == crc
            && crc32c::crc32c(reader.rest()) == entries_crc;
        if !whole {
            return Err(SkipsError::Damaged);
        }
        let log_id = fields.take()?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            entries.push(Skip::decode(&mut reader)?);
        }
        Ok(Self { log_id, entries })
    }
}

impl Skip {
    fn encode(&self) -> [u8; SKIP_LEN] {
        let mut out = [0; SKIP_LEN];
        let mut writer = Writer::new(&mut out);
        writer
            .put(&partition_bytes(self.partition))
            .put(&[u8::from(self.ends), 0, 0, 0])
            .put(&self.first.get().to_le_bytes())
            .put(&self.end.get().to_le_bytes())
            .put(&self.file.get().to_le_bytes())
            .put(&self.byte.to_le_bytes());
        writer.finish();
        out
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, SkipsError> {
        let partition = reader.partition()?;
        let ends = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(SkipsError::Damaged),
        };
        let _reserved = reader.take::<3>()?;
        let (first, end) = (reader.offset()?, reader.offset()?);
        let (file, byte) = (FileId(reader.u64()?), reader.u64()?);
        if first.get() < 0 || end < first {
            return Err(SkipsError::Damaged);
        }
        Ok(Self { partition, first, end, file, byte, ends })
    }
}

#[cfg(test)]
mod tests {
    use millrace_types::{PartitionId, TopicId};

    use super::*;

    fn sample() -> Skips {
        let skip = Skip {
            partition: TopicPartition::new(TopicId([7; 16]), PartitionId(3)),
            first: Offset(20),
            end: Offset(25),
            file: FileId(12),
            byte: 8192,
            ends: false,
        };
        Skips {
            log_id: [5; 16],
            entries: vec![skip, Skip { first: Offset(25), ends: true, ..skip }],
        }
    }

    #[test]
    fn a_skip_file_is_read_whole_or_not_at_all() {
        let bytes = sample().encode();
        assert_eq!(Skips::decode(&bytes), Ok(sample()));
        for at in 0..bytes.len() {
            assert_eq!(Skips::decode(&bytes[..at]), Err(SkipsError::Damaged), "{at} bytes");
            let mut rotten = bytes.clone();
            rotten[at] ^= 4;
            let decoded = Skips::decode(&rotten);
            let versioned = matches!(decoded, Err(SkipsError::Version(_)));
            assert!(versioned == (8..10).contains(&at), "byte {at}: {decoded:?}");
            assert!(decoded.is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_range_that_runs_backwards_is_refused() {
        let mut skips = sample();
        skips.entries[0].end = Offset(19);
        assert_eq!(Skips::decode(&skips.encode()), Err(SkipsError::Damaged));
    }
}
