//! The manifest of a backup: which files make it whole.
//!
//! Written as the last file of a backup, so that a copy without it, or with
//! less than it lists, is known for unfinished. Invariant: it is read whole or
//! not at all; both its parts have a checksum. `store` writes it, and looks at
//! it where a server starts on a copy.

use millrace_types::{Incarnation, Lsn, Timestamp};

use crate::{
    FORMAT_VERSION,
    wire::{Ended, Reader, Writer, len_u32},
};

/// Bytes of a manifest before its entries.
pub const MANIFEST_HEADER_LEN: usize = 72;
/// Bytes of one entry.
pub const MANIFEST_ENTRY_LEN: usize = 24;

const MAGIC: [u8; 8] = *b"MLRBCKUP";
/// Bytes of the header that its CRC covers, all before it.
const CRC_AT: usize = 64;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The data directory that was copied (a UUID).
    pub log_id: [u8; 16],
    /// The life that was backed up. Those of a restored copy begin far above.
    pub incarnation: Incarnation,
    /// Every frame up to this one is in the backup.
    pub last_lsn: Lsn,
    /// Wall clock when it was begun.
    pub time: Timestamp,
    /// Its files.
    pub entries: Vec<ManifestEntry>,
}

/// One file of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestEntry {
    /// What it is.
    pub kind: ManifestKind,
    /// The id of a log file, the number of a checkpoint or a skip file, 0 of
    /// the catalog.
    pub number: u64,
    /// Its length, in bytes.
    pub len: u64,
}

/// What a file of a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ManifestKind {
    /// A log file of frames.
    Wal = 1,
    /// A rewritten log file.
    Sorted = 2,
    /// The footer of a log file whose writer died.
    Companion = 3,
    /// A checkpoint.
    Checkpoint = 4,
    /// The catalog.
    Catalog = 5,
    /// A skip file.
    Skips = 6,
}

/// Why bytes are no manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Cut short, rotten, or something else's file.
    #[error("the manifest fails its checksum or is not whole")]
    Damaged,
    /// Of a newer program.
    #[error(
        "the manifest has the format version {0}; this program reads {FORMAT_VERSION}: start the version that wrote it"
    )]
    Version(u16),
}

impl From<Ended> for ManifestError {
    fn from(_: Ended) -> Self {
        Self::Damaged
    }
}

impl ManifestKind {
    const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Wal,
            2 => Self::Sorted,
            3 => Self::Companion,
            4 => Self::Checkpoint,
            5 => Self::Catalog,
            6 => Self::Skips,
            _ => return None,
        })
    }
}

impl Manifest {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let entries: Vec<u8> = self.entries.iter().flat_map(ManifestEntry::encode).collect();
        let mut out = vec![0; MANIFEST_HEADER_LEN];
        let (head, rest) = out.split_at_mut(CRC_AT);
        let mut writer = Writer::new(head);
        writer
            .put(&MAGIC)
            .put(&FORMAT_VERSION.to_le_bytes())
            .put(&[0; 6])
            .put(&self.log_id)
            .put(&self.incarnation.get().to_le_bytes())
            .put(&self.last_lsn.get().to_le_bytes())
            .put(&self.time.get().to_le_bytes())
            .put(&len_u32(self.entries.len()).to_le_bytes())
            .put(&crc32c::crc32c(&entries).to_le_bytes());
        writer.finish();
        let mut writer = Writer::new(rest);
        writer.put(&crc32c::crc32c(head).to_le_bytes());
        writer.finish();
        out.extend_from_slice(&entries);
        out
    }

    /// Decodes a manifest; `bytes` are all of its file.
    ///
    /// # Errors
    /// Says why this is none that this program reads.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let mut reader = Reader::new(bytes);
        let head = reader.bytes(CRC_AT)?;
        let crc = reader.u32()?;
        let _reserved = reader.u32()?;
        let mut fields = Reader::new(head);
        if fields.take()? != MAGIC {
            return Err(ManifestError::Damaged);
        }
        // The version before the checksum: another format may have it elsewhere.
        let version = fields.u16()?;
        if version != FORMAT_VERSION {
            return Err(ManifestError::Version(version));
        }
        if crc32c::crc32c(head) != crc {
            return Err(ManifestError::Damaged);
        }
        let _reserved = fields.take::<6>()?;
        let log_id = fields.take()?;
        let (incarnation, last_lsn) = (Incarnation(fields.u64()?), Lsn(fields.u64()?));
        let time = fields.timestamp()?;
        let (count, entries_crc) = (fields.u32()?, fields.u32()?);
        let count = reader.fits(count, MANIFEST_ENTRY_LEN)?;
        if reader.rest().len() != count * MANIFEST_ENTRY_LEN
            || crc32c::crc32c(reader.rest()) != entries_crc
        {
            return Err(ManifestError::Damaged);
        }
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            entries.push(ManifestEntry::decode(&mut reader)?);
        }
        Ok(Self { log_id, incarnation, last_lsn, time, entries })
    }
}

impl ManifestEntry {
    fn encode(&self) -> [u8; MANIFEST_ENTRY_LEN] {
        let mut out = [0; MANIFEST_ENTRY_LEN];
        let mut writer = Writer::new(&mut out);
        writer
            .put(&self.number.to_le_bytes())
            .put(&[self.kind as u8, 0, 0, 0, 0, 0, 0, 0])
            .put(&self.len.to_le_bytes());
        writer.finish();
        out
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, ManifestError> {
        let number = reader.u64()?;
        let kind = ManifestKind::from_number(reader.u8()?).ok_or(ManifestError::Damaged)?;
        let _reserved = reader.take::<7>()?;
        Ok(Self { kind, number, len: reader.u64()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let entry = |kind, number, len| ManifestEntry { kind, number, len };
        Manifest {
            log_id: [5; 16],
            incarnation: Incarnation(3),
            last_lsn: Lsn(99),
            time: Timestamp(1_700_000_000_000),
            entries: vec![
                entry(ManifestKind::Wal, 1, 8192),
                entry(ManifestKind::Companion, 1, 4096),
                entry(ManifestKind::Catalog, 0, 12_288),
                entry(ManifestKind::Skips, 1, 96),
            ],
        }
    }

    #[test]
    fn a_manifest_survives_encoding_and_nothing_less_than_it() {
        let bytes = sample().encode();
        assert_eq!(Manifest::decode(&bytes), Ok(sample()));
        for len in 0..bytes.len() {
            assert_eq!(Manifest::decode(&bytes[..len]), Err(ManifestError::Damaged), "{len}");
        }
        let longer = [bytes.as_slice(), &[0; MANIFEST_ENTRY_LEN]].concat();
        assert_eq!(Manifest::decode(&longer), Err(ManifestError::Damaged));
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let bytes = sample().encode();
        for at in 0..bytes.len() {
            let mut rotten = bytes.clone();
            rotten[at] ^= 4;
            let decoded = Manifest::decode(&rotten);
            match at {
                8 | 9 => assert!(matches!(decoded, Err(ManifestError::Version(_)))),
                // Reserved bytes behind the checksum.
                68..72 => assert_eq!(decoded, Ok(sample())),
                _ => assert_eq!(decoded, Err(ManifestError::Damaged), "byte {at}"),
            }
        }
    }
}
