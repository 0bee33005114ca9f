//! The first block of every log file.

use millrace_types::{FileId, Incarnation, Lsn, Timestamp};

use crate::{
    BLOCK, FORMAT_VERSION,
    wire::{Ended, Reader, Writer, len_u32},
};

/// Bytes of a file before its frames.
pub const FILE_HEADER_LEN: usize = BLOCK;

const MAGIC: [u8; 8] = *b"MILLRACE";
/// Bytes that the CRC covers, all before it.
const CRC_AT: usize = 64;

/// What a log file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// Frames in the order of arrival; a footer once it is sealed.
    #[default]
    Wal,
    /// Extents of several files, sorted by partition, and a footer.
    Sorted,
    /// Nothing but the footer of another file, whose writer died before it
    /// could write one.
    Companion,
}

impl FileKind {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Wal => 1,
            Self::Sorted => 2,
            Self::Companion => 3,
        }
    }

    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Wal,
            2 => Self::Sorted,
            3 => Self::Companion,
            _ => return None,
        })
    }
}

/// The header of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// What it holds.
    pub kind: FileKind,
    /// The data directory that it belongs to (a UUID).
    pub log_id: [u8; 16],
    /// The life that wrote it.
    pub incarnation: Incarnation,
    /// The file's own id.
    pub file: FileId,
    /// Sequence number of the first frame written here; frames of older
    /// incarnations with this number or a larger one are void.
    pub first_lsn: Lsn,
    /// Wall clock when it was created.
    pub created: Timestamp,
}

/// Why a file is not a log file of this format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Shorter than a header.
    #[error("the file is shorter than a log file's header")]
    Truncated,
    /// Something else's file, or a header that was never written.
    #[error("the file does not begin as a log file does")]
    Magic,
    /// Of a newer program (or a much older one).
    #[error(
        "the file has the format version {0}; this program reads {FORMAT_VERSION}: start the version that wrote it"
    )]
    Version(u16),
    /// A rotten header.
    #[error("the file's header fails its checksum")]
    Crc,
    /// The checksum matches and the content makes no sense.
    #[error("the file's header makes no sense")]
    Content,
}

impl FileHeader {
    /// The header's block.
    #[must_use]
    pub fn encode(&self) -> [u8; FILE_HEADER_LEN] {
        let mut out = [0; FILE_HEADER_LEN];
        let (head, rest) = out.split_at_mut(CRC_AT);
        let mut writer = Writer::new(head);
        writer
            .put(&MAGIC)
            .put(&FORMAT_VERSION.to_le_bytes())
            .put(&[self.kind.number(), 0])
            .put(&len_u32(FILE_HEADER_LEN).to_le_bytes())
            .put(&self.log_id)
            .put(&self.incarnation.get().to_le_bytes())
            .put(&self.file.get().to_le_bytes())
            .put(&self.first_lsn.get().to_le_bytes())
            .put(&self.created.get().to_le_bytes());
        writer.finish();
        let mut writer = Writer::new(rest);
        writer.put(&crc32c::crc32c(head).to_le_bytes());
        writer.finish();
        out
    }

    /// Decodes the header at the start of `bytes`.
    ///
    /// # Errors
    /// Says why this is not a log file that this program reads.
    pub fn decode(bytes: &[u8]) -> Result<Self, FileError> {
        Self::read(bytes).unwrap_or(Err(FileError::Truncated))
    }

    fn read(bytes: &[u8]) -> Result<Result<Self, FileError>, Ended> {
        let mut reader = Reader::new(bytes);
        let covered = reader.bytes(CRC_AT)?;
        let crc = reader.u32()?;
        let mut reader = Reader::new(covered);
        if reader.take()? != MAGIC {
            return Ok(Err(FileError::Magic));
        }
        // The version before the checksum: another format may have it elsewhere.
        let version = reader.u16()?;
        if version != FORMAT_VERSION {
            return Ok(Err(FileError::Version(version)));
        }
        if crc32c::crc32c(covered) != crc {
            return Ok(Err(FileError::Crc));
        }
        let kind = FileKind::from_number(reader.u8()?);
        let _pad = reader.u8()?;
        let header_len = reader.u32()?;
        let log_id = reader.take()?;
        let (incarnation, file) = (Incarnation(reader.u64()?), FileId(reader.u64()?));
        let (first_lsn, created) = (Lsn(reader.u64()?), reader.timestamp()?);
        let Some(kind) = kind.filter(|_| header_len == len_u32(FILE_HEADER_LEN)) else {
            return Ok(Err(FileError::Content));
        };
        Ok(Ok(Self { kind, log_id, incarnation, file, first_lsn, created }))
    }
}
